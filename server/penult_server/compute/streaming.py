"""Rows straight from the store, a chunk at a time, for what is larger than the memory kept for features."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_kernels.accumulation import MomentAccumulator, Products
from penult_kernels.moments import Moments
from penult_kernels.streamed import Passes
from penult_server.compute.backend import Backend
from penult_server.stores.reading import StoredFeatures

T = TypeVar("T")


def read_ahead(blocks: Iterator[T]) -> Iterator[T]:
    """The same blocks, each read and verified in another thread while the one before is worked on."""
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        waiting = reader.submit(next, blocks, None)
        while (block := waiting.result()) is not None:
            waiting = reader.submit(next, blocks, None)
            yield block


def stream_moments(
    stored: StoredFeatures,
    g: NDArray[np.int64],
    n_groups: int,
    backend: Backend,
    *,
    products: Products = "float64",
    check: Callable[[], None] = lambda: None,
) -> Moments:
    """Moments of any grouping of a stored set, in one pass over its rows.

    Parameters
    ----------
    g : (N,) group of every row of the set, 0 ... n_groups - 1; a row in none has -1.
    products : type in which centred rows are multiplied.
    check : called between chunks, and may raise.

    Raises
    ------
    ServiceError : STORE_CORRUPT, and what `check` raises.
    """
    manifest = stored.manifest
    accumulator = MomentAccumulator(
        n_groups, manifest.n_features, dtype=backend.xp.dtype(manifest.dtype), products=products, xp=backend.xp
    )
    first = 0
    for block in read_ahead(stored.blocks("features")):
        check()
        labels = g[first : first + len(block)]
        first += len(block)
        rows = np.flatnonzero(labels >= 0)
        if rows.size < labels.size:
            block, labels = block[rows], labels[rows]
        accumulator.add(backend.to_device(block), labels)
    return accumulator.finish()


def passes_over(
    stored: StoredFeatures, members: NDArray[np.bool_], backend: Backend, check: Callable[[], None]
) -> Passes:
    """Passes over the member rows of a stored set; `members` is (N,)."""

    def start() -> Iterator[Any]:
        first = 0
        for block in read_ahead(stored.blocks("features")):
            check()
            chosen = members[first : first + len(block)]
            first += len(block)
            if chosen.any():
                yield backend.to_device(block[chosen])

    return start
