"""Rows about a mean, losing nothing to one that is far from zero.

Shapes: N rows, D features.
"""

from collections.abc import Callable
from typing import TypeAlias

from array_api_compat import array_namespace, is_numpy_array

from penult_kernels import budget
from penult_kernels.arrays import Array, blocks

CenterRows: TypeAlias = Callable[[Array, Array, Array | None, Array], None]
"""Writes (rows - mean) * root_weights[:, None] into `out`.

rows (N, D) of the type stored, mean (D,) float64, root_weights (N,) float64 or None, out (N, D) of the products."""


def center_rows(rows: Array, mean: Array, root_weights: Array | None, out: Array) -> None:
    """Write (rows - mean) * root_weights[:, None] into `out`, losing nothing to a distant mean."""
    xp = array_namespace(rows)
    if rows.dtype == xp.float64 and out.dtype != xp.float64:
        out[...] = xp.astype(rows - mean, out.dtype)
    else:
        # Subtract the rounded mean, which is exact near it (Sterbenz), then what the rounding left out, if anything.
        coarse = xp.astype(mean, out.dtype)
        shifts = [coarse]
        if out.dtype != xp.float64:
            shifts.append(xp.astype(mean - xp.astype(coarse, xp.float64), out.dtype))
        # A few rows at a time, so that they are still in the cache of a CPU when the mean is taken from them; on a GPU
        # a thousand launches would take thirty times as long as the product.
        n_rows, n_features = (max(1, int(size)) for size in rows.shape)
        step = max(1, budget.DEFAULT.centered_bytes // 8 // n_features) if is_numpy_array(out) else n_rows
        for block in blocks(int(rows.shape[0]), step):
            part = out[block, :]
            part[...] = rows[block, :]
            for shift in shifts:
                part -= shift
    if root_weights is not None:
        out *= xp.astype(root_weights, out.dtype)[:, None]
