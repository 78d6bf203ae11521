"""Rows of one group that wait to be multiplied, and the memory that a product is made in.

Shapes: N rows, D features.
"""

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like
from penult_kernels.finite import check_finite
from penult_kernels.products import gram, n_threads

COLUMNS = 32
"""Columns of the rows of a product are a multiple of so many."""


class RowBuffer:
    """Rows of one group that wait to be folded in, with their weights and their numbers in the stream."""

    def __init__(self, capacity: int, n_features: int, dtype: Array, xp: Array, device: Array) -> None:
        self.n = 0
        self._rows = xp.empty((capacity, n_features), dtype=dtype, device=device)
        self._numbers = np.empty(capacity, dtype=np.int64)
        self._weights = np.ones(capacity)
        self._weighted = False

    @property
    def rows(self) -> Array:
        """(n, D) that wait."""
        return self._rows[: self.n, :]

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """(n,) on the host, None when every row counts once."""
        return self._weights[: self.n] if self._weighted else None

    def append(self, features: Array, rows: NDArray[np.int64], first: int, weights: NDArray[np.float64] | None) -> None:
        """Take the `rows` of `features`, whose row 0 has the number `first` in the stream."""
        place = slice(self.n, self.n + rows.size)
        gathered_into(features, rows, self._rows[place, :])
        self._numbers[place] = rows + first
        if self.n == 0:
            self._weighted = False
        self._weights[place] = 1.0 if weights is None else weights
        self._weighted = self._weighted or weights is not None
        self.n += rows.size

    def check_finite(self) -> None:
        """Raise NotFiniteError when a row holds NaN or infinity; a sum may overflow without one."""
        check_finite(self.rows, name="features", numbers=self._numbers)


class Work:
    """Memory for the centered rows of one portion, the row that merges it, and its product."""

    def __init__(self, capacity: int, n_features: int, dtype: Array, xp: Array, device: Array) -> None:
        self.dtype = dtype
        self._n_features = n_features
        self._rows = xp.empty((capacity + 1, n_features), dtype=dtype, device=device)
        if is_numpy_array(self._rows):
            self._rows = np.zeros((capacity + 1, _padded(n_features)), dtype=self._rows.dtype)
        self._product: NDArray[np.floating] | None = None

    def rows(self, n: int) -> Array:
        """The first n rows. Views, which the standard leaves open but every library here gives."""
        return self._rows[:n, : self._n_features]

    def product(self, n: int) -> Array:
        """block^T block of the first n rows, by NumPy's syrk over the last product: fresh memory costs time.

        Never by panels, and of columns whose number is a multiple of `COLUMNS`, with zeros: of these a syrk has the
        same bits on any number of the BLAS' threads. Of others, such as 300, and of other products it has not.
        """
        block = self._rows[:n, :]
        if not is_numpy_array(block):
            return gram(block.T)
        if self._product is None:
            self._product = np.empty((block.shape[1], block.shape[1]), dtype=block.dtype)
        np.matmul(block.T, block, out=self._product)
        return self._product[: self._n_features, : self._n_features]


def work_bytes(capacity: int, n_features: int) -> int:
    """Memory of a `Work` on the host, of float64 products."""
    width = _padded(n_features)
    return ((capacity + 1) * width + width**2) * 8


def _padded(n_features: int) -> int:
    return -(-n_features // COLUMNS) * COLUMNS


def portions_at_once(capacity: int, n_features: int) -> int:
    """Portions that are multiplied at a time: as many as there are threads, within the budget."""
    portions = budget.DEFAULT.portions_bytes // max(1, work_bytes(capacity, n_features))
    return max(1, min(n_threads(), max(2, portions)))


def gathered_into(features: Array, rows: NDArray[np.int64], out: Array) -> None:
    """Copy some rows, ascending, into `out`."""
    if int(rows[-1]) - int(rows[0]) + 1 == rows.size:
        out[...] = features[int(rows[0]) : int(rows[-1]) + 1, :]
    elif is_numpy_array(features):
        np.take(features, rows, axis=0, out=out, mode="clip")
    else:
        out[...] = array_namespace(features).take(features, asarray_like(rows, features), axis=0)
