"""Which columns of a table hold what."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of columns, where they are not the usual ones. An empty name or tuple means the usual one."""

    split: str = ""
    """Splits; usually "split"."""
    y: str = ""
    """Classes; usually "y"."""
    path: str = ""
    """Paths of images; usually "path"."""
    texts: tuple[str, ...] = ()
    """Texts: one column, or two that are read as a pair; usually "text", and "text_pair" where there is one."""
    id: str = ""
    """Unique ids; usually "id" where there is such a column."""
    attributes: tuple[str, ...] = ()
    """Attributes; usually every column that is nothing else."""
    masks: tuple[str, ...] = ()
    """Masks, columns of 0 and 1; usually none."""
    splits: Mapping[str, str] = field(default_factory=dict[str, str])
    """From the values of `split` to the names of splits; usually the values are the names."""

    def named(self) -> tuple[str, ...]:
        """Every column that was named."""
        single = tuple(name for name in (self.split, self.y, self.path, self.id) if name)
        return single + self.texts + self.attributes + self.masks
