"""Rows read from the store a chunk at a time, for sets larger than the memory budget of features."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.moments.accumulation import MomentAccumulator, Products, accumulator_bytes
from penult_kernels.moments.centering import center_rows
from penult_kernels.moments.moments import Moments
from penult_kernels.moments.partials import empty_partial, merge_into, partial_bytes, whole
from penult_kernels.spectra.streamed import Passes
from penult_server.compute.backend import Backend
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.compute.rows.device_rows import CudaCenter, copied_ahead
from penult_server.compute.rows.reading import read_ahead
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.ranges import ranges_of
from penult_server.stores.reading import StoredFeatures

CHUNKS = 2
"""Chunks in memory: one is read while the one before is in use."""


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

    Summed by range and merged in the order of ranges, as a set that is written sums them: on the host, and with float64
    products, to the last bit the moments that would be stored if `g` were the groups of the set.

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
    manifest, chunk_rows, xp = stored.manifest, stored.array("features").chunks[0], backend.xp
    accumulator = MomentAccumulator(
        n_groups,
        manifest.n_features,
        dtype=xp.dtype(manifest.dtype),
        products=products,
        xp=xp,
        center=CudaCenter(backend) if backend.name == "cupy" else center_rows,
    )
    total = empty_partial(n_groups, manifest.n_features, xp=xp)
    before = _counted(stored, check, progress)
    blocks = read_ahead(_chunks(stored))
    if backend.name == "cupy":
        blocks = copied_ahead(blocks, backend)
    for one in ranges_of(g.shape[-1], chunk_rows, n_groups):
        for first, block in zip(range(one.first, one.stop, chunk_rows), blocks, strict=False):
            before(len(block))
            accumulator.add(block, g[..., first : first + len(block)])
        merge_into(total, accumulator.part())
        accumulator.restart()
    del accumulator
    return whole(total)


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
    chunks = CHUNKS * chunk_rows * manifest.n_features * itemsize
    return (
        accumulator_bytes(n_groups, manifest.n_features, itemsize)
        + partial_bytes(n_groups, manifest.n_features)
        + chunks
    )


def _chunks(stored: StoredFeatures) -> Iterator[NDArray[Any]]:
    """The rows of a set, a chunk at a time, each valid until the next but one is asked for."""
    memory = [stored.new_block("features") for _ in range(CHUNKS)]
    return (stored.block("features", index, memory[index % CHUNKS]) for index in range(stored.n_blocks("features")))


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
