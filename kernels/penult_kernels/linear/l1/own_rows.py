"""Passes over copies of the rows of a few binary problems, on the host.

Where draws use few of the rows each, a product of all rows with all heads is mostly of rows with heads that they have
nothing to do with. Here each block has a copy of its own rows, in float32 unless they are float64, and a pass is a
product of it with one head. Blocks are handed to the threads that large products are split over; sums are of panels
that depend on the shapes alone.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import blocks
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.l1.folding import folded, unfolded
from penult_kernels.products import on_threads

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

MOST_SHARE = 0.125
"""Share of the pairs of a row and a head that problems need, up to which copies are quicker than shared products."""
ROWS_ADDED = 128
"""Rows that are added up in float32."""
ROWS_CONVERTED = 128
"""Rows that are converted to float64 at a time: few enough to stay in the cache."""


class OwnRows:
    """Logits and gradients of B blocks over copies of their rows of features (N, D), each pass for some of them."""

    def __init__(self, features: NDArray[np.floating], members: Sequence[Block]) -> None:
        self._members = members
        distinct = {block.rows_id: block for block in members}
        kind = np.float64 if features.dtype == np.float64 else np.float32

        def copied(block: Block) -> NDArray[np.floating]:
            return np.take(features, block.used(), axis=0).astype(kind, copy=False)

        copies = on_threads(copied, list(distinct.values()))
        of_id = dict(zip(distinct, copies, strict=True))
        self._copies = [of_id[block.rows_id] for block in members]

    def logits(self, which: Positions, heads: Floats, *, float32: bool) -> list[Floats]:
        """(n,) logits of each head (E,) on the rows of its block, without the offset."""

        def of_one(pair: tuple[int, Floats]) -> Floats:
            index, head = pair
            weight, bias = folded(self._members[index].scaling, head)
            rows = self._copies[index]
            if float32:
                return (rows @ weight.astype(rows.dtype, copy=False)).astype(np.float64) + bias
            found = np.full(len(rows), bias)
            for part in blocks(len(rows), ROWS_CONVERTED):
                found[part] += rows[part].astype(np.float64, copy=False) @ weight
            return found

        return on_threads(of_one, list(zip(map(int, which), heads, strict=True)))

    def gradients(self, which: Positions, residuals: Sequence[Floats], *, float32: bool) -> Floats:
        """Z^T R and 1^T R (B, E) of residuals (n,) on the rows of each block."""

        def of_one(pair: tuple[int, Floats]) -> Floats:
            index, residual = pair
            total = (_sums if float32 else _exact_sums)(self._copies[index], residual)
            return unfolded(self._members[index].scaling, total, float(residual.sum()))

        return np.stack(on_threads(of_one, list(zip(map(int, which), residuals, strict=True))))


def _sums(rows: NDArray[np.floating], residual: Floats) -> Floats:
    """residual @ rows, by products in the type of the rows."""
    own: NDArray[np.floating] = residual.astype(rows.dtype, copy=False)
    even = len(rows) // ROWS_ADDED * ROWS_ADDED
    stack = own[:even].reshape(-1, 1, ROWS_ADDED) @ rows[:even].reshape(-1, ROWS_ADDED, rows.shape[1])
    total = stack.sum(axis=(0, 1), dtype=np.float64)
    total += own[even:] @ rows[even:]
    return total


def _exact_sums(rows: NDArray[np.floating], residual: Floats) -> Floats:
    """residual @ rows in float64."""
    total = np.zeros(rows.shape[1])
    for part in blocks(len(rows), ROWS_CONVERTED):
        total += residual[part] @ rows[part].astype(np.float64, copy=False)
    return total
