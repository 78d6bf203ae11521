"""What a dataset is to the rest of the service: labels in memory, examples opened when needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Modality = Literal["image", "text"]
Example = NDArray[np.uint8] | str
"""An image as (height, width, 3) uint8 RGB, or a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A spurious attribute: its name and, in order of their index, its values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitLabels:
    """Labels of the examples of one split, in a fixed order."""

    row_id: NDArray[np.uint64]
    """(N,) unique over the whole dataset."""
    y: NDArray[np.int64]
    """(N,) class index."""
    a: NDArray[np.int64]
    """(N, number of attributes) attribute indices, one column per attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """Everything about a dataset but its examples."""

    name: str
    digest: str
    """sha256 (hex) over ids, labels, attributes, splits and the content of the examples."""
    modality: Modality
    classes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    splits: dict[str, SplitLabels]
    description: str

    def attribute_column(self, name: str = "") -> int:
        """Column of the attribute `name`, or of the first when empty.

        Raises ServiceError (ATTRIBUTE_MISSING), naming those that exist.
        """
        raise NotImplementedError

    def split(self, name: str) -> SplitLabels:
        """Labels of the split `name`. Raises ServiceError (UNKNOWN_SPLIT), naming those that exist."""
        raise NotImplementedError


class Dataset(Protocol):
    """A dataset whose examples can be opened."""

    @property
    def info(self) -> DatasetInfo: ...

    def examples(self, split: str) -> Sequence[Example]:
        """The examples of a split, in the order of its labels; decoded when indexed.

        Indexing raises ServiceError: FILES_MISSING, DATASET_CHANGED (the file is not the one that was
        registered) or CORRUPT_IMAGE, naming the row id and the file.
        """
        raise NotImplementedError
