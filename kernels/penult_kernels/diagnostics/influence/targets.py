"""Mean losses of parts of some rows: their gradients by a head, and what they become when the head moves."""

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, one_hot, to_host
from penult_kernels.loss import log_softmax
from penult_kernels.products import product
from penult_kernels.rows import RowSource

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NUMBERS = 2**22
"""Logits of a tile of rows under all heads at most."""


def mean_gradients(rows: RowSource, logits: Floats, y: Integers, part: Integers, n_parts: int) -> Floats:
    """(T, K, D + 1) gradient of the mean cross-entropy of each part's rows by a head; NaN for a part without rows.

    `logits` (N, K) are the head's. Rows of part -1 are in none.

    >>> import numpy as np
    >>> from penult_kernels.rows import ArrayRows
    >>> x, y = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([0, 1])
    >>> found = mean_gradients(ArrayRows(x), np.zeros((2, 2)), y, np.array([0, 0]), 1)
    >>> bool(np.allclose(found[0], np.mean([np.outer([-0.5, 0.5], [1, 2, 1]), np.outer([0.5, -0.5], [0, 1, 1])], 0)))
    True
    """
    n, d = rows.shape
    e = np.exp(np.asarray(log_softmax(logits)))
    e[np.arange(n), y] -= 1.0
    count = np.bincount(part[part >= 0], minlength=n_parts)
    found = np.zeros((n_parts, logits.shape[1], d + 1))
    for tile in blocks(n, budget.of(rows.like).rows_per_single_pass):
        xp = array_namespace(rows.like)
        z = xp.astype(rows.block(tile), xp.float64)
        pairs = (_shares(part[tile], count)[:, :, None] * e[tile, None, :]).reshape(z.shape[0], -1)
        found[:, :, :-1] += to_host(asarray_like(pairs, z).T @ z).reshape(n_parts, -1, d)
        found[:, :, -1] += pairs.sum(axis=0).reshape(n_parts, -1)
    found[count == 0] = np.nan
    return found


def mean_changes(
    rows: RowSource, logits: Floats, y: Integers, part: Integers, n_parts: int, weight: Array, bias: Array
) -> Floats:
    """(R, T) changes of the mean cross-entropy of each part's rows when a head moves by each of R moves.

    `logits` (N, K) are the head's, `weight` (R, K, D) and `bias` (R, K) what is added to it, on the device of the rows.
    NaN for a part without rows. The change of a row is log sum_c p_c exp(m_c) - m_y, m the change of its logits: of
    small moves no digits are lost.

    >>> import numpy as np
    >>> from penult_kernels.rows import ArrayRows
    >>> x, y = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([0, 1])
    >>> w, dw = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[[0.5, 0.0], [0.0, 0.3]]])
    >>> def loss(w):
    ...     z = x @ w.T
    ...     return np.mean(np.log(np.exp(z).sum(1)) - z[[0, 1], y])
    >>> found = mean_changes(ArrayRows(x), x @ w.T, y, np.array([0, 0]), 1, dw, np.zeros((1, 2)))
    >>> bool(np.isclose(found[0, 0], loss(w + dw[0]) - loss(w)))
    True
    """
    (n, d), (n_moves, k) = rows.shape, (int(length) for length in bias.shape)
    count = np.bincount(part[part >= 0], minlength=n_parts)
    p = np.exp(np.asarray(log_softmax(logits)))
    found = np.zeros((n_moves, n_parts))
    step = max(1, min(budget.of(rows.like).rows_per_single_pass, NUMBERS // (n_moves * k)))
    for tile in blocks(n, step):
        z = rows.block(tile)
        xp = array_namespace(z)
        flat = xp.reshape(xp.astype(weight, z.dtype if z.dtype == xp.float64 else xp.float32), (n_moves * k, d))
        moved = product(xp.astype(z, flat.dtype, copy=False), flat.T)
        change = xp.reshape(xp.astype(moved, xp.float64), (z.shape[0], n_moves, k)) + bias
        own = one_hot(y[tile], k)
        away = change - xp.sum(change * asarray_like(own, change)[:, None, :], axis=2, keepdims=True)
        grown = xp.expm1(xp.clip(away, max=600.0)) * asarray_like(p[tile], change)[:, None, :]
        each = xp.log1p(xp.sum(grown, axis=2))
        found += to_host(each.T @ asarray_like(_shares(part[tile], count), change))
    found[:, count == 0] = np.nan
    return found


def _shares(part: Integers, count: Integers) -> Floats:
    """(t, T) what each row of a tile counts in the mean of each part."""
    return one_hot(part, count.size) / np.maximum(count, 1)[None, :]
