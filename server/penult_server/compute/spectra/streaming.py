"""Rows read from the store a chunk at a time, for sets larger than the memory budget of features."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.moments.accumulation import CenterRows, MomentAccumulator, Products, accumulator_bytes, center_rows
from penult_kernels.moments.moments import Moments
from penult_kernels.products import n_threads
from penult_kernels.spectra.streamed import Passes
from penult_server.compute.backend import Backend
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.compute.rows.device_rows import CudaCenter, copied_ahead
from penult_server.compute.rows.reading import read_ahead
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.reading import StoredFeatures

WORKERS = 2
"""Threads that accumulate chunks on the CPU; each has its own sums."""


def stream_moments(
    stored: StoredFeatures,
    g: NDArray[np.int64],
    n_groups: int,
    backend: Backend,
    *,
    products: Products = "float64",
    check: Callable[[], None] = lambda: None,
    progress: Reporter = SILENT,
) -> Moments:
    """Moments of any grouping of a stored set, in one pass over its rows.

    Parameters
    ----------
    g : (N,) or (S, N) group of every row of the set, 0 ... n_groups - 1; a row in none has -1. S groupings are
        computed in the same pass; their groups are numbered consecutively.
    products : type in which centered rows are multiplied.
    check : called between chunks, and may raise.
    progress : told how many rows are summed.

    Raises
    ------
    ServiceError : STORE_CORRUPT, and what `check` raises.
    """
    work = _Fold(stored, g, n_groups, backend, products, _counted(stored, check, progress))
    return work.on_gpu() if backend.name == "cupy" else work.on_cpu()


def moments_in_order(
    stored: StoredFeatures, g: NDArray[np.int64], n_groups: int, check: Callable[[], None], progress: Reporter
) -> Moments:
    """Moments of one grouping on the host, summed in the order of the rows, as a set that is written sums them.

    To the last bit the moments that would be stored if `g` were the groups of the set.
    """
    manifest, before, first = stored.manifest, _counted(stored, check, progress), 0
    accumulator = MomentAccumulator(n_groups, manifest.n_features, dtype=np.dtype(manifest.dtype))
    for block in read_ahead(stored.blocks("features")):
        before(len(block))
        accumulator.add(block, g[first : first + len(block)])
        first += len(block)
    return accumulator.finish()


def _counted(stored: StoredFeatures, check: Callable[[], None], progress: Reporter) -> Callable[[int], None]:
    """A check before the next rows are added, which are then counted."""
    add = progress.each(f"summing {stored.manifest.digest[:8]}", "rows", stored.manifest.n_examples)

    def before(n_rows: int) -> None:
        check()
        add(n_rows)

    return before


def stream_bytes(manifest: FeatureManifest, n_groups: int, chunk_rows: int) -> int:
    """Memory that `stream_moments` takes."""
    itemsize = np.dtype(manifest.dtype).itemsize
    chunk = chunk_rows * manifest.n_features * itemsize
    return WORKERS * (accumulator_bytes(n_groups, manifest.n_features, itemsize) + chunk)


class _Fold:
    """One pass over a set, which computes the moments of its groups."""

    def __init__(
        self,
        stored: StoredFeatures,
        g: NDArray[np.int64],
        n_groups: int,
        backend: Backend,
        products: Products,
        before: Callable[[int], None],
    ) -> None:
        self._stored = stored
        self._g = g
        self._n_groups = n_groups
        self._backend = backend
        self._products: Products = products
        self._before = before
        self._step = stored.array("features").chunks[0]

    def on_gpu(self) -> Moments:
        """The moments by a GPU; chunks are copied ahead on a separate stream."""
        accumulator = self._accumulator(CudaCenter(self._backend))
        blocks = read_ahead(self._stored.blocks("features"))
        first = 0
        for block in copied_ahead(blocks, self._backend):
            self._add(accumulator, block, first)
            first += len(block)
        return accumulator.finish()

    def on_cpu(self) -> Moments:
        """The moments by two threads with half of the rows each: one multiplies while the other reads and centers.

        The rows of each thread are fixed, so that the same set gives the same bits.
        """
        failed = threading.Event()
        with ThreadPoolExecutor(WORKERS, "moments") as pool:
            ends = [self._g.shape[-1] * part // WORKERS for part in range(WORKERS + 1)]
            workers = [pool.submit(self._between, *rows, failed) for rows in pairwise(ends)]
            accumulators = [worker.result() for worker in workers]
        accumulators[0].absorb(accumulators.pop().finish())
        return accumulators[0].finish()

    def _between(self, start: int, stop: int, failed: threading.Event) -> MomentAccumulator:
        """Rows start .. stop - 1; two parts may share a chunk, which both read."""
        accumulator = self._accumulator(center_rows)
        memory = self._stored.new_block("features")
        try:
            for first in range(start - start % self._step, stop, self._step):
                if failed.is_set():
                    break
                block = self._stored.block("features", first // self._step, memory)
                skipped = max(0, start - first)
                self._add(accumulator, block[skipped : stop - first], first + skipped)
        except BaseException:
            failed.set()
            raise
        # While the other thread still works, not after both.
        accumulator.fold_waiting()
        return accumulator

    def _add(self, accumulator: MomentAccumulator, block: Any, first: int) -> None:
        """Add rows first, first + 1, ... of the set."""
        self._before(len(block))
        accumulator.add(block, self._g[..., first : first + len(block)])

    def _accumulator(self, center: CenterRows) -> MomentAccumulator:
        manifest, xp = self._stored.manifest, self._backend.xp
        return MomentAccumulator(
            self._n_groups,
            manifest.n_features,
            dtype=xp.dtype(manifest.dtype),
            products=self._products,
            xp=xp,
            center=center,
            # On a few cores each thread has its own to work on: a panel costs up to a fifth more than its share.
            splits=self._backend.name == "cupy" or n_threads() > WORKERS,
        )


def passes_over(
    stored: StoredFeatures,
    members: NDArray[np.bool_],
    backend: Backend,
    check: Callable[[], None],
    progress: Reporter = SILENT,
) -> Passes:
    """Passes over the member rows of a stored set; `members` is (N,)."""
    numbers = count(1)

    def start() -> Iterator[Any]:
        first = 0
        report = progress.stage(f"pass {next(numbers)}", "rows")
        for block in read_ahead(stored.blocks("features")):
            check()
            chosen = members[first : first + len(block)]
            first += len(block)
            report(first, len(members))
            if chosen.any():
                yield backend.to_device(block[chosen])

    return start
