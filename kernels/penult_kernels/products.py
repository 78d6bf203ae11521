"""Large matrix products of NumPy, cut into panels that our own threads take one after the other.

The threads of a BLAS wait for each other, spinning, in every product, large or small. When other processes are busy,
one of the threads does not run and the others wait for it: small products and decompositions then take ten or a
hundred times as long. Here no thread waits for one that does not run: the caller of a product works on its panels, too,
and in the end waits only for panels that have been started.

Nothing is split until a process has called `spread_over`, and then its BLAS should have one thread. The panels
depend on the shapes alone, so an answer has the same bits for any number of threads above 1; between one thread and
several it may differ in rounding, as the BLAS' own answers do.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from array_api_compat import is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array, blocks

T = TypeVar("T")
R = TypeVar("R")
SMALLEST_SPLIT = 2**26
"""Multiplications from which a product is split: one to three milliseconds of one core."""
WORK_OF_PANEL = 2**24
MOST_PANELS = 16
MOST_RUNS = 16
"""Runs of parts that are added up on threads at most: each holds a sum of its own."""
NARROWEST_PANEL = 128
"""Rows or columns of a panel at least: thinner ones spend their time on copies of the other operand."""


@dataclass(slots=True)
class _Helpers:
    """Threads that take panels of large products."""

    n_threads: int = 0
    """The caller's own among them; 0 leaves products to the BLAS."""
    pool: ThreadPoolExecutor | None = None


_HELPERS = _Helpers()


def spread_over(count: int) -> None:
    """From now on split large products of this process over `count` threads, the caller's own among them.

    The BLAS should have one thread then; 0 leaves products to it and its threads again.
    """
    if _HELPERS.pool is not None:
        _HELPERS.pool.shutdown()
    _HELPERS.n_threads = count
    _HELPERS.pool = ThreadPoolExecutor(count - 1, "products") if count > 1 else None


def n_threads() -> int:
    """Threads that large products are split over, 1 where they are not."""
    return max(1, _HELPERS.n_threads)


def is_spread() -> bool:
    """Whether this process has called `spread_over`: its BLAS has one thread, and products are cut to suit that."""
    return _HELPERS.n_threads > 0


def product(left: Array, right: Array) -> Array:
    """left @ right of matrices (m, k) and (k, n), split over threads where it is large."""
    if not _is_split(left, right, work=left.shape[0] * left.shape[1] * right.shape[1]):
        return left @ right
    m, n = left.shape[0], right.shape[1]
    found = np.empty((m, n), np.result_type(left, right))
    work = m * n * left.shape[1]
    if m >= n:
        _do_all(lambda rows: np.matmul(left[rows], right, out=found[rows]), _panels(m, work))
    else:
        _do_all(lambda columns: found.__setitem__((slice(None), columns), left @ right[:, columns]), _panels(n, work))
    return found


def gram(rows: Array, out: NDArray[Any] | None = None) -> Array:
    """rows @ rows.T of a matrix (n, k), exactly symmetric; written into `out` if given (NumPy only)."""
    n, k = rows.shape
    if not _is_split(rows, work=n * n * k // 2):
        return rows @ rows.T if out is None else np.matmul(rows, rows.T, out=out)
    found = np.empty((n, n), rows.dtype) if out is None else out

    def up_to_the_diagonal(panel: slice) -> None:
        own = rows[panel]
        np.matmul(own, rows[: panel.start].T, out=found[panel, : panel.start])
        # NumPy makes only one half of it.
        found[panel, panel] = own @ own.T

    def mirrored(panel: slice) -> None:
        found[panel, panel.stop :] = found[panel.stop :, panel].T

    panels = list(_panels(n, n * n * k))
    # The longest first, so that no thread has a long one left when the others are done.
    _do_all(up_to_the_diagonal, reversed(panels))
    _do_all(mirrored, panels)
    return found


def on_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """function(item) of each, in order, on the threads that large products are split over."""
    found: dict[int, R] = {}
    _do_all(lambda index: found.__setitem__(index, function(items[index])), range(len(items)))
    return [found[index] for index in range(len(items))]


def summed(function: Callable[[T], Sequence[Array]], parts: Sequence[T]) -> list[Array]:
    """The sums over all parts of each array of function(part), which may be changed; on threads if we are `is_spread`.

    Runs of parts are added up side by side. They depend on the number of parts alone, and so do the sums' bits.
    """

    def of_run(run: Sequence[T]) -> list[Array]:
        total = list(function(run[0]))
        for part in run[1:]:
            for place, one in enumerate(function(part)):
                total[place] += one
        return total

    n_runs = min(len(parts), MOST_RUNS) if is_spread() else 1
    ends = [len(parts) * place // n_runs for place in range(n_runs + 1)]
    total, *others = on_threads(of_run, [parts[first:end] for first, end in pairwise(ends)])
    for other in others:
        for place, one in enumerate(other):
            total[place] += one
    return total


def start(work: Callable[[], R]) -> "Future[R] | None":
    """Begin work on a thread of those that large products are split over, when one is free; None where there is none.

    What has not been started can be cancelled, and done by whoever would wait for it.
    """
    return None if _HELPERS.pool is None else _HELPERS.pool.submit(work)


def _is_split(*operands: Array, work: int) -> bool:
    return _HELPERS.n_threads > 1 and work >= SMALLEST_SPLIT and all(is_numpy_array(one) for one in operands)


def _panels(length: int, work: int) -> Iterator[slice]:
    n_panels = min(MOST_PANELS, work // WORK_OF_PANEL, length // NARROWEST_PANEL)
    return blocks(length, -(-length // max(1, n_panels)))


def _do_all(do: Callable[[T], object], parts: Iterable[T]) -> None:
    """Do every part once, on the calling thread and on the helpers that are free."""
    waiting = iter(list(parts))

    def work() -> None:
        # A list's iterator hands each part to one thread.
        for part in waiting:
            do(part)

    if _HELPERS.pool is None:
        work()
        return
    helpers = [_HELPERS.pool.submit(work) for _ in range(_HELPERS.n_threads - 1)]
    try:
        work()
    finally:
        # Helpers that have not started are not waited for: nothing is left to do.
        started = [helper for helper in helpers if not helper.cancel()]
        for helper in started:
            helper.exception()
    for helper in started:
        helper.result()
