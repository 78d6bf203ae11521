"""Standardised rows with a column of ones, for products in many steps: kept where they are few, else made again.

Made again, they are standardised in the type of the products, a tile at a time in the cache: a step reads the features
where it would read the copy. With 8 columns a step so takes a fifth longer, and the copy is not in memory.

Shapes: n rows, D features, W = D + 1, K columns.
"""

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, fits_float32
from penult_kernels.linear.blocks.scaling import Scaling
from penult_kernels.products import on_threads
from penult_kernels.rows import RowSource

TILE_BYTES = 2**20
"""Bytes of a tile on the host, about: it stays in the cache."""
TOGETHER = 32
"""Tiles whose products with the residuals wait to be added up."""


def are_kept(n_rows: int, like: Array) -> bool:
    """Whether a copy of so many rows, of as many features as `like` (0, D) has, fits in the budget."""
    itemsize = 4 if fits_float32(like) else 8
    return n_rows * int(like.shape[1]) * itemsize <= budget.of(like).scaled_rows_bytes


class ScaledRows:
    """[(x - mean) / scale, 1] of rows in memory, without a copy of them.

    Parameters
    ----------
    rows : RowSource
        In memory.
    scaling : Scaling
    dtype : floating type of the products.
    """

    def __init__(self, rows: RowSource, scaling: Scaling, dtype: Any) -> None:
        xp = array_namespace(rows.like)
        self._source, self._dtype = rows, dtype
        self._mean, self._inverse = xp.astype(scaling.mean, dtype), xp.astype(1.0 / scaling.scale, dtype)
        n_rows, n_features = rows.shape
        on_host = is_numpy_array(rows.like)
        step = TILE_BYTES // (8 * n_features) if on_host else budget.of(rows.like).rows_per_tile
        self._tiles = list(blocks(n_rows, max(64, step)))

    @property
    def shape(self) -> tuple[int, int]:
        """n and W."""
        n_rows, n_features = self._source.shape
        return n_rows, n_features + 1

    def times(self, columns: Array) -> Array:
        """Z V (n, K) of columns V (W, K)."""
        xp = array_namespace(columns)
        found = xp.empty((self.shape[0], int(columns.shape[1])), dtype=self._dtype, device=columns.device)

        def one(tile: slice) -> None:
            found[tile, :] = self._tile(tile) @ columns[:-1, :] + columns[-1, :]

        on_threads(one, self._tiles)
        return found

    def transposed_times(self, residuals: Array) -> Array:
        """Z^T R (W, K) of residuals R (n, K)."""
        xp = array_namespace(residuals)
        found = xp.zeros((self.shape[1], int(residuals.shape[1])), dtype=self._dtype, device=residuals.device)

        def one(tile: slice) -> Array:
            return self._tile(tile).T @ residuals[tile, :]

        for some in blocks(len(self._tiles), TOGETHER):
            for part in on_threads(one, self._tiles[some]):
                found[:-1, :] += part
        found[-1, :] = xp.sum(residuals, axis=0, dtype=xp.float64)
        return found

    def take(self, index: NDArray[np.int64]) -> Array:
        """(m, W) rows by their numbers on the host."""
        found = self._scaled(self._source.gather(asarray_like(index, self._source.like)))
        xp = array_namespace(found)
        return xp.concat([found, xp.ones((index.size, 1), dtype=self._dtype, device=found.device)], axis=1)

    def _tile(self, tile: slice) -> Array:
        return self._scaled(self._source.block(tile))

    def _scaled(self, rows: Array) -> Array:
        """(m, D)"""
        if is_numpy_array(rows):
            found = np.subtract(rows, self._mean, dtype=self._dtype)
            found *= self._inverse
            return found
        return (array_namespace(rows).astype(rows, self._dtype, copy=False) - self._mean) * self._inverse
