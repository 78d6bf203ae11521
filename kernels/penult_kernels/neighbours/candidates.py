"""The nearest rows seen so far, for each row of a block."""

import threading

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from penult_kernels.arrays import Array


class Candidates:
    """The `width` best-scored rows of each of n rows, found a tile at a time. May be offered tiles by several threads.

    Once a row has `width` candidates, most entries of a tile are below the worst of them: one comparison, in the cache,
    leaves a few to merge. So this takes a few percent of the time of the product that made the tile.
    """

    def __init__(self, n_rows: int, width: int, like: Array) -> None:
        xp = array_namespace(like)
        self._lock = threading.Lock()
        self.width = width
        self.score = xp.full((n_rows, 0), -xp.inf, dtype=xp.float32, device=like.device)
        """(n, at most width), in no order; -inf where there is none."""
        self.index = xp.full((n_rows, 0), -1, dtype=xp.int64, device=like.device)
        """(n, at most width) numbers of the rows; -1 where there is none."""
        self.worst = xp.full((n_rows,), -xp.inf, dtype=xp.float32, device=like.device)
        """(n,) what a score must exceed to be kept: all that was left out is at most this."""

    def offer(self, scores: Array, first: int, *, transposed: bool = False) -> None:
        """Take from a tile (n, m) of scores of rows first, first + 1, ...; transposed, the tile is (m, n)."""
        xp = array_namespace(scores)
        limit = self.worst
        if not self.score.shape[1] and not transposed and scores.shape[1] > self.width:
            limit = _just_below_largest(scores, self.width)
        found, index = above(scores, limit, first, transposed=transposed)
        if not found.shape[1]:
            return
        with self._lock:
            if self.score.shape[1]:
                found = xp.concat([self.score, found], axis=1)
                index = xp.concat([self.index, index], axis=1)
            self.score, self.index = _largest(found, index, self.width)
            self.index = xp.where(self.score == -xp.inf, -1, self.index)
            if self.score.shape[1] == self.width:
                self.worst = xp.min(self.score, axis=1)


def above(scores: Array, limit: Array, first: int, *, transposed: bool = False) -> tuple[Array, Array]:
    """Scores above the limit of their row, side by side, filled up with -inf; and the numbers of what they are of.

    `scores` is (n, m), or (m, n) when transposed, of rows first, first + 1, ...; `limit` is (n,); both answers are
    (n, most that a row has).
    """
    xp = array_namespace(scores)
    n_columns = scores.shape[1]
    is_above = scores > (limit[None, :] if transposed else limit[:, None])
    flat = xp.nonzero(xp.reshape(is_above, (-1,)))[0]
    values = xp.take(xp.reshape(scores, (-1,)), flat)
    rows = flat // n_columns
    others = flat - rows * n_columns
    if transposed:
        keys = others
        # Short integers are sorted by their digits.
        order = np.argsort(keys.astype(np.uint16), kind="stable") if _is_short(keys, n_columns) else xp.argsort(keys)
        rows, others, values = xp.take(others, order), xp.take(rows, order), xp.take(values, order)
    n_rows = n_columns if transposed else scores.shape[0]
    each = xp.arange(n_rows, dtype=rows.dtype, device=scores.device)
    starts = xp.searchsorted(rows, each)
    ends = xp.searchsorted(rows, each, side="right")
    width = int(xp.max(ends - starts)) if n_rows else 0
    if not width:
        shape = (n_rows, 0)
        return xp.empty(shape, dtype=scores.dtype, device=scores.device), xp.empty(
            shape, dtype=xp.int64, device=scores.device
        )
    places = starts[:, None] + xp.arange(width, dtype=starts.dtype, device=scores.device)[None, :]
    is_there = places < ends[:, None]
    taken = xp.reshape(xp.where(is_there, places, 0), (-1,))
    found = xp.reshape(xp.take(values, taken), places.shape)
    index = xp.reshape(xp.take(others, taken), places.shape) + first
    return xp.where(is_there, found, -xp.inf), xp.where(is_there, index, -1)


def _is_short(keys: Array, n: int) -> bool:
    return is_numpy_array(keys) and n <= 2**16


def _just_below_largest(scores: Array, width: int) -> Array:
    """(n,) a limit that the `width` largest scores of each row are above."""
    n = scores.shape[1]
    if is_numpy_array(scores):
        return np.nextafter(np.partition(scores, n - width, axis=1)[:, n - width], np.float32(-np.inf))
    xp = array_namespace(scores)
    return xp.nextafter(
        xp.sort(scores, axis=1)[:, n - width], xp.asarray(-xp.inf, dtype=scores.dtype, device=scores.device)
    )


def _largest(scores: Array, index: Array, width: int) -> tuple[Array, Array]:
    """The `width` largest scores of each row, in no order, with their numbers."""
    n = scores.shape[1]
    if n <= width:
        return array_namespace(scores).asarray(scores, copy=True), index
    xp = array_namespace(scores)
    if is_numpy_array(scores):
        chosen = np.argpartition(scores, n - width, axis=1)[:, n - width :]
    else:
        chosen = xp.argsort(scores, axis=1)[:, n - width :]
    return xp.take_along_axis(scores, chosen, axis=1), xp.take_along_axis(index, chosen, axis=1)
