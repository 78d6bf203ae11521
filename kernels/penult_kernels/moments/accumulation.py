"""Group moments of rows that come a chunk at a time, in one pass and in bounded memory.

Rows wait in a buffer of their group. A full buffer is centered about its own mean and folded in with Chan,
Golub & LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1, for matrices:

    m2 <- m2 + Z^T Z + (w_a w_b / w) delta delta^T,      delta = mean_b - mean_a

The last term is one more row of Z, sqrt(w_a w_b / w) delta, so that a merge costs no pass over the (D, D) sum,
and nothing of the size of the mean is ever squared. A group's rows are folded in the same portions however they
were cut into chunks: the answer is the same to the last bit.

Shapes: N rows, D features, G groups, B rows of a buffer.
"""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, host_labels, to_host
from penult_kernels.finite import check_finite
from penult_kernels.moments.moments import Moments, check_positive, empty_moments, matrix_shape
from penult_kernels.products import gram

ROWS_CONVERTED = 128
"""Rows of a product converted at a time."""

Products: TypeAlias = Literal["float64", "float32"]
"""Type in which centered rows are multiplied; sums of products are float64 in both."""

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


class MomentAccumulator:
    """Counts, means and centered second moments of G groups, fed with rows in any number of calls.

    Memory: G * D * D * 8 bytes of sums, at most about `Budget.buffers_bytes` of waiting rows, and one buffer in the
    type of the products.

    Parameters
    ----------
    n_groups, n_features : int
        G and D.
    dtype : of the rows that will come; any real floating type of `xp`.
    products : "float64" loses nothing that storage had kept. "float32" is about twice as fast; its rounding, up to
        about 1e-6 of lambda_1 in every eigenvalue, hides the tails of steep spectra.
    center : a faster `center_rows` of a device, if there is one.
    splits : whether NumPy's products may be split over threads; not where as many accumulators work at the same time.
    """

    def __init__(
        self,
        n_groups: int,
        n_features: int,
        *,
        dtype: Array,
        products: Products = "float64",
        xp: Array = np,
        device: Array = None,
        center: CenterRows = center_rows,
        splits: bool = True,
    ) -> None:
        check_positive(n_groups, name="n_groups")
        self._xp = xp
        self._center = center
        self._splits = splits
        self._dtype = xp.empty((0,), dtype=dtype, device=device).dtype
        self._sums = empty_moments(n_groups, n_features, xp=xp, device=device)
        # Written to through these views: `m2[k] += ...` would copy the matrix onto itself.
        self._m2 = [self._sums.m2[k, :, :] for k in range(n_groups)]
        self._weight = np.zeros(n_groups)
        self._count = np.zeros(n_groups, dtype=np.int64)
        row_bytes = max(n_features, 1) * xp.finfo(dtype).bits // 8
        self._capacity = _buffer_rows(n_groups, row_bytes, budget.of(self._sums.m2))
        self._buffers = [_Buffer(self._capacity, n_features, dtype, xp, device) for _ in range(n_groups)]
        work_dtype = xp.float64 if products == "float64" else xp.float32
        self._work = xp.empty((self._capacity + 1, n_features), dtype=work_dtype, device=device)
        self._last: NDArray[np.floating] | None = None
        self._n_seen = 0

    def add(self, features: Array, g: Array, weights: Array | None = None) -> None:
        """Take rows in.

        Parameters
        ----------
        features : array of shape (N, D)
        g : array of shape (N,) or (S, N)
            Group of each row, whole numbers, -1 for none; on the host or on the device of `features`. With S
            groupings (such as classes and masks) a row is in up to S of the G groups, numbered through all groupings.
        weights : array of shape (N,), optional
            Not negative; a row of weight 2 counts as two equal rows, one of weight 0 as none.

        Raises
        ------
        ValueError
            When shapes or types disagree, a group is outside -1 ... G - 1 or a weight is negative or not finite.
        NotFiniteError
            Here or in a later call: a row added holds NaN or infinity.
        """
        n_rows, n_features = matrix_shape(features, name="features")
        if n_features != self._work.shape[1] or features.dtype != self._dtype:
            raise ValueError(
                f"features must be {self._dtype} with {self._work.shape[1]} columns, as announced; "
                f"got {features.dtype} with {n_features}"
            )
        n_groups = len(self._buffers)
        groupings = [host_labels(one, n_rows, n_groups, name="g", lowest=-1) for one in np.atleast_2d(to_host(g))]
        given = None if weights is None else host_weights(weights, n_rows)
        for labels in groupings:
            for k in np.unique(labels[labels >= 0]):
                rows = np.flatnonzero(labels == k if given is None else (labels == k) & (given > 0))
                self._add_to_group(int(k), features, rows, given)
        self._n_seen += n_rows

    def absorb(self, other: Moments) -> None:
        """Take in moments of other rows of the same groups, in place. Raises ValueError when the shapes differ."""
        if other.m2.shape != self._sums.m2.shape:
            raise ValueError(f"expected moments of shape {self._sums.m2.shape}, got {other.m2.shape}")
        for k, sums in enumerate(self._m2):
            self._fold(k)
            before, added = float(self._weight[k]), float(other.weight[k])
            if added:
                delta = other.mean[k, :] - self._sums.mean[k, :]
                _add_with_between(sums, other.m2[k, :, :], delta, before * added / (before + added))
                self._sums.mean[k, :] = self._sums.mean[k, :] + delta * (added / (before + added))
                self._weight[k] = before + added
                self._count[k] += int(other.count[k])

    def fold_waiting(self) -> None:
        """Fold in every row that still waits in a buffer. Raises NotFiniteError for one with NaN or infinity."""
        for k in range(len(self._buffers)):
            self._fold(k)

    def finish(self) -> Moments:
        """Moments of every row taken in. The arrays are the accumulator's own: add no rows afterwards."""
        self.fold_waiting()
        xp, device = self._xp, self._sums.m2.device
        return Moments(
            count=xp.asarray(self._count, dtype=xp.int64, device=device),
            weight=xp.asarray(self._weight, dtype=xp.float64, device=device),
            mean=self._sums.mean,
            m2=self._sums.m2,
        )

    def _product(self, block: Array) -> Array:
        """block^T block; NumPy (by syrk) writes over the last product, because fresh memory costs time."""
        if not is_numpy_array(block):
            return gram(block.T)
        if self._last is None:
            self._last = np.empty((block.shape[1], block.shape[1]), dtype=block.dtype)
        if not self._splits:
            return np.matmul(block.T, block, out=self._last)
        return gram(block.T, out=self._last)

    def _add_to_group(
        self, k: int, features: Array, rows: NDArray[np.int64], weights: NDArray[np.float64] | None
    ) -> None:
        buffer = self._buffers[k]
        while rows.size:
            now, rows = np.split(rows, [self._capacity - buffer.n])
            buffer.append(features, now, self._n_seen, None if weights is None else weights[now])
            if buffer.n == self._capacity:
                self._fold(k)

    def _fold(self, k: int) -> None:
        """Fold the rows that wait for group k into its sums, and empty the buffer."""
        buffer = self._buffers[k]
        if not buffer.n:
            return
        rows, weights = buffer.rows, buffer.weights
        xp = self._xp
        added = float(buffer.n) if weights is None else float(weights.sum())
        mean = _mean(rows, weights, added)
        if not bool(xp.all(xp.isfinite(mean))):
            buffer.check_finite()
        # Views of the work array, which the standard leaves open but every library here gives.
        block = self._work[: buffer.n + 1, :]
        roots = None if weights is None else asarray_like(np.sqrt(weights), rows)
        self._center(rows, mean, roots, self._work[: buffer.n, :])
        delta = mean - self._sums.mean[k, :]
        before = float(self._weight[k])
        total = before + added
        block[buffer.n, :] = xp.astype(delta * math.sqrt(before * added / total), block.dtype)
        _add_converted(self._m2[k], self._product(block))
        self._sums.mean[k, :] = self._sums.mean[k, :] + delta * (added / total)
        self._weight[k] = total
        self._count[k] += buffer.n
        buffer.n = 0


def _add_with_between(sums: Array, added: Array, delta: Array, weight: float) -> None:
    """sums += added + weight delta delta^T, a few rows at a time: no matrix of that size is made."""
    for rows in blocks(int(sums.shape[0]), ROWS_CONVERTED):
        part = sums[rows, :]
        part += added[rows, :]
        part += (weight * delta[rows])[:, None] * delta[None, :]


def accumulator_bytes(n_groups: int, n_features: int, itemsize: int) -> int:
    """Memory of a `MomentAccumulator` for rows of numbers of `itemsize` bytes: sums, buffers, work and product."""
    row_bytes = max(n_features, 1) * itemsize
    n_rows = _buffer_rows(n_groups, row_bytes, budget.DEVICE or budget.DEFAULT)
    return (n_groups + 1) * n_features**2 * 8 + n_rows * n_groups * row_bytes + (n_rows + 1) * n_features * 8


def _buffer_rows(n_groups: int, row_bytes: int, within: budget.Budget) -> int:
    return max(1, min(within.buffer_rows, within.buffers_bytes // (row_bytes * n_groups)))


class _Buffer:
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
        _gather(features, rows, self._rows[place, :])
        self._numbers[place] = rows + first
        if self.n == 0:
            self._weighted = False
        self._weights[place] = 1.0 if weights is None else weights
        self._weighted = self._weighted or weights is not None
        self.n += rows.size

    def check_finite(self) -> None:
        """Raise NotFiniteError when a row holds NaN or infinity; a sum may overflow without one."""
        check_finite(self.rows, name="features", numbers=self._numbers)


def moments_of(features: Array, g: Array, n_groups: int, weights: Array | None = None) -> Moments:
    """Moments of the rows of every group.

    Rows are converted to float64 before the mean and the product are taken, so that nothing is lost beyond the rounding
    of the stored `features`, however far the mean is from zero.

    Parameters
    ----------
    features : array of shape (N, D)
        Any real floating type.
    g : array of shape (N,)
        Group of each row, whole numbers; on the host or on the device of `features`.
    n_groups : int
        Groups there are, with or without a row here.
    weights : array of shape (N,), optional
        Not negative; a row of weight 2 counts as two equal rows, one of weight 0 as none.

    Raises
    ------
    ValueError
        When the shapes disagree, there is no group, a group is outside 0 ... n_groups - 1, or a weight is negative.
    NotFiniteError
        When a row holds NaN or infinity.
    """
    n_rows, n_features = matrix_shape(features, name="features")
    host_labels(g, n_rows, n_groups, name="g")
    accumulator = MomentAccumulator(
        n_groups, n_features, dtype=features.dtype, xp=array_namespace(features), device=features.device
    )
    accumulator.add(features, g, weights)
    return accumulator.finish()


def host_weights(weights: Array, n_rows: int) -> NDArray[np.float64]:
    """Check that `weights` is (n_rows,) finite numbers of at least 0 and return it on the host, as float64.

    Raises
    ------
    ValueError
        Saying what is wrong with it.
    """
    found = to_host(weights).astype(np.float64)
    if found.shape != (n_rows,):
        raise ValueError(f"weights must have one entry per row, shape ({n_rows},), got {found.shape}")
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if wrong.size:
        raise ValueError(f"weights must be finite and at least 0, got {found[wrong[0]]} in row {wrong[0]}")
    return found


def _add_converted(sums: Array, product: Array) -> None:
    """sums += product; of another type a few rows at a time, converted first: NumPy adds mixed types slowly."""
    xp = array_namespace(sums)
    if product.dtype == sums.dtype:
        sums += product
        return
    for rows in blocks(int(sums.shape[0]), ROWS_CONVERTED):
        part = sums[rows, :]
        part += xp.astype(product[rows, :], sums.dtype, copy=False)


def _gather(features: Array, rows: NDArray[np.int64], out: Array) -> None:
    """Copy some rows, ascending, into `out`."""
    if int(rows[-1]) - int(rows[0]) + 1 == rows.size:
        out[...] = features[int(rows[0]) : int(rows[-1]) + 1, :]
    elif is_numpy_array(features):
        np.take(features, rows, axis=0, out=out, mode="clip")
    else:
        out[...] = array_namespace(features).take(features, asarray_like(rows, features), axis=0)


def _mean(rows: Array, weights: NDArray[np.float64] | None, total: float) -> Array:
    """(D,) weighted mean in float64."""
    xp = array_namespace(rows)
    if weights is None:
        return xp.sum(rows, axis=0, dtype=xp.float64) / total
    return asarray_like(weights, rows) @ xp.astype(rows, xp.float64, copy=False) / total
