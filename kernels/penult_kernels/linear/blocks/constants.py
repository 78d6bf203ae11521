"""Columns that are constant on rows: found for many sets of rows at once, with few waits for a device."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.linear.blocks.scaling import CONSTANT, fitted_scaling, tiles_of

SCREENED = (16, 256)
"""Numbers of rows on which columns are screened, one after the other, before all rows are read."""
SCREEN = 0.1
"""A column whose range on the screened rows exceeds this fraction of its largest value is not constant."""


@dataclass(frozen=True, slots=True, eq=False)
class Constants:
    """Columns that are constant on given rows: standard deviation at most CONSTANT times the mean. On the host."""

    columns: NDArray[np.int64]
    """(k,)"""
    values: NDArray[np.float64]
    """(k,) means."""
    is_exact: NDArray[np.bool_]
    """(k,) whether all values are equal."""


NONE = Constants(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_))
"""No column."""


def constant_columns(
    features: Array,
    sets: Sequence[NDArray[np.int64] | None],
    check: Callable[[], None],
    *,
    known: NDArray[np.int64] | None = None,
) -> list[Constants]:
    """Which columns are constant on each set of rows (None for all rows), without those that are `known` to be.

    A few rows show which columns can be constant; the passes over all rows of a set read only those.
    """
    every = np.arange(features.shape[1], dtype=np.int64)
    columns = [every if known is None else np.setdiff1d(every, known, assume_unique=True)] * len(sets)
    for count in SCREENED:
        at_once = max(1, budget.of(features).product_rows_bytes // (8 * count * int(features.shape[1])))
        left = [k for k, rows in enumerate(sets) if columns[k].size and count < _n_used(features, rows)]
        for some in blocks(len(left), at_once):
            check()
            for k, kept in zip(left[some], _varying_little(features, sets, columns, left[some], count), strict=True):
                columns[k] = kept
    read = _read_few(features, columns, n_read=sum(_n_used(features, rows) for rows in sets))
    return [_constant_among(*read, rows, own, check) for rows, own in zip(sets, columns, strict=True)]


def _n_used(features: Array, rows: NDArray[np.int64] | None) -> int:
    return int(features.shape[0]) if rows is None else rows.size


def _union(columns: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.unique(np.concatenate(columns))


def _varying_little(
    features: Array,
    sets: Sequence[NDArray[np.int64] | None],
    columns: Sequence[NDArray[np.int64]],
    which: Sequence[int],
    count: int,
) -> list[NDArray[np.int64]]:
    """Columns of each set in `which` that are still candidates: their range over `count` of its rows is small."""
    xp = array_namespace(features)
    chosen: list[NDArray[np.int64]] = []
    for k in which:
        rows, places = sets[k], np.linspace(0, _n_used(features, sets[k]) - 1, count).astype(np.int64)
        chosen.append(places if rows is None else rows[places])
    rows_read, wanted = np.concatenate(chosen), _union([columns[k] for k in which])
    if 2 * wanted.size >= features.shape[1]:
        wanted = np.arange(features.shape[1], dtype=np.int64)
        part = xp.take(features, asarray_like(rows_read, features), axis=0)
    elif is_numpy_array(features):
        part = features[rows_read[:, None], wanted]
    else:
        part = xp.take(features, asarray_like(rows_read, features), axis=0)
        part = xp.take(part, asarray_like(wanted, features), axis=1)
    of_sets = xp.reshape(part, (len(which), count, wanted.size))
    low, high = to_host(xp.stack([xp.min(of_sets, axis=1), xp.max(of_sets, axis=1)])).astype(np.float64)
    is_small = high - low <= SCREEN * np.maximum(np.abs(low), np.abs(high))
    return [columns[k][is_small[row, np.searchsorted(wanted, columns[k])]] for row, k in enumerate(which)]


def _read_few(features: Array, columns: Sequence[NDArray[np.int64]], *, n_read: int) -> tuple[Array, NDArray[np.int64]]:
    """Features that hold the columns, and where each of all columns stands there; `n_read` counts the rows of all sets.

    A few columns are copied once for many sets: from a device to the host, where each set would need thirty launches,
    and on the host, where each set would gather whole rows.
    """
    n_rows, n_features = (int(length) for length in features.shape)
    wanted = _union(columns) if columns else np.zeros(0, np.int64)
    is_small = 0 < 8 * wanted.size * n_rows <= budget.of(features).product_rows_bytes
    if not is_small or (is_numpy_array(features) and (n_read < n_rows or 2 * wanted.size > n_features)):
        return features, np.arange(n_features, dtype=np.int64)
    places = np.zeros(n_features, np.int64)
    places[wanted] = np.arange(wanted.size)
    return to_host(array_namespace(features).take(features, asarray_like(wanted, features), axis=1)), places


def _by_range(
    features: NDArray[Any], places: NDArray[np.int64], rows: NDArray[np.int64] | None, columns: NDArray[np.int64]
) -> tuple[Constants, NDArray[np.int64]]:
    """Columns with one value, and those whose range leaves open whether they are constant, of some columns.

    n times the variance is at least half of the squared range.
    """
    part = features[:, places[columns]] if rows is None else features[rows[:, None], places[columns]]
    low, high = (bound(axis=0).astype(np.float64) for bound in (part.min, part.max))
    most = 2.0 * math.sqrt(2.0 * part.shape[0]) * CONSTANT
    is_one = low == high
    is_open = ~is_one & (high - low <= most * np.maximum(np.abs(low), np.abs(high)))
    return Constants(columns[is_one], low[is_one], np.ones(np.count_nonzero(is_one), np.bool_)), columns[is_open]


def _constant_among(
    features: Array,
    places: NDArray[np.int64],
    rows: NDArray[np.int64] | None,
    columns: NDArray[np.int64],
    check: Callable[[], None],
) -> Constants:
    """The constant ones of some columns, each of which stands at its place in `features`."""
    exact = NONE
    if columns.size and is_numpy_array(features):
        exact, columns = _by_range(features, places, rows, columns)
    if columns.size == 0:
        return exact
    xp = array_namespace(features)
    scaling = fitted_scaling(features, rows, check, places[columns])
    found = np.flatnonzero(to_host(xp.isinf(scaling.scale)))
    values, is_exact = xp.take(scaling.mean, asarray_like(found, features), axis=0), np.ones(found.size, np.bool_)
    for _, part in tiles_of(features, rows, columns=places[columns[found]]) if found.size else ():
        is_exact &= to_host(xp.all(part == values, axis=0))
    columns = np.concatenate([exact.columns, columns[found]])
    values = np.concatenate([exact.values, to_host(values)])
    order, is_exact = np.argsort(columns), np.concatenate([exact.is_exact, is_exact])
    return Constants(columns[order], values[order], is_exact[order])
