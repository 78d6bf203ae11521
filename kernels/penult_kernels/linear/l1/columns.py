"""The columns of the features for many problems, each with its own rows and scaling, on the host.

A column of a problem is z_j = (x_j - mean_j) / scale_j on its rows, the bias being feature D with a column of ones.
The gradients R Z of all problems are one product with the union of their rows, rescaled afterwards. Gram matrices and
logits, which need few columns, are computed from copies of these, which are contiguous and stay in the cache. If all
columns fit in the budget they are kept in float64; else products and copies are made from the features as stored.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import blocks
from penult_kernels.linear.blocks.blocks import Block, union
from penult_kernels.linear.blocks.scaling import Scaling
from penult_kernels.products import product

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

WIDEST_RUN = 2
"""`RawColumns` reads all rows from the first to the last used if these are fewer than this multiple of those used."""
FEWEST_SLOTS = 320
"""Columns in the store of a problem at first."""


class SharedColumns:
    """The columns of B blocks over features (N, D); a block is named by its place among the members."""

    def __init__(self, features: NDArray[np.floating], members: Sequence[Block]) -> None:
        rows = union(members)
        self.n_features = int(features.shape[1])
        if 8 * rows.size * self.n_features <= budget.DEFAULT.columns_bytes:
            # Columns that are constant for the first block may not be for others.
            kept = Scaling(members[0].scaling.mean, members[0].scaling.unit)
            self._store = _ScaledColumns(features, rows, kept)
        else:
            rows = run(rows)
            kept = Scaling(np.zeros(self.n_features), np.ones(self.n_features))
            self._store = RawColumns(features, rows)
        self._n_rows = rows.size
        everywhere = np.arange(rows.size)
        self._places = [everywhere if own is None else np.searchsorted(rows, own) for own in (b.rows for b in members)]
        self._changes = [_change(kept, block.scaling) for block in members]

    def gradients(self, members: Positions, residuals: Floats) -> Floats:
        """R Z and R 1 of some blocks (B, D + 1), from residuals (B, n): one pass over the rows."""
        of_rows = np.zeros((members.size, self._n_rows))
        for one, index, residual in zip(of_rows, map(int, members), residuals, strict=True):
            place = self._places[index]
            one[place] = residual[: place.size]
        found = np.empty((members.size, self.n_features + 1))
        found[:, :-1] = self._store.product(of_rows)
        found[:, -1] = np.sum(of_rows, axis=1)
        for one, index in zip(found, map(int, members), strict=True):
            if (change := self._changes[index]) is not None:
                one[:-1] = (one[:-1] - one[-1] * change.mean) / change.scale
        return found

    def expect(self, wanted: Positions) -> None:
        """Copy the columns (features below D) that blocks are about to ask for, all in one pass."""
        self._store.keep(wanted)

    def columns(self, index: int, wanted: Positions) -> NDArray[np.floating]:
        """Columns (k, n) of a block, features below D."""
        found = self._store.columns(wanted, self._places[index])
        change = self._changes[index]
        return found if change is None else (found - change.mean[wanted, None]) / change.scale[wanted, None]


def _change(kept: Scaling, own: Scaling) -> Scaling | None:
    """The scaling from columns in one scaling to those in another; None if they are equal."""
    mean, scale = (own.mean - kept.mean) / kept.scale, own.scale / kept.scale
    return Scaling(mean, scale) if mean.any() or (scale != 1).any() else None


def run(rows: Positions) -> Positions:
    """All rows from the first to the last if these are not many more, else the rows."""
    first, last = int(rows[0]), int(rows[-1])
    return np.arange(first, last + 1) if last - first < WIDEST_RUN * rows.size else rows


class _ScaledColumns:
    """Some rows of features (N, D) by column, in float64 and in one scaling."""

    def __init__(self, features: NDArray[np.floating], rows: Positions, scaling: Scaling) -> None:
        self._columns = np.empty((features.shape[1], rows.size))
        # Transposed and converted in one step: a converted copy of the transpose would keep the order of the rows.
        self._columns[...] = np.take(features, rows, axis=0).T
        self._columns -= scaling.mean[:, None]
        self._columns /= scaling.scale[:, None]

    def product(self, of_rows: Floats) -> Floats:
        """R Z (B, D) of R (B, n)."""
        return product(of_rows, self._columns.T)

    def keep(self, wanted: Positions) -> None:
        """Nothing to do: all columns are in memory."""

    def columns(self, wanted: Positions, places: Positions) -> Floats:
        """(k, m) of the rows at `places`."""
        return np.take(np.take(self._columns, wanted, axis=0), places, axis=1)


class RawColumns:
    """Some rows of features (N, D), ascending, by column, neither shifted nor scaled.

    A product reads the rows a tile at a time, converted to float64; its result is rescaled afterwards, which for a mean
    far from zero loses less than the rounding of the rows. Problems over draws of the same rows ask for much the same
    columns: one copy of each serves them all.
    """

    def __init__(self, features: NDArray[np.floating], rows: Positions) -> None:
        self._features, self._rows = features, rows
        self._is_run = rows.size == int(rows[-1]) - int(rows[0]) + 1
        self._most = max(1, budget.DEFAULT.stored_columns_bytes // (rows.size * features.itemsize))
        self._slots = np.full(features.shape[1], -1, np.int64)
        self._n_kept = 0
        self._store = np.empty((0, rows.size), features.dtype)

    def product(self, of_rows: Floats) -> Floats:
        """R X (B, D) in float64, from R (B, n)."""
        total = np.zeros((self._features.shape[1], of_rows.shape[0]))
        for tile in blocks(self._rows.size, budget.DEFAULT.rows_of_tile(int(self._features.shape[1]))):
            # X^T R^T, not R X: OpenBLAS splits a product with few rows badly.
            total += product(self._tile(tile).astype(np.float64, copy=False).T, of_rows[:, tile].T)
        return total.T

    def keep(self, wanted: Positions) -> None:
        """Copy missing columns in one pass, within the budget; forget the others if few of those kept are wanted."""
        missing = self._missing(wanted)
        if self._n_kept + missing.size > self._most and 2 * (wanted.size - missing.size) < self._n_kept:
            self._slots[:] = -1
            self._n_kept = 0
            missing = wanted
        missing = missing[: self._most - self._n_kept]
        new = slice(self._n_kept, self._n_kept + missing.size)
        self._grow(new.stop)
        self._copy(missing, self._store[new])
        self._slots[missing] = np.arange(new.start, new.stop)
        self._n_kept = new.stop

    def columns(self, wanted: Positions, places: Positions) -> NDArray[np.floating]:
        """(k, m) of the rows at `places`, in the type of the features."""
        missing = self._missing(wanted)
        passing = np.empty((missing.size, self._rows.size), self._features.dtype)
        self._copy(missing, passing)
        kept = dict(zip(missing.tolist(), passing, strict=True))
        found = np.empty((wanted.size, places.size), self._features.dtype)
        for one, feature in zip(found, wanted.tolist(), strict=True):
            whole = kept[feature] if feature in kept else self._store[self._slots[feature]]
            one[...] = whole[places]
        return found

    def _missing(self, wanted: Positions) -> Positions:
        return wanted[self._slots[wanted] < 0]

    def _grow(self, n_columns: int) -> None:
        if n_columns > self._store.shape[0]:
            grown = np.empty((min(self._most, 2 * n_columns), self._rows.size), self._features.dtype)
            grown[: self._n_kept] = self._store[: self._n_kept]
            self._store = grown

    def _copy(self, wanted: Positions, out: NDArray[np.floating]) -> None:
        for tile in (
            blocks(self._rows.size, budget.DEFAULT.rows_of_tile(int(self._features.shape[1]))) if wanted.size else ()
        ):
            out[:, tile] = np.take(self._tile(tile), wanted, axis=1).T

    def _tile(self, tile: slice) -> NDArray[np.floating]:
        """Some of the rows (m, D), as stored."""
        if self._is_run:
            first = int(self._rows[0])
            return self._features[first + tile.start : first + tile.stop]
        return np.take(self._features, self._rows[tile], axis=0)


class OwnColumns:
    """Copies of the columns that one block has asked for: in float32 until `to_float64`."""

    def __init__(self, shared: SharedColumns, index: int, n_rows: int) -> None:
        self._shared, self._index, self._n_rows = shared, index, n_rows
        self._slots = np.full(shared.n_features + 1, -1, np.int64)
        self._restart(np.float32, FEWEST_SLOTS)

    @property
    def is_float64(self) -> bool:
        """Whether the copies are in float64."""
        return self._store.dtype == np.float64

    def to_float64(self) -> None:
        """Forget all copies, and make new ones in float64."""
        self._restart(np.float64, FEWEST_SLOTS)

    def slots(self, wanted: Positions) -> Positions:
        """Places of the `wanted` columns in the store, after copying the missing ones."""
        missing = wanted[self._slots[wanted] < 0]
        if self._n_used + missing.size > self._store.shape[0]:
            self._make_space(wanted)
        if missing.size:
            new = slice(self._n_used, self._n_used + missing.size)
            found = self._shared.columns(self._index, missing)
            self._store[new, : found.shape[1]] = found
            self._slots[missing] = np.arange(new.start, new.stop)
            self._n_used = new.stop
        return self._slots[wanted]

    def gram(self, slots: Positions, weight: Floats, *, float32: bool) -> Floats:
        """sum_i weight_i z_ia z_ib (k, k), multiplied in float32 if `float32`."""
        scaled = np.take(self._store, slots, axis=0) * np.sqrt(weight).astype(self._store.dtype, copy=False)
        scaled = scaled.astype(np.float32, copy=False) if float32 else scaled
        return (scaled @ scaled.T).astype(np.float64, copy=False)

    def gradients(self, slots: Positions, residual: Floats) -> Floats:
        """<residual, z_a> (k,)."""
        found = self._store[: self._n_used] @ residual.astype(self._store.dtype, copy=False)
        return found.astype(np.float64, copy=False)[slots]

    def logits(self, slots: Positions, u: Floats) -> Floats:
        """sum_a u_a z_a (n,)."""
        whole = np.zeros(self._n_used, self._store.dtype)
        whole[slots] = u
        return (whole @ self._store[: self._n_used]).astype(np.float64, copy=False)

    def _restart(self, kind: type[np.floating] | np.dtype[np.floating], size: int) -> None:
        """An empty store of `size` columns, the first of them the bias."""
        self._store = np.zeros((size, self._n_rows), kind)
        self._store[0] = 1.0
        self._slots[:] = -1
        self._slots[-1] = 0
        self._n_used = 1

    def _make_space(self, wanted: Positions) -> None:
        """Forget columns that are not wanted now, and grow the store if that is not enough."""
        kept = wanted[self._slots[wanted] > 0]
        columns = np.take(self._store, self._slots[kept], axis=0)
        self._restart(self._store.dtype, max(FEWEST_SLOTS, 2 * (wanted.size + 1)))
        self._store[1 : kept.size + 1] = columns
        self._slots[kept] = np.arange(1, kept.size + 1)
        self._n_used = kept.size + 1
