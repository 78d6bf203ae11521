"""What datasets, stores and messages all know: the names of labels."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A spurious attribute: its name and, in order of their index, its values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNames:
    """How classes and attribute values are named; the order gives the indices."""

    classes: tuple[str, ...]
    attribute: str = ""
    """Empty when the examples carry no attribute; then every group is a class."""
    attribute_values: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    """Names of the sets of examples in the columns of the array `masks`; the sets may overlap."""
    classes_by_index: bool = False
    """Whether the classes have no names and are called by their index."""

    @property
    def n_attributes(self) -> int:
        """A, at least 1, so that g = y * n_attributes + a always holds."""
        return max(len(self.attribute_values), 1)

    @property
    def n_groups(self) -> int:
        """G = C * A."""
        return len(self.classes) * self.n_attributes
