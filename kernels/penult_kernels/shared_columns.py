"""Products of many problems with the columns they share, whatever rows and scaling each of them has.

A column of a problem is z_j = (x_j - mean_j) / scale_j on its rows, the bias being feature D with a column of ones.
All problems' slopes R Z are one product with the rows that any of them uses, the scaling folded in afterwards. What
a problem computes on a few of its columns (Gram matrices, logits) is done on copies of these: they are contiguous,
and stay in the cache. Where all rows in float64 would be many, `raw_columns` multiplies and copies them as they are.
"""

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.products import product
from penult_kernels.raw_columns import RawColumns
from penult_kernels.refit_blocks import Block
from penult_kernels.row_scaling import Scaling

LARGEST_COPY = 64 * 2**20
"""Bytes of float64 columns that are kept; more are left as they are."""
WIDEST_RUN = 2
"""Rows from the first to the last, to those used, up to which all of them are multiplied: none are copied."""
FEWEST_SLOTS = 320
MOST_SPREAD = 4
"""How many times a block's rows a shared product may take."""
WORKSPACE = 256 * 2**20
"""Bytes that the columns copied for one group may take."""
BYTES_PER_ROW = 8 * FEWEST_SLOTS
"""Of a block's copies in float64."""


class SharedColumns:
    """Features (N, D) as the blocks of one call see them; kept in the scaling of the first, which most share."""

    def __init__(self, features: Array, members: Sequence[Block]) -> None:
        self.features = features
        self._rows = _union([block.rows for block in members], features.shape[0])
        is_small = 8 * self._rows.size * features.shape[1] <= LARGEST_COPY
        if not is_small:
            self._rows = _run(self._rows)
        self._first = members[0].scaling
        # Columns that are constant for the first block may not be for others.
        self._scaling = Scaling(self._first.mean, self._first.unit)
        self._left_out = np.flatnonzero(np.isinf(to_host(self._first.scale)))
        self._places = {id(block): self._placed(block) for block in members}
        self._kept: Array = self._copied() if is_small else None
        self._raw = None if is_small else RawColumns(features, self._rows)

    def slopes(self, members: Sequence[Block], residuals: NDArray[np.float64]) -> NDArray[np.float64]:
        """R Z and R 1 of every block (B, D + 1), from residuals (B, n): one pass over the rows."""
        whole = np.zeros((len(members), self._rows.size))
        for one, block, residual in zip(whole, members, residuals, strict=True):
            place = self._places[id(block)]
            one[place] = residual[: place.size]
        xp = array_namespace(self.features)
        of_rows = beside(whole, self.features)
        found = self._raw.product(of_rows) if self._raw is not None else product(of_rows, self._kept.T)
        totals = xp.sum(of_rows, axis=1, keepdims=True)
        for index, block in enumerate(members):
            if self._raw is not None:
                centred = found[index, :] - totals[index, :] * block.scaling.mean
                found[index, :] = centred / block.scaling.scale
            elif block.scaling is not self._first:
                factor, shift = self._change(block)
                found[index, :] = found[index, :] * factor + totals[index, :] * shift
            elif self._left_out.size:
                found[index, :] = xp.where(xp.isinf(self._first.scale), 0.0, found[index, :])
        return to_host(xp.concat([found, totals], axis=1))

    def expect(self, wanted: NDArray[np.int64]) -> None:
        """Some blocks are about to ask for columns, features below D: what must be copied is copied for all at once."""
        if self._raw is not None:
            self._raw.keep(wanted)

    def columns(self, block: Block, wanted: NDArray[np.int64]) -> Array:
        """Columns (k, n) of a block, features below D."""
        xp = array_namespace(self.features)
        at, place = beside(wanted, self.features), beside(self._places[id(block)], self.features)
        if self._raw is not None:
            raw = xp.astype(self._raw.columns(wanted, self._places[id(block)]), xp.float64)
            mean, scale = (xp.take(values, at, axis=0)[:, None] for values in (block.scaling.mean, block.scaling.scale))
            return (raw - mean) / scale
        found = xp.take(xp.take(self._kept, at, axis=0), place, axis=1)
        if block.scaling is self._first and not np.isin(wanted, self._left_out).any():
            return found
        factor, shift = (xp.take(values, at, axis=0)[:, None] for values in self._change(block))
        return found * factor + shift

    def _change(self, block: Block) -> tuple[Array, Array]:
        """What leads from the kept scaling to that of a block: factor and shift (D,)."""
        own, kept = block.scaling, self._scaling
        return kept.scale / own.scale, (kept.mean - own.mean) / own.scale

    def _placed(self, block: Block) -> NDArray[np.int64]:
        if block.rows is None:
            return np.arange(self._rows.size)
        return np.searchsorted(self._rows, block.rows)

    def _copied(self) -> Array:
        """(D, n) columns in float64 and in the kept scaling, each contiguous."""
        xp = array_namespace(self.features)
        part = xp.take(self.features, beside(self._rows, self.features), axis=0)
        found = xp.empty((part.shape[1], part.shape[0]), dtype=xp.float64, device=part.device)
        # Turned and widened in one go: a widened copy of the transpose would keep the order of the rows.
        found[:, :] = part.T
        found -= self._scaling.mean[:, None]
        found /= self._scaling.scale[:, None]
        return found


class OwnColumns:
    """Copies of the columns that one block has asked for: in float32 until they are widened."""

    def __init__(self, shared: SharedColumns, block: Block, n_rows: int) -> None:
        self._shared, self._block, self._n_rows = shared, block, n_rows
        self._slots = np.full(shared.features.shape[1] + 1, -1, np.int64)
        self.is_wide = False
        self._restart(FEWEST_SLOTS)

    def widen(self) -> None:
        """From now on in float64; what was kept is forgotten."""
        self.is_wide = True
        self._restart(FEWEST_SLOTS)

    def slots(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the entries `wanted` are kept, after copying those that are not."""
        missing = wanted[self._slots[wanted] < 0]
        if self._n_used + missing.size > self._store.shape[0]:
            self._make_room(wanted)
        if missing.size:
            new = slice(self._n_used, self._n_used + missing.size)
            found = self._shared.columns(self._block, missing)
            self._store[new, : found.shape[1]] = array_namespace(found).astype(found, self._store.dtype)
            self._slots[missing] = np.arange(new.start, new.stop)
            self._n_used = new.stop
        return self._slots[wanted]

    def gram(self, slots: NDArray[np.int64], weight: NDArray[np.float64], *, narrow: bool) -> NDArray[np.float64]:
        """sum_i weight_i z_ia z_ib (k, k); `narrow` in float32."""
        xp = array_namespace(self._store)
        scaled = xp.take(self._store, beside(slots, self._store), axis=0) * self._typed(np.sqrt(weight))
        if narrow and self.is_wide:
            scaled = xp.astype(scaled, xp.float32)
        return to_host(scaled @ scaled.T).astype(np.float64)

    def slopes(self, slots: NDArray[np.int64], residual: NDArray[np.float64]) -> NDArray[np.float64]:
        """<residual, z_a> (k,)."""
        return to_host(self._store[: self._n_used, :] @ self._typed(residual)).astype(np.float64)[slots]

    def logits(self, slots: NDArray[np.int64], u: NDArray[np.float64]) -> NDArray[np.float64]:
        """sum_a u_a z_a (n,)."""
        whole = np.zeros(self._n_used)
        whole[slots] = u
        return to_host(self._typed(whole) @ self._store[: self._n_used, :]).astype(np.float64)

    def _typed(self, values: NDArray[np.float64]) -> Array:
        return beside(values if self.is_wide else values.astype(np.float32), self._store)

    def _restart(self, size: int) -> None:
        """Room for `size` columns, the first of them the bias."""
        xp, features = array_namespace(self._shared.features), self._shared.features
        kind = xp.float64 if self.is_wide else xp.float32
        self._store: Array = xp.zeros((size, self._n_rows), dtype=kind, device=features.device)
        self._store[0:1, :] = xp.ones((1, self._n_rows), dtype=kind, device=features.device)
        self._slots[:] = -1
        self._slots[-1] = 0
        self._n_used = 1

    def _make_room(self, wanted: NDArray[np.int64]) -> None:
        """Forget what is not wanted now, and grow if that is not enough."""
        kept = wanted[self._slots[wanted] > 0]
        columns = array_namespace(self._store).take(self._store, beside(self._slots[kept], self._store), axis=0)
        self._restart(max(FEWEST_SLOTS, 2 * (wanted.size + 1)))
        self._store[1 : kept.size + 1, :] = columns
        self._slots[kept] = np.arange(1, kept.size + 1)
        self._n_used = kept.size + 1


def _union(rows: Sequence[NDArray[np.int64] | None], n_rows: int) -> NDArray[np.int64]:
    """Ascending rows that any block uses."""
    is_used = np.zeros(n_rows, np.bool_)
    for own in rows:
        is_used[slice(None) if own is None else own] = True
    return np.flatnonzero(is_used)


def _run(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """All rows from the first to the last where those are not many more."""
    first, last = int(rows[0]), int(rows[-1])
    return np.arange(first, last + 1) if last - first < WIDEST_RUN * rows.size else rows


def shared_groups(blocks: Sequence[Block], n_rows: int) -> list[list[int]]:
    """Positions of the binary blocks with an l1, in groups that share a product and fit in memory.

    A product takes all rows that any block of a group uses; blocks that use few of them are put in groups of their own.
    """
    groups: list[list[int]] = []
    union, total, n_bytes = np.zeros(n_rows, np.bool_), 0, 0
    for index, block in enumerate(blocks):
        if block.l1 == 0 or block.n_columns > 1:
            continue
        rows = slice(None) if block.rows is None else block.rows
        n_used = n_rows if block.rows is None else block.rows.size
        wider = union.copy()
        wider[rows] = True
        is_spread = np.count_nonzero(wider) * (len(groups[-1]) + 1 if groups else 1) > MOST_SPREAD * (total + n_used)
        if not groups or is_spread or n_bytes + n_used * BYTES_PER_ROW > WORKSPACE:
            groups.append([])
            wider[:] = False
            wider[rows] = True
            total, n_bytes = 0, 0
        groups[-1].append(index)
        union, total, n_bytes = wider, total + n_used, n_bytes + n_used * BYTES_PER_ROW
    return groups
