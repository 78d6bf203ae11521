"""Distances in float64, from the rows as they are stored: sums of squared differences, 0 for equal rows."""

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.neighbours.space import ROWS_CONVERTED, Metric, Space
from penult_kernels.rows import RowSource

BYTES_AT_ONCE = 2**26
"""Bytes of the differences, in float64, that a device computes at a time."""
HOST_BYTES_AT_ONCE = 2**20
"""Bytes of them that NumPy computes at a time: few enough to stay in the cache."""


def distances_to(queries: Array, among: RowSource, index: NDArray[np.int64], space: Space) -> NDArray[np.float64]:
    """(n, c) distances of (n, D) queries to the rows `index` (n, c) of `among`, in memory; NaN where it is -1."""
    if is_numpy_array(queries):
        return _on_host(queries, among, index, space)
    xp = array_namespace(queries)
    n, c = index.shape
    d = queries.shape[1]
    found = np.empty((n, c))
    for part in blocks(n, max(1, BYTES_AT_ONCE // (8 * d * max(c, 1)))):
        wanted = asarray_like(np.maximum(index[part], 0).reshape(-1), queries)
        rows = space.in_float64(among.gather(wanted))
        found[part] = to_host(
            _measured(space.in_float64(queries[part, :])[:, None, :], xp.reshape(rows, (-1, c, d)), space.metric)
        )
    return np.where(index < 0, np.nan, found)


def pair_distances(queries: Array, rows: Array, space: Space) -> NDArray[np.float64]:
    """(p,) distances of (p, D) queries to as many rows."""
    found = np.empty(queries.shape[0])
    step = max(1, (HOST_BYTES_AT_ONCE if is_numpy_array(queries) else BYTES_AT_ONCE) // (8 * queries.shape[1]))
    for part in blocks(found.size, step):
        found[part] = to_host(
            _measured(space.in_float64(queries[part, :]), space.in_float64(rows[part, :]), space.metric)
        )
    return found


def _on_host(
    queries: NDArray[np.floating], among: RowSource, index: NDArray[np.int64], space: Space
) -> NDArray[np.float64]:
    """Distances, through one piece of memory: of some rows at a time, or some of one row's, so that all is cached."""
    n, c = index.shape
    d = queries.shape[1]
    at_once = HOST_BYTES_AT_ONCE // (8 * d)
    found = np.full((n, c), np.nan)
    stored = np.empty((max(1, at_once), d), dtype=among.block(slice(0, 1)).dtype)
    converted = np.empty(stored.shape)
    if at_once >= 2 * c > 0:
        for part in blocks(n, at_once // c):
            chosen = index[part]
            few, work = stored[: chosen.size], converted[: chosen.size]
            np.copyto(work, among.gather(np.maximum(chosen, 0).reshape(-1), few))
            own = space.in_float64(queries[part])[:, None, :]
            found[part] = np.where(chosen < 0, np.nan, _measured_in(work.reshape(*chosen.shape, d), own, space.metric))
        return found
    counts = np.count_nonzero(index >= 0, axis=1)
    # Mostly what is none stands behind the others.
    places_of_row: NDArray[np.int64] = np.arange(c, dtype=np.int64)
    is_in_front: NDArray[np.bool_] = np.all((places_of_row[None, :] < counts[:, None]) == (index >= 0), axis=1)
    for several in blocks(n, ROWS_CONVERTED):
        for row, own in enumerate(space.in_float64(queries[several]), several.start):
            wanted = places_of_row[: counts[row]] if is_in_front[row] else np.flatnonzero(index[row] >= 0)
            for part in blocks(wanted.size, max(1, at_once)):
                places = wanted[part]
                few, work = stored[: places.size], converted[: places.size]
                np.copyto(work, among.gather(index[row, places], few))
                found[row, places] = _measured_in(work, own, space.metric)
    return found


def _measured_in(rows: NDArray[np.float64], own: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Distances of (..., D) rows to those that `own` gives for them, in the memory of the rows."""
    if metric == Metric.INNER:
        return -np.vecdot(rows, own)
    if metric == Metric.COSINE:
        rows *= 1 / np.sqrt(np.vecdot(rows, rows))[..., None]
    rows -= own
    squares = np.vecdot(rows, rows)
    return np.sqrt(squares) if metric == Metric.L2 else squares / 2


def _measured(queries: Array, rows: Array, metric: Metric) -> Array:
    """Distances along the last axis of what `Space.in_float64` gives."""
    xp = array_namespace(rows)
    if metric == Metric.INNER:
        return -xp.linalg.vecdot(*xp.broadcast_arrays(queries, rows))
    difference = queries - rows
    squares = xp.linalg.vecdot(difference, difference)
    return xp.sqrt(squares) if metric == Metric.L2 else squares / 2
