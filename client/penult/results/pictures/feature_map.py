"""Rows of a feature set as points in two dimensions."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.errors import invalid, shown
from penult.files.savable import Savable
from penult.results.frames import frame
from penult.results.records import short

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLOURED_BY = ("group", "class", "attribute", "error")
"""What points are coloured by, without a column of the caller's own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class FeatureMap(Shown, Savable):
    """Two coordinates of n rows, with what is known of each."""

    feature_set: str
    method: str
    """ "pca" or "umap"."""
    row_id: NDArray[np.uint64]
    """(n,), like `y`, `a` and `right`."""
    coordinates: NDArray[np.float32]
    """(n, 2)."""
    y: NDArray[np.int64]
    a: NDArray[np.int64]
    right: NDArray[np.int64]
    """1 where the stored logits have the row's class, 0 where another, -1 without logits."""
    classes: tuple[str, ...]
    attribute: str
    attribute_values: tuple[str, ...]
    shares: tuple[float, ...]
    """Share of the total variance of each principal component that was read."""

    def labels(self, colour: str | Sequence[object] = "group") -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """(n,) what each row is coloured by, and the names of the values; -1 for none.

        `colour` is "group", "class", "attribute", "error" (what the stored logits say), or a column: one value for each
        row, in the order of `row_id`. Raises `InvalidRequest`.
        """
        if not isinstance(colour, str):
            return self._column(colour)
        values = self.attribute_values or ("",)
        match colour:
            case "class":
                return self.y, self.classes
            case "attribute" if self.attribute_values:
                return self.a, self.attribute_values
            case "group":
                names = tuple(", ".join(filter(None, (name, value))) for name in self.classes for value in values)
                return self.y * len(values) + self.a, names
            case "error" if (self.right >= 0).all():
                return 1 - self.right, ("right", "error")
            case "attribute" | "error":
                what = "no attribute" if colour == "attribute" else "no logits of its classes"
                raise invalid(f"feature set {short(self.feature_set)} has {what}: colour it by something else")
            case _:
                raise invalid(f"colour= is one of {', '.join(COLOURED_BY)}, or a column of labels; got {shown(colour)}")

    def _column(self, column: Sequence[object]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        given = np.asarray(column)
        if given.shape != self.row_id.shape:
            raise invalid(
                f"colour= has one value for each row of the map, shape {self.row_id.shape}; got {given.shape}"
            )
        names, index = np.unique(given.astype(str), return_inverse=True)
        return index.astype(np.int64), tuple(str(name) for name in names)

    def plot(self, colour: str | Sequence[object] = "group", *, most: int = 4000) -> Figure:
        """The points, coloured as `labels` says; of more than `most` rows a sample, the same each time.

        Rare values are drawn last, so that a minority is not hidden. Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.feature_map import map_figure

        return map_figure(self, colour, most)

    def to_frame(self) -> pd.DataFrame:
        """One row per example: `row_id`, `first`, `second`, `class`, `attribute`, `right`.

        Raises ImportError when pandas is missing.
        """
        values = self.attribute_values or ("",)
        return frame(
            {
                "row_id": [int(id) for id in self.row_id],
                "first": [float(point[0]) for point in self.coordinates],
                "second": [float(point[1]) for point in self.coordinates],
                "class": [self.classes[int(y)] for y in self.y],
                "attribute": [values[int(a)] for a in self.a],
                "right": [int(one) for one in self.right],
            }
        )

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.display.html import card, pairs

        explained = f"{sum(self.shares[:2]):.1%}"
        facts = {"feature_set": short(self.feature_set), "rows": len(self.row_id), "method": self.method}
        return card("FeatureMap", pairs(facts | {"variance in two components": explained}))

    def __repr__(self) -> str:
        return (
            f"FeatureMap({short(self.feature_set)}, {self.method}, {len(self.row_id):,} rows, first two principal "
            f"components: {sum(self.shares[:2]):.1%} of the variance)"
        )
