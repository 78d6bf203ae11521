"""What a head predicts for every example, as a table."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.files.savable import Savable
from penult.results.frames import frame
from penult.results.metrics import Metrics
from penult.results.notes import Notes, lines
from penult.results.records import Labels, short

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Predictions(Shown, Savable):
    """Predictions of one head for the N examples of a feature set, in its order."""

    feature_set: str
    """Digest of the feature set."""
    head: str
    """What predicted: "stored head", "stored logits", "refit 1a2b3c4d5e6f", "checkpoint ..." or "head"."""
    labels: Labels
    """Names of classes and attribute values, in the order of their indices."""
    row_id: NDArray[np.uint64]
    """(N,)"""
    y: NDArray[np.int64]
    """(N,)"""
    a: NDArray[np.int64]
    """(N,)"""
    prediction: NDArray[np.int64]
    """(N,) index of the class with the largest logit; the first of several."""
    probabilities: NDArray[np.float64]
    """(N, C) softmax of the logits, in the order of `labels.classes`."""
    metrics: Metrics | None
    """The server's metrics of the same head on the same set; None for stored logits."""
    notes: Notes = ()
    """How the head's classes were matched, where that is not obvious."""

    @property
    def g(self) -> NDArray[np.int64]:
        """(N,) group indices, y * n_attributes + a."""
        return self.y * max(1, len(self.labels.attribute_values)) + self.a

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether the prediction is the class."""
        return self.prediction == self.y

    @property
    def group_names(self) -> tuple[str, ...]:
        """(G,) names of the groups by their index."""
        values = self.labels.attribute_values
        classes = self.labels.classes
        return tuple(f"{name}, {value}" for name in classes for value in values) if values else classes

    def to_frame(self) -> pd.DataFrame:
        """One row per example: row_id, y, a, g, group, prediction, correct, and the probability of each class, p_CLASS.

        Raises ImportError when pandas is missing.
        """
        return frame({name: column.tolist() for name, column in self._columns()}, self.notes)

    def to_csv(self, path: str | Path) -> None:
        """Write the table of `to_frame` as CSV, whole or not at all; pandas is not needed.

        Raises `InvalidRequest` where the file cannot be written.
        """
        import csv

        from penult.files.atomic import whole_file

        columns = self._columns()
        with whole_file(path) as staging, staging.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(name for name, _ in columns)
            writer.writerows(zip(*(column.tolist() for _, column in columns), strict=True))

    def to_parquet(self, path: str | Path) -> None:
        """Write the table of `to_frame` as Parquet, whole or not at all.

        Raises `InvalidRequest` where the file cannot be written, and ImportError when pyarrow is missing.
        """
        from penult.files.atomic import whole_file
        from penult.files.formats.parquet import write_table

        with whole_file(path) as staging:
            write_table(staging, dict(self._columns()))

    def _columns(self) -> list[tuple[str, NDArray[Any]]]:
        of_classes = zip(self.labels.classes, self.probabilities.T, strict=True)
        return [
            ("row_id", self.row_id),
            ("y", self.y),
            ("a", self.a),
            ("g", self.g),
            ("group", np.array(self.group_names, np.str_)[self.g]),
            ("prediction", self.prediction),
            ("correct", self.correct),
            *((f"p_{name}", column) for name, column in of_classes),
        ]

    def __repr__(self) -> str:
        n = len(self.y)
        return (
            f"Predictions({n} rows of feature set {short(self.feature_set)} by {self.head}, "
            f"{int(self.correct.sum())} correct){lines(self.notes)}"
        )
