"""Rows that are clustered: read a tile at a time, as float64, about a given point.

Shapes: n rows, p features.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, blocks
from penult_kernels.rows import ArrayRows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """n points z_i - mean, of which no copy is made as a whole.

    Distances are differences of squares of size |z - mean|^2: with the mean of the rows taken off first, in float64,
    nothing of its size is ever squared.
    """

    rows: Array
    """(N, p) of any real floating type."""
    mean: Array | None = None
    """(p,) float64; None when the rows stand about zero already."""
    positions: NDArray[np.int64] | None = None
    """(n,) of the points among the rows, on the host; all rows when None."""

    @property
    def n(self) -> int:
        """Points."""
        return int(self.rows.shape[0]) if self.positions is None else self.positions.size

    @property
    def p(self) -> int:
        """Features of each."""
        return int(self.rows.shape[1])

    def tile(self, block: slice) -> Array:
        """(t, p) float64 of consecutive points."""
        return self._about_mean(ArrayRows(self.rows, self.positions).block(block))

    def some(self, index: NDArray[np.int64]) -> "Points":
        """The points at the host's `index`, as `points_of` has them."""
        return points_of(ArrayRows(self.rows, index if self.positions is None else self.positions[index]), self.mean)

    def take(self, index: NDArray[np.int64]) -> Array:
        """(t, p) float64 of the points at the host's `index`."""
        positions = index if self.positions is None else self.positions[index]
        return self._about_mean(ArrayRows(self.rows, positions).block(slice(0, index.size)))

    def blocks(self) -> Iterator[slice]:
        """Tiles that cover all points."""
        return blocks(self.n, budget.of(self.rows).rows_per_tile)

    def _about_mean(self, rows: Array) -> Array:
        xp = array_namespace(rows)
        found = xp.astype(rows, xp.float64, copy=False)
        return found if self.mean is None else found - self.mean


def points_of(rows: ArrayRows, mean: Array | None = None) -> Points:
    """Points of rows, which are gathered where they are few; of many only their positions are kept."""
    n, p = rows.shape
    if rows.positions is None or n * p * 8 > budget.of(rows.features).product_rows_bytes:
        return Points(rows=rows.features, mean=mean, positions=rows.positions)
    return Points(rows=rows.block(slice(0, n)), mean=mean)


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
