"""Rows that are clustered: read a tile at a time, as float64, about a given point.

Shapes: n rows, p features.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """n points z_i - mean, of which no copy is made as a whole.

    Distances are differences of squares of size |z - mean|^2: with the mean of the rows taken off first, in float64,
    nothing of its size is ever squared.
    """

    rows: Array
    """(n, p) of any real floating type."""
    mean: Array | None = None
    """(p,) float64; None when the rows stand about zero already."""

    @property
    def n(self) -> int:
        """Points."""
        return int(self.rows.shape[0])

    @property
    def p(self) -> int:
        """Features of each."""
        return int(self.rows.shape[1])

    def tile(self, block: slice) -> Array:
        """(t, p) float64 of consecutive points."""
        return self._about_mean(self.rows[block, :])

    def some(self, index: NDArray[np.int64]) -> "Points":
        """The points at the host's `index`, in the type that they are stored in."""
        xp = array_namespace(self.rows)
        return Points(rows=xp.take(self.rows, asarray_like(index, self.rows), axis=0), mean=self.mean)

    def take(self, index: NDArray[np.int64]) -> Array:
        """(t, p) float64 of the points at the host's `index`."""
        chosen = self.some(index)
        return chosen.tile(slice(0, chosen.n))

    def blocks(self) -> Iterator[slice]:
        """Tiles that cover all points."""
        return blocks(self.n, budget.of(self.rows).rows_per_tile)

    def _about_mean(self, rows: Array) -> Array:
        xp = array_namespace(rows)
        found = xp.astype(rows, xp.float64, copy=False)
        return found if self.mean is None else found - self.mean


def mean_variance(points: Points) -> float:
    """Mean over the features of their variances (divisor n): the scale that tolerances are relative to."""
    xp = array_namespace(points.rows)
    total, squares = xp.zeros((points.p,), dtype=xp.float64, device=points.rows.device), 0.0
    for block in points.blocks():
        total += xp.sum(points.tile(block), axis=0)
    center = total / points.n
    for block in points.blocks():
        squares += float(xp.sum((points.tile(block) - center) ** 2))
    return squares / (points.n * points.p)
