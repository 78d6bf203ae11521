"""Columns of rows that are too many to be kept widened: multiplied as they are, and copied as they are asked for.

A product takes the rows a tile at a time, widened but neither shifted nor scaled, which is done to its result: what
that loses to a mean far from zero is less than the rows' own rounding. Problems over draws of the same rows ask for
much the same columns, so that one copy of each serves them all.
"""

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, blocks
from penult_kernels.products import product
from penult_kernels.row_scaling import ROWS_PER_TILE

LARGEST_STORE = 256 * 2**20
"""Bytes of columns that are kept at a time."""


class RawColumns:
    """Ascending rows of features (N, D), by column."""

    def __init__(self, features: Array, rows: NDArray[np.int64]) -> None:
        self._features = features
        self._rows = rows
        self._is_run = rows.size == int(rows[-1]) - int(rows[0]) + 1
        width = rows.size * array_namespace(features).finfo(features.dtype).bits // 8
        self._most = max(1, LARGEST_STORE // width)
        self._slots = np.full(features.shape[1], -1, np.int64)
        self._n_kept = 0
        self._store: Array = self._new(0)

    def product(self, of_rows: Array) -> Array:
        """R X (B, D) in float64, from R (B, n)."""
        xp = array_namespace(of_rows)
        total = xp.zeros((self._features.shape[1], of_rows.shape[0]), dtype=xp.float64, device=of_rows.device)
        for tile in blocks(self._rows.size, ROWS_PER_TILE):
            # X^T R^T, not R X: OpenBLAS splits a product with few rows badly.
            total += product(xp.astype(self._tile(tile), xp.float64, copy=False).T, of_rows[:, tile].T)
        return total.T

    def keep(self, wanted: NDArray[np.int64]) -> None:
        """Copy those that are not kept yet, in one pass, as far as there is room; few that are wanted make room."""
        missing = self._missing(wanted)
        if self._n_kept + missing.size > self._most and 2 * (wanted.size - missing.size) < self._n_kept:
            self._slots[:] = -1
            self._n_kept = 0
            missing = wanted
        missing = missing[: self._most - self._n_kept]
        if missing.size:
            self._grow(self._n_kept + missing.size)
            self._copy(missing, self._store[self._n_kept : self._n_kept + missing.size, :])
            self._slots[missing] = np.arange(self._n_kept, self._n_kept + missing.size)
            self._n_kept += missing.size

    def columns(self, wanted: NDArray[np.int64], places: NDArray[np.int64]) -> Array:
        """(k, m) of the rows at `places`, in the type of the features."""
        xp = array_namespace(self._features)
        missing = self._missing(wanted)
        passing = self._new(missing.size)
        if missing.size:
            self._copy(missing, passing)
        passing_slots = dict(zip(missing.tolist(), range(missing.size), strict=True))
        at = beside(places, self._features)

        def column(feature: int) -> Array:
            slot = passing_slots.get(feature)
            whole = self._store[int(self._slots[feature]), :] if slot is None else passing[slot, :]
            return xp.take(whole, at)

        return xp.stack([column(feature) for feature in wanted.tolist()])

    def _missing(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        return wanted[self._slots[wanted] < 0]

    def _grow(self, n_columns: int) -> None:
        if n_columns > self._store.shape[0]:
            grown = self._new(min(self._most, 2 * n_columns))
            grown[: self._n_kept, :] = self._store[: self._n_kept, :]
            self._store = grown

    def _copy(self, wanted: NDArray[np.int64], out: Array) -> None:
        at = beside(wanted, self._features)
        for tile in blocks(self._rows.size, ROWS_PER_TILE):
            out[:, tile] = array_namespace(self._features).take(self._tile(tile), at, axis=1).T

    def _new(self, n_columns: int) -> Array:
        shape = (n_columns, self._rows.size)
        return array_namespace(self._features).empty(shape, dtype=self._features.dtype, device=self._features.device)

    def _tile(self, tile: slice) -> Array:
        """Some of the rows (m, D), as they are."""
        if self._is_run:
            first = int(self._rows[0])
            return self._features[first + tile.start : first + tile.stop, :]
        rows = beside(self._rows[tile], self._features)
        return array_namespace(self._features).take(self._features, rows, axis=0)
