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
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, host_labels, to_host
from penult_kernels.moments.centering import CenterRows, center_rows
from penult_kernels.moments.moments import Moments, check_positive, matrix_shape
from penult_kernels.moments.partials import Partial, empty_partial, partial_bytes, strips, whole
from penult_kernels.moments.portions import Portions
from penult_kernels.moments.waiting import RowBuffer, Work, portions_at_once, work_bytes
from penult_kernels.products import n_threads

T = TypeVar("T")
Products: TypeAlias = Literal["float64", "float32"]
"""Type in which centered rows are multiplied; sums of products are float64 in both."""


class MomentAccumulator:
    """Counts, means and centered second moments of G groups, fed with rows in any number of calls.

    Products are of whole portions, a buffer each, so that an answer has the same bits on any number of threads; where
    `spread_over` says so, several portions are multiplied at a time.

    Parameters
    ----------
    n_groups, n_features : int
        G and D.
    dtype : of the rows that will come; any real floating type of `xp`.
    products : "float64" loses nothing that storage had kept. "float32" is about twice as fast; its rounding, up to
        about 1e-6 of lambda_1 in every eigenvalue, hides the tails of steep spectra.
    center : a faster `center_rows` of a device, if there is one.
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
    ) -> None:
        check_positive(n_groups, name="n_groups")
        self._xp = xp
        self._center = center
        self._dtype = xp.empty((0,), dtype=dtype, device=device).dtype
        self._sums = empty_partial(n_groups, n_features, xp=xp, device=device)
        on_host = is_numpy_array(self._sums.m2)
        row_bytes = max(n_features, 1) * xp.finfo(dtype).bits // 8
        self._capacity = capacity = _buffer_rows(n_groups, row_bytes, budget.of(self._sums.m2))
        row_dtype = self._dtype
        # They do not name self: its memory would wait for a collection of circles.
        self._new_buffer = lambda: RowBuffer(capacity, n_features, row_dtype, xp, device)
        work_dtype = xp.float64 if products == "float64" else xp.float32
        self._new_work = lambda: Work(capacity, n_features, work_dtype, xp, device)
        n_works = portions_at_once(self._capacity, n_features) if on_host else 1
        self._portions = Portions(_given_at_once(n_works))
        self._buffers: dict[int, RowBuffer] = {}
        self._free_buffers: list[RowBuffer] = []
        self._free_works: list[Work] = []
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
        if n_features != self._sums.n_features or features.dtype != self._dtype:
            raise ValueError(
                f"features must be {self._dtype} with {self._sums.n_features} columns, as announced; "
                f"got {features.dtype} with {n_features}"
            )
        n_groups = len(self._sums.count)
        groupings = [host_labels(one, n_rows, n_groups, name="g", lowest=-1) for one in np.atleast_2d(to_host(g))]
        given = None if weights is None else host_weights(weights, n_rows)
        for labels in groupings:
            for k in np.unique(labels[labels >= 0]):
                rows = np.flatnonzero(labels == k if given is None else (labels == k) & (given > 0))
                self._add_to_group(int(k), features, rows, given)
        self._n_seen += n_rows

    def part(self) -> Partial:
        """Moments of every row taken in since the start or `restart`, which no row that comes later changes a bit of.

        The arrays are the accumulator's own: restart before rows are added, when they have been used.
        Raises NotFiniteError for a row with NaN or infinity.
        """
        for k in sorted(self._buffers):
            self._fold(k)
        self._portions.finish()
        return self._sums

    def restart(self) -> None:
        """Forget the rows taken in. Their numbers go on."""
        self._sums.count[:] = 0
        self._sums.weight[:] = 0
        self._sums.mean[...] = 0

    def finish(self) -> Moments:
        """Moments of every row taken in. The arrays are the accumulator's own: add no rows afterwards."""
        sums = self.part()
        self._free_buffers, self._free_works = [], []
        return whole(sums)

    def _add_to_group(
        self, k: int, features: Array, rows: NDArray[np.int64], weights: NDArray[np.float64] | None
    ) -> None:
        while rows.size:
            buffer = self._buffers.get(k)
            if buffer is None:
                buffer = self._buffers[k] = _one_of(self._free_buffers, self._new_buffer)
            now, rows = np.split(rows, [self._capacity - buffer.n])
            buffer.append(features, now, self._n_seen, None if weights is None else weights[now])
            if buffer.n == self._capacity:
                self._fold(k)

    def _fold(self, k: int) -> None:
        """Fold the rows that wait for group k into its sums; their product may be made later, by another thread."""
        buffer, sums = self._buffers.pop(k), self._sums
        weights = buffer.weights
        added = float(buffer.n) if weights is None else float(weights.sum())
        mean = _mean(buffer.rows, weights, added)
        if not bool(self._xp.all(self._xp.isfinite(mean))):
            buffer.check_finite()
        before = float(sums.weight[k])
        total = before + added
        delta = mean - sums.mean[k, :]
        sums.mean[k, :] = sums.mean[k, :] + delta * (added / total)
        sums.weight[k] = total
        sums.count[k] += buffer.n
        between = delta * math.sqrt(before * added / total)
        self._portions.give(k, lambda: self._multiplied(k, buffer, mean, between, is_first=not before))

    def _multiplied(
        self, k: int, buffer: RowBuffer, mean: Array, between: Array, *, is_first: bool
    ) -> Callable[[], None]:
        """The product of a portion and the row that merges it, computed; what is returned adds it to the sums."""
        work = _one_of(self._free_works, self._new_work)
        roots = None if buffer.weights is None else asarray_like(np.sqrt(buffer.weights), buffer.rows)
        self._center(buffer.rows, mean, roots, work.rows(buffer.n))
        work.rows(buffer.n + 1)[buffer.n, :] = self._xp.astype(between, work.dtype)
        product = work.product(buffer.n + 1)
        buffer.n = 0
        self._free_buffers.append(buffer)

        def add() -> None:
            for rows, strip in strips(self._sums, k):
                new = product[rows, rows.start :]
                if is_first:
                    strip[...] = self._xp.astype(new, strip.dtype, copy=False)
                else:
                    strip += self._xp.astype(new, strip.dtype, copy=False)
            self._free_works.append(work)

        return add


def accumulator_bytes(n_groups: int, n_features: int, itemsize: int) -> int:
    """Memory of a `MomentAccumulator` on the host for rows of numbers of `itemsize` bytes.

    Sums; then buffers, centered rows and products of what is worked on at a time, and at the end whole matrices.
    """
    row_bytes = max(n_features, 1) * itemsize
    n_rows = _buffer_rows(n_groups, row_bytes, budget.DEVICE or budget.DEFAULT)
    n_works = portions_at_once(n_rows, n_features)
    n_buffers = n_groups + (_given_at_once(n_works) if n_works > 1 else 0)
    at_the_end = n_groups * n_features**2 * 8
    return partial_bytes(n_groups, n_features) + max(
        n_buffers * n_rows * row_bytes + n_works * work_bytes(n_rows, n_features), at_the_end
    )


def _one_of(free: list[T], new: Callable[[], T]) -> T:
    """One that is free, or a new one; several threads may ask."""
    try:
        return free.pop()
    except IndexError:
        return new()


def _given_at_once(n_works: int) -> int:
    """Portions that are given before the caller works on one: with all threads one more, to wait for any."""
    return n_works + 1 if 1 < n_works == n_threads() else n_works


def _buffer_rows(n_groups: int, row_bytes: int, within: budget.Budget) -> int:
    return max(1, min(within.buffer_rows, within.buffers_bytes // (row_bytes * n_groups)))


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


def _mean(rows: Array, weights: NDArray[np.float64] | None, total: float) -> Array:
    """(D,) weighted mean in float64."""
    xp = array_namespace(rows)
    if weights is None:
        return xp.sum(rows, axis=0, dtype=xp.float64) / total
    return asarray_like(weights, rows) @ xp.astype(rows, xp.float64, copy=False) / total
