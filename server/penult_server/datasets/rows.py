"""The rows of a dataset as a layout reads them: labels encoded, examples named but not yet opened."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_server.datasets.model import Modality
from penult_server.datasets.tables.table import Table, Texts, bad_table
from penult_server.notes import Note
from penult_server.records import Attribute

SPLITS = ("train", "val", "test")
"""Splits of the published datasets."""
NUMBERED_SPLITS = {str(number): name for number, name in enumerate(SPLITS)}
"""Names of splits by the number that published datasets write for each."""
TRAIN = "train"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """N examples with their labels encoded."""

    modality: Modality
    where: Callable[[int], str]
    """Where row i stands, such as "row 4 of metadata.csv"."""
    base: Path
    """Directory that paths start from, and that they may not lead out of."""
    paths: Sequence[str] = ()
    """Path of each image, as written."""
    is_unpacked: bool = False
    """Whether the images came inside other files, and were written where the server keeps what it makes."""
    texts: tuple[Texts, ...] = ()
    """Columns of texts: one, or two that are read as pairs."""
    ids: Sequence[str] | None = None
    """What tells the examples apart; None for their paths or positions."""
    row_id: NDArray[np.uint64]
    splits: tuple[str, ...]
    split_index: NDArray[np.int64]
    classes: tuple[str, ...]
    y: NDArray[np.int64]
    attributes: tuple[Attribute, ...]
    a: NDArray[np.int64]
    """(N, number of attributes) indices of values."""
    masks: tuple[str, ...] = ()
    """Names of sets of examples that may overlap."""
    in_masks: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    """(N, number of masks) which examples belong to each mask; (0, 0) without masks."""
    notes: tuple[Note, ...] = ()
    """What is unusual, for people."""

    def __len__(self) -> int:
        return len(self.y)

    def group_counts(self, split: str) -> NDArray[np.int64]:
        """Examples of a split in each group of the first attribute, shape (G,)."""
        n_values = len(self.attributes[0].values)
        g = self.y * n_values + self.a[:, 0]
        chosen = g[self.split_index == self.splits.index(split)]
        return np.bincount(chosen, minlength=len(self.classes) * n_values)

    def group_names(self) -> list[str]:
        """Names of the groups of the first attribute, in order of their index."""
        return [f"{name}, {value}" for name in self.classes for value in self.attributes[0].values]


def numbered_split_index(table: Table, column: str) -> NDArray[np.int64]:
    """(N,) index in `SPLITS`, of a column of their numbers. Raises ServiceError (BAD_TABLE), naming the row."""
    legal = {value: SPLITS.index(name) for value, name in NUMBERED_SPLITS.items()}
    return table.choices(column, legal, ", ".join(SPLITS))


def check_train(rows: Rows) -> None:
    """Raises ServiceError (BAD_TABLE) when a class is absent from the split "train", or that split is."""
    if TRAIN not in rows.splits:
        listed = ", ".join(rows.splits)
        raise bad_table(
            f"no row has the split {TRAIN!r}, which is trained on; got: {listed}. Values that are no names are named "
            f"by splits={{'train': {rows.splits[0]!r}, ...}}",
            column="split",
        )
    in_train = np.bincount(rows.y[rows.split_index == rows.splits.index(TRAIN)], minlength=len(rows.classes))
    absent = [name for name, count in zip(rows.classes, in_train, strict=True) if not count]
    if absent:
        raise bad_table(
            f"every class needs examples in the split {TRAIN!r}; absent: {', '.join(absent[:10])}",
            column="y",
            classes=", ".join(absent),
        )
