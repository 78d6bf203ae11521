"""What a dataset is to the rest of the service: labels in memory, examples opened when needed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError, unknown
from penult_server.notes import Note
from penult_server.records import Attribute

Modality = Literal["image", "text"]
TextPair = tuple[str, str]
"""Two texts that are read together, such as a premise and a hypothesis."""
Example = NDArray[np.uint8] | str | TextPair
"""An image as (height, width, 3) uint8 RGB, a text, or a pair of texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One combination of a class and an attribute value: g = y * n_attributes + a."""

    index: int
    name: str
    """Class and attribute value, such as "sneaker, grass"."""
    y: int
    a: int
    class_name: str
    attribute_value: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitLabels:
    """Labels of the examples of one split, in a fixed order. The arrays are read-only copies.

    Raises ValueError when the arrays do not have one row per example, or the masks are not boolean.
    """

    row_id: NDArray[np.uint64]
    """(N,) unique over the whole dataset."""
    y: NDArray[np.int64]
    """(N,) class index."""
    a: NDArray[np.int64]
    """(N, number of attributes) attribute indices, one column per attribute."""
    masks: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.bool_))
    """(N, M) which examples belong to each named set of the dataset; the sets may overlap. (N, 0) when left out."""

    def __post_init__(self) -> None:
        row_id = np.array(self.row_id, dtype=np.uint64)
        y = np.array(self.y, dtype=np.int64)
        a = np.array(self.a, dtype=np.int64)
        masks = np.array(self.masks) if self.masks.shape != (0, 0) else np.zeros((len(y), 0), dtype=np.bool_)
        if row_id.shape != y.shape or y.ndim != 1 or a.ndim != 2 or len(a) != len(y):
            raise ValueError(f"expected row_id (N,), y (N,), a (N, n); got {row_id.shape}, {y.shape}, {a.shape}")
        if masks.dtype != np.bool_ or masks.ndim != 2 or len(masks) != len(y):
            raise ValueError(f"expected masks ({len(y)}, M) of bool; got {masks.shape} of {masks.dtype}")
        for name, array in (("row_id", row_id), ("y", y), ("a", a), ("masks", masks)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatasetInfo:
    """Everything about a dataset but its examples. Compare digests, not objects."""

    name: str
    digest: str
    """sha256 (hex) over ids, labels, attributes, splits and the content of the examples."""
    modality: Modality
    classes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    splits: dict[str, SplitLabels]
    description: str
    masks: tuple[str, ...] = ()
    """Names of the sets of examples in the columns of every split's `masks`."""
    notes: tuple[Note, ...] = ()
    """What is unusual, for people, such as group counts that are not the published ones."""

    def attribute_column(self, name: str = "") -> int:
        """Column of the attribute `name`, or of the first when empty.

        Raises ServiceError (ATTRIBUTE_MISSING), naming those that exist.
        """
        names = [attribute.name for attribute in self.attributes]
        if not name and names:
            return 0
        if name not in names:
            raise ServiceError(
                ErrorKind.ATTRIBUTE_MISSING,
                f"dataset {self.name!r} has no attribute {name!r}; it has: {', '.join(names) or 'none'}",
                dataset=self.name,
                attribute=name,
                known=", ".join(names),
            )
        return names.index(name)

    def split(self, name: str) -> SplitLabels:
        """Labels of the split `name`. Raises ServiceError (UNKNOWN_SPLIT), naming those that exist."""
        if name not in self.splits:
            raise unknown(ErrorKind.UNKNOWN_SPLIT, f"split in dataset {self.name!r}", name, list(self.splits))
        return self.splits[name]

    def groups(self, attribute: str = "") -> tuple[Group, ...]:
        """All n_classes * n_attributes groups in order of their index.

        Raises ServiceError (ATTRIBUTE_MISSING).
        """
        values = self.attributes[self.attribute_column(attribute)].values
        return tuple(
            Group(
                index=y * len(values) + a,
                name=f"{class_name}, {value}",
                y=y,
                a=a,
                class_name=class_name,
                attribute_value=value,
            )
            for y, class_name in enumerate(self.classes)
            for a, value in enumerate(values)
        )

    def group_index(self, split: str, attribute: str = "") -> NDArray[np.int64]:
        """Group g = y * n_attributes + a of each example of a split, shape (N,).

        Raises ServiceError (UNKNOWN_SPLIT, ATTRIBUTE_MISSING).
        """
        labels = self.split(split)
        column = self.attribute_column(attribute)
        return labels.y * len(self.attributes[column].values) + labels.a[:, column]

    def group_totals(self, attribute: str = "") -> NDArray[np.int64]:
        """Examples of all splits in each group, shape (G,). Raises ServiceError (ATTRIBUTE_MISSING)."""
        totals = [self.group_counts(split, attribute) for split in self.splits]
        return np.sum(totals, axis=0).astype(np.int64)

    def group_counts(self, split: str, attribute: str = "") -> NDArray[np.int64]:
        """Examples of a split in each group, shape (G,); 0 for an empty group.

        Raises ServiceError (UNKNOWN_SPLIT, ATTRIBUTE_MISSING).
        """
        n_groups = len(self.classes) * len(self.attributes[self.attribute_column(attribute)].values)
        return np.bincount(self.group_index(split, attribute), minlength=n_groups).astype(np.int64)


class Dataset(Protocol):
    """A dataset whose examples can be opened."""

    @property
    def info(self) -> DatasetInfo: ...

    def examples(self, split: str) -> Sequence[Example]:
        """The examples of a split, in the order of its labels; decoded when indexed.

        Raises ServiceError (UNKNOWN_SPLIT). Indexing raises ServiceError: FILES_MISSING,
        DATASET_CHANGED (the file is not the one that was registered) or CORRUPT_IMAGE, naming the row
        id and the file.
        """
        ...
