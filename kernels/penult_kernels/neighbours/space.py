"""The points whose float32 products order neighbours, and how far these orders may be wrong.

A row x becomes the point p = unit * (s x - m): s is 1 / |x| for the cosine and 1 else; m is the mean of the rows, which
changes no distance but keeps the products small (a mean of a hundred deviations loses one neighbour in 25 in float32);
unit is a power of two that keeps products of large numbers finite. Then -|p - q|^2 / 2 = p.q - |p|^2/2 - |q|^2/2 orders
by l2 and, since |x/|x| - y/|y||^2 / 2 = 1 - cos, by cosine. The inner product has no mean and no squares.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, blocks, to_host
from penult_kernels.rows import RowSource

ROWS_CONVERTED = 64
"""Rows in float64 at a time: few enough to stay in the cache."""
ROWS_READ = 4096
UNIT_ROUNDOFF = 2.0**-24
DEVIATIONS = 4
"""Rounding errors of a sum of D products are below this times sqrt(D) units (Higham and Mary, 2019: by Hoeffding's
inequality, but for one sum in 10^3 at most if every error were as large as it can be; in practice they are a third)."""
SMALLEST = 1e-36
"""Below this float32 has too few bits for relative bounds."""


class Metric(StrEnum):
    """How near two rows are."""

    COSINE = "cosine"
    """1 - x.y / (|x| |y|)"""
    L2 = "l2"
    """|x - y|"""
    INNER = "inner"
    """-x.y"""


class ZeroRowsError(ValueError):
    """Rows of zeros, which have no direction."""

    def __init__(self, rows: NDArray[np.int64]) -> None:
        super().__init__(f"{rows.size} rows are zero, such as row {rows[0]}, and have no cosine")
        self.rows = rows


@dataclass(frozen=True, slots=True)
class Points:
    """Some rows as points in float32."""

    columns: Array
    """(n, D + 2) the points, 1, and -|p|^2 / 2 (0 for inner products): so one product makes whole scores."""
    norm: NDArray[np.float64]
    """(n,) |p|, on the host."""

    @property
    def values(self) -> Array:
        """(n, D) the points."""
        return self.columns[:, :-2]

    def swapped(self, *, copy: bool = True) -> Array:
        """(n, D + 2) the points with the last two columns exchanged, for the left side of a product.

        Without a copy these points are swapped themselves.
        """
        xp = array_namespace(self.columns)
        swapped = xp.asarray(self.columns, copy=True) if copy else self.columns
        ones = xp.asarray(self.columns[:, -2], copy=True)
        swapped[:, -2] = self.columns[:, -1]
        swapped[:, -1] = ones
        return swapped


def scores_of(swapped: Array, others: Points, out: Array | None = None) -> Array:
    """(n, m) the larger, the nearer: -|p - q|^2 / 2, or p.q; of points that were swapped, and others."""
    if out is not None:
        return np.matmul(swapped, others.columns.T, out=out)
    return swapped @ others.columns.T


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What turns rows into points."""

    metric: Metric
    mean: Array
    """(D,) float64"""
    unit: float
    """Power of two by which points are multiplied."""

    def points(self, rows: Array) -> Points:
        """(n, D) rows as points; computed in float64 and rounded once."""
        xp = array_namespace(rows)
        n, d = rows.shape
        points = xp.ones((n, d + 2), dtype=xp.float32, device=rows.device)
        squares = xp.empty((n,), dtype=xp.float64, device=rows.device)
        for part in blocks(n, ROWS_CONVERTED if isinstance(rows, np.ndarray) else max(n, 1)):
            values = self.in_float64(rows[part, :])
            if self.metric != Metric.INNER:
                values -= self.mean
            if self.unit != 1.0:
                values *= self.unit
            squares[part] = xp.linalg.vecdot(values, values)
            points[part, :-2] = xp.astype(values, xp.float32)
        points[:, -1] = xp.astype(squares * (0.0 if self.metric == Metric.INNER else -0.5), xp.float32)
        return Points(points, np.sqrt(to_host(squares)))

    def in_float64(self, rows: Array) -> Array:
        """(n, D) a float64 copy; for the cosine of length 1."""
        xp = array_namespace(rows)
        values = xp.astype(rows, xp.float64, copy=True)
        if self.metric == Metric.COSINE:
            values *= 1 / xp.sqrt(xp.linalg.vecdot(values, values))[:, None]
        return values

    def score_of(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score, without rounding, of points at a distance by the metric."""
        match self.metric:
            case Metric.INNER:
                return -distance * self.unit**2
            case Metric.COSINE:
                return -distance
            case Metric.L2:
                return -np.square(self.unit * distance) / 2

    def rounding(self, norm: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much the float32 score of a point with |p| = norm may differ from the true one.

        It holds for all q with at least the given score: |q| <= |p| + |p - q|.
        """
        relative = (DEVIATIONS * math.sqrt(self.mean.shape[0]) + 8) * UNIT_ROUNDOFF
        if self.metric == Metric.INNER:
            return relative * norm + SMALLEST  # |q| <= 1
        reach = np.where(np.isfinite(score), np.sqrt(np.maximum(-2 * score, 0)), 0)
        bound = relative * np.square(2 * norm + reach) / 2 + SMALLEST
        # The score that is given may itself be rounded.
        reach = np.where(np.isfinite(score), np.sqrt(np.maximum(-2 * score, 0) + 2 * bound), 0)
        return relative * np.square(2 * norm + reach) / 2 + SMALLEST


def space_of(
    rows: RowSource, metric: Metric, queries: RowSource | None = None, check: Callable[[], None] = lambda: None
) -> Space:
    """The space in which the rows, and the queries if these are others, are points of at most length 1 or so.

    Raises ZeroRowsError for the cosine.
    """
    total, largest = _sum_and_largest(rows, metric, check)
    if queries is not None:
        largest = max(largest, _sum_and_largest(queries, metric, check)[1])
    mean = total / max(rows.shape[0], 1)
    reach = largest
    if metric != Metric.INNER:
        reach += float(to_host(array_namespace(mean).linalg.vector_norm(mean)))
    unit = 2.0 ** -math.ceil(math.log2(reach)) if metric != Metric.COSINE and reach > 0 else 1.0
    return Space(metric=metric, mean=mean, unit=unit)


def _sum_and_largest(rows: RowSource, metric: Metric, check: Callable[[], None]) -> tuple[Array, float]:
    """(D,) sum in float64 of the rows, for the cosine of length 1; and the largest length of a row."""
    zero: list[NDArray[np.int64]] = []
    total, largest = None, 0.0
    for part in blocks(rows.shape[0], ROWS_READ):
        check()
        block = rows.block(part)
        xp = array_namespace(block)
        for few in blocks(block.shape[0], ROWS_CONVERTED if isinstance(block, np.ndarray) else ROWS_READ):
            values = xp.astype(block[few, :], xp.float64, copy=True)
            length = xp.sqrt(xp.linalg.vecdot(values, values))
            if metric == Metric.COSINE:
                bad = to_host(length) == 0
                if bad.any():
                    zero.append(part.start + few.start + np.flatnonzero(bad))
                    continue
                values /= length[:, None]
            largest = max(largest, float(xp.max(length)))
            added = xp.sum(values, axis=0)
            total = added if total is None else total + added
    if zero:
        raise ZeroRowsError(np.concatenate(zero))
    if total is None:
        raise ValueError("there are no rows to look for neighbours in")
    return total, largest
