"""Products of many rows with few heads, in panels that OpenBLAS multiplies where they lie.

Before a large product OpenBLAS copies both operands into an order of its own. Beside a few dozen heads the copy of the
rows takes longer than the product. On processors with AVX-512 small products are done without a copy: so a tile of rows
is a stack of small products. Elsewhere products with vectors alone are: a few heads are multiplied one after the other
with rows that are in the cache, and more of them in whole products. Panels depend on the shapes alone.

This is done where a process has called `products.spread_over`, so that its BLAS has one thread; elsewhere, and for
arrays of other libraries, products are whole.
"""

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array, blocks
from penult_kernels.products import is_spread, product

NO_COPY = 10**6
"""Multiplications up to which OpenBLAS does a product without copying its operands first, with AVX-512."""
LOWEST_PANEL = 8
"""Rows of a panel at least; with more heads than leave so many, whole products are quicker."""
HIGHEST_PANEL = 64
FINE_ROWS = 256
"""Rows that are added up in float32 where a problem is near what float32 reaches."""
ROWS_ADDED = 128
"""Rows of a panel that is added up."""
MOST_ADDED = 32
"""Heads from which whole sums are quicker; the padded ones count."""
MOST_COLUMNS = 640
"""Features of a panel that is added up, at most."""
FEWEST = 4
"""Up to so many heads the small product is quicker the other way round."""
PADDED = 12
"""Heads that a small product is made for at least, above FEWEST, and multiples of four: others are slower."""
MOST_VECTORS = 6
"""Heads that are multiplied one after the other at most, where there are no small products."""
MOST_SUMMED_VECTORS = 3
"""The same for sums."""
CACHED_NUMBERS = 2**16
"""Numbers of a panel of rows that stays in the cache meanwhile."""


def _has_small_products() -> bool:
    """Whether this processor has AVX-512, by either of the names that NumPy has for it."""
    known = np.show_config(mode="dicts")["SIMD Extensions"]
    return bool({"X86_V4", "AVX512_SKX"} & {*known.get("baseline", ()), *known.get("found", ())})


HAS_SMALL_PRODUCTS = _has_small_products()
"""Whether OpenBLAS does small products without copies here."""


def logits_of(rows: Array, weight: Array) -> Array:
    """rows @ weight (n, h) of rows (n, D) and heads (D, h)."""
    n_features, n_heads = (int(length) for length in weight.shape)
    if n_heads == 1 or not _is_paneled(rows):
        return product(rows, weight)
    if not HAS_SMALL_PRODUCTS:
        return _logits_by_vectors(rows, weight) if n_heads <= MOST_VECTORS else product(rows, weight)
    height = NO_COPY // max(1, n_features * n_heads)
    if height < LOWEST_PANEL:
        return product(rows, weight)
    height = min(HIGHEST_PANEL, 1 << (height.bit_length() - 1))
    found = np.empty((rows.shape[0], n_heads), np.result_type(rows, weight))
    even = rows.shape[0] // height * height
    stack = found[:even].reshape(-1, height, n_heads)
    np.matmul(rows[:even].reshape(-1, height, n_features), weight, out=stack)
    np.matmul(rows[even:], weight, out=found[even:])
    return found


def sums_of(rows: Array, residuals: Array, *, fine: bool = False) -> Array:
    """residuals.T @ rows (h, D) in float64, for rows (n, D) and residuals (n, h) in the type of the products.

    `fine` adds up fewer rows in float32, so that they are rounded less.
    """
    xp = array_namespace(rows)
    is_paneled, is_float32 = _is_paneled(rows), rows.dtype != xp.float64
    n_rows, n_heads = (int(length) for length in residuals.shape)
    padded = n_heads if n_heads <= FEWEST else max(PADDED, -(-n_heads // 4) * 4)
    if is_paneled and not HAS_SMALL_PRODUCTS and n_heads <= MOST_SUMMED_VECTORS:
        return _sums_by_vectors(rows, residuals)
    if is_paneled and HAS_SMALL_PRODUCTS and is_float32 and 1 < padded < MOST_ADDED and n_rows >= ROWS_ADDED:
        return _added(rows, residuals, padded)
    total = 0.0
    for part in blocks(n_rows, FINE_ROWS if fine and is_float32 else n_rows):
        if is_paneled:
            found = product(residuals[part, :].T, rows[part, :])
        else:
            # X^T R, not R^T X: with threads OpenBLAS splits a product with few rows badly (six times slower on two).
            found = product(rows[part, :].T, residuals[part, :]).T
        total = total + xp.astype(found, xp.float64)
    return total


def _added(rows: Array, residuals: Array, padded: int) -> Array:
    """The sums of float32 rows by small products of ROWS_ADDED rows and some of the columns each."""
    n_rows, n_heads = residuals.shape
    n_features = rows.shape[1]
    if padded > n_heads:
        in_panels = np.zeros((n_rows, padded), residuals.dtype)
        in_panels[:, :n_heads] = residuals
        residuals = in_panels
    even = n_rows // ROWS_ADDED * ROWS_ADDED
    stack, of_heads = rows[:even].reshape(-1, ROWS_ADDED, n_features), residuals[:even].reshape(-1, ROWS_ADDED, padded)
    n_panels = -(-n_features // min(MOST_COLUMNS, NO_COPY // (ROWS_ADDED * padded)))
    width = -(-n_features // (16 * n_panels)) * 16
    total = np.empty((n_heads, n_features))
    for columns in blocks(n_features, width):
        if padded <= FEWEST:
            found = (np.swapaxes(of_heads, 1, 2) @ stack[:, :, columns]).sum(axis=0, dtype=np.float64)
        else:
            found = (np.swapaxes(stack[:, :, columns], 1, 2) @ of_heads).sum(axis=0, dtype=np.float64).T
        total[:, columns] = found[:n_heads]
    if even < n_rows:
        total += residuals[even:, :n_heads].T @ rows[even:]
    return total


def _logits_by_vectors(rows: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    n_heads = weight.shape[1]
    found = np.empty((rows.shape[0], n_heads), np.result_type(rows, weight))
    heads = np.ascontiguousarray(weight.T)
    height, even = _panels_of(rows)
    of_panels = np.matmul(rows[:even].reshape(-1, 1, height, rows.shape[1]), heads[:, :, None])
    found[:even].reshape(-1, height, n_heads)[...] = np.swapaxes(of_panels[:, :, :, 0], 1, 2)
    np.matmul(rows[even:], weight, out=found[even:])
    return found


def _sums_by_vectors(rows: NDArray[Any], residuals: NDArray[Any]) -> NDArray[Any]:
    n_heads = residuals.shape[1]
    height, even = _panels_of(rows)
    vectors = np.ascontiguousarray(np.swapaxes(residuals[:even].reshape(-1, height, n_heads), 1, 2))
    of_panels = np.matmul(vectors[:, :, None, :], rows[:even].reshape(-1, 1, height, rows.shape[1]))
    return of_panels[:, :, 0, :].sum(axis=0, dtype=np.float64) + residuals[even:].T @ rows[even:]


def _panels_of(rows: NDArray[Any]) -> tuple[int, int]:
    """Rows of a panel that stays in the cache, and of all whole ones together."""
    height = max(1, CACHED_NUMBERS // max(1, rows.shape[1]))
    return height, rows.shape[0] // height * height


def _is_paneled(rows: Array) -> bool:
    return is_spread() and is_numpy_array(rows)
