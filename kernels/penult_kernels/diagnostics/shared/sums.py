"""Sums of rows and of their squares by cell under every weighting, in one pass: means, traces and norms follow."""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.shared.context import Block, Context

Floats = NDArray[np.float64]


class CellSums(ABC):
    """By cell and weighting: sum of w, of w^2, of w x, and of w |x|^2, x a row as `transform` gives it.

    Each weighting is a column of a product with the rows of a cell, so that R of them cost R n D multiplications.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        subject, draws = context.subject, context.draws
        self._cell, self.part, self.y = subject.cells
        n_cells = self.part.size
        self.weight: Floats = np.zeros((draws.count, n_cells))
        """(R, Q) for Q cells."""
        self.squared_weight: Floats = np.zeros((draws.count, n_cells))
        self.square: Floats = np.zeros((draws.count, n_cells))
        self._sums: list[Array | None] = [None] * n_cells

    @abstractmethod
    def transform(self, z: Array) -> tuple[Array, NDArray[np.bool_] | None]:
        """(n, D) rows to be summed, and which of them count; all where None."""

    def add(self, block: Block) -> None:
        """Take in some rows."""
        x, counts = self.transform(block.z)
        xp = array_namespace(x)
        square = xp.sum(x * x, axis=1)
        cells, weights = self._cell[block.rows], self._context.draws.weights[block.rows]
        for cell in np.unique(cells):
            inside = cells == cell if counts is None else (cells == cell) & counts
            rows = np.flatnonzero(inside)
            w = weights[rows].astype(np.float64)
            self.weight[:, cell] += w.sum(axis=0)
            self.squared_weight[:, cell] += (w * w).sum(axis=0)
            on_device = asarray_like(np.ascontiguousarray(w.T), x)
            chosen = xp.take(x, asarray_like(rows, x), axis=0)
            total = on_device @ chosen
            before = self._sums[cell]
            self._sums[cell] = total if before is None else before + total
            of_squares = on_device @ xp.take(square, asarray_like(rows, x), axis=0)[:, None]
            self.square[:, cell] += to_host(of_squares)[:, 0]

    @cached_property
    def total(self) -> Floats:
        """(R, Q, D) on the host."""
        d = self._context.subject.rows.shape[1]
        nothing = np.zeros((self.weight.shape[0], d))
        return np.stack([nothing if one is None else to_host(one) for one in self._sums], axis=1)

    def pooled(self, of_cell: NDArray[np.int64], n_pools: int) -> "Pooled":
        """The same sums of pools of cells."""
        member = (of_cell[None, :] == np.arange(n_pools)[:, None]).astype(np.float64)
        weight, square = self.weight @ member.T, self.square @ member.T
        total = np.einsum("pq,rqd->rpd", member, self.total)
        mean = total / np.where(weight > 0, weight, np.nan)[:, :, None]
        scatter = square - weight * np.sum(mean * mean, axis=2)
        return Pooled(weight, mean, np.maximum(scatter, 0.0))

    @cached_property
    def of_parts(self) -> "Pooled":
        """By part."""
        return self.pooled(self.part, self._context.subject.n_parts)

    @cached_property
    def of_classes(self) -> "Pooled":
        """By class."""
        return self.pooled(self.y, self._context.subject.n_classes)


class Pooled:
    """(R, P) weight, (R, P, D) mean, and (R, P) sum of w |x - mean|^2; NaN without rows."""

    def __init__(self, weight: Floats, mean: Floats, scatter: Floats) -> None:
        self.weight, self.mean, self.scatter = weight, mean, scatter

    @cached_property
    def known(self) -> NDArray[np.int64]:
        """Pools that have rows under the first weighting."""
        return np.flatnonzero(self.weight[0] > 0)


class RowSums(CellSums):
    """Sums of the rows less a shift that is near their mean."""

    def transform(self, z: Array) -> tuple[Array, NDArray[np.bool_] | None]:
        """Rows less the shift."""
        return z - self._context.subject.shift, None


class UnitSums(CellSums):
    """Sums of the rows scaled to length 1; rows of zeros have no direction and are left out."""

    def transform(self, z: Array) -> tuple[Array, NDArray[np.bool_] | None]:
        """Unit rows."""
        unit, has_direction = unit_rows(z)
        return unit, has_direction


def unit_rows(z: Array) -> tuple[Array, NDArray[np.bool_]]:
    """(n, D) rows of length 1, and (n,) which have a direction; the others are zero."""
    xp = array_namespace(z)
    norm = xp.sqrt(xp.sum(z * z, axis=1))
    has_direction = to_host(norm) > 0
    return z / xp.where(norm > 0, norm, 1.0)[:, None], has_direction
