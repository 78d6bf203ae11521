"""Tiles of rows, and the mean and standard deviation by which columns are standardised."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.products import on_threads

T = TypeVar("T")

PASSES_OF_TILES = 60.0
"""Cost of reading and squaring a tile of rows; the unit is the sum of a tile over one set of rows."""
PASSES_OF_ROWS = 75.0
"""Cost of scaling one set of rows by two passes that gather them; the unit is a sum over as many rows."""
DIGITS_LOST = 1e-6
"""A variance below this fraction of the column's mean square is computed again, about the mean."""
MOST_RETAKEN = 0.125
"""If the variance of more than this fraction of the columns must be computed again, every set is scaled alone."""
CONSTANT = 2.0**-20
"""Standard deviation of a column, relative to its mean, up to which it counts as constant: eight units in the last
place of a float32, about what computing features on another machine changes them by."""


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """z = (x - mean) / scale of the columns, float64 (D,) each, on the device of the features.

    The scale of a column that is constant on the rows it was fitted to is infinite: a solver sees a column of zeros,
    and the weight of the column is exactly the center's.
    """

    mean: Array
    scale: Array

    @property
    def unit(self) -> Array:
        """The scale (D,) with 1 for constant columns: for rows on which they may vary."""
        xp = array_namespace(self.scale)
        return xp.where(xp.isinf(self.scale), 1.0, self.scale)


class _OfEach(Protocol):
    """Calls a function with every tile of some rows, and gives what it returns in order."""

    def __call__(self, function: Callable[[Array], T]) -> list[T]: ...


def tiles_of(
    features: Array,
    rows: NDArray[np.int64] | None,
    *,
    in_float32: bool = False,
    columns: NDArray[np.int64] | None = None,
) -> Iterator[tuple[slice, Array]]:
    """The rows used in float64, a tile at a time, each with its slice; of the given columns only.

    `in_float32` gives float32 instead: float32 rows that are all used come back without a copy.
    """
    n_used = features.shape[0] if rows is None else rows.size
    for tile in blocks(n_used, budget.of(features).rows_of_tile(int(features.shape[1]))):
        yield tile, tile_of(features, rows, tile, in_float32=in_float32, columns=columns)


def tile_of(
    features: Array,
    rows: NDArray[np.int64] | None,
    tile: slice,
    *,
    in_float32: bool = False,
    columns: NDArray[np.int64] | None = None,
) -> Array:
    """One tile of the rows used, as of `tiles_of`."""
    xp = array_namespace(features)
    part = features[tile, :] if rows is None else xp.take(features, asarray_like(rows[tile], features), axis=0)
    if columns is not None:
        part = xp.take(part, asarray_like(columns, features), axis=1)
    return xp.astype(part, xp.float32 if in_float32 else xp.float64, copy=False)


def fitted_scaling(
    features: Array,
    rows: NDArray[np.int64] | None,
    check: Callable[[], None],
    columns: NDArray[np.int64] | None = None,
) -> Scaling:
    """Mean and standard deviation (divisor n, unweighted) of the rows; constant columns get an infinite scale."""
    n_used = int(features.shape[0]) if rows is None else rows.size
    tiles = list(blocks(n_used, budget.of(features).rows_of_tile(int(features.shape[1]))))

    def of_each(function: Callable[[Array], T]) -> list[T]:
        def of_tile(tile: slice) -> T:
            check()
            return function(tile_of(features, rows, tile, columns=columns))

        return on_threads(of_tile, tiles) if is_numpy_array(features) else [of_tile(tile) for tile in tiles]

    return _scaling_of(of_each, n_used)


def scaling_of_tiles(tiles: Callable[[], Iterator[Array]], n_rows: int, check: Callable[[], None]) -> Scaling:
    """Mean and standard deviation of rows (n, D) that are read twice, a tile (t, D) in float64 at a time."""

    def of_each(function: Callable[[Array], T]) -> list[T]:
        found: list[T] = []
        for z in tiles():
            check()
            found.append(function(z))
        return found

    return _scaling_of(of_each, n_rows)


def _scaling_of(of_each: _OfEach, n_rows: int) -> Scaling:
    """The scaling of rows of which each tile is read twice."""
    parts = of_each(_extremes_and_sum)
    xp = array_namespace(parts[0][0])
    smallest = xp.min(xp.stack([part[0] for part in parts]), axis=0)
    largest = xp.max(xp.stack([part[1] for part in parts]), axis=0)
    mean = xp.sum(xp.stack([part[2] for part in parts]), axis=0) / n_rows
    # Compared exactly: the rounded mean of a constant column may differ from its value, which would give a scale > 0.
    mean = xp.where(smallest == largest, smallest, mean)
    squares = of_each(lambda z: xp.sum((z - mean) ** 2, axis=0))
    scale = xp.sqrt(xp.sum(xp.stack(squares), axis=0) / n_rows)
    return _without_constants(mean, xp.where(smallest == largest, 0.0, scale))


def _extremes_and_sum(z: Array) -> tuple[Array, Array, Array]:
    xp = array_namespace(z)
    return xp.min(z, axis=0), xp.max(z, axis=0), xp.sum(z, axis=0)


def _without_constants(mean: Array, deviation: Array) -> Scaling:
    xp = array_namespace(mean)
    return Scaling(mean, xp.where(deviation <= CONSTANT * xp.abs(mean), math.inf, deviation))


def fitted_scalings(features: Array, sets: Sequence[NDArray[np.int64]], check: Callable[[], None]) -> list[Scaling]:
    """The scaling of each of many sets of rows; of large sets all at once, by products with all rows."""
    if PASSES_OF_ROWS * sum(rows.size for rows in sets) > features.shape[0] * (PASSES_OF_TILES + len(sets)):
        found = _by_products(features, sets, check)
        if found is not None:
            return found
    return [fitted_scaling(features, rows, check) for rows in sets]


def _by_products(features: Array, sets: Sequence[NDArray[np.int64]], check: Callable[[], None]) -> list[Scaling] | None:
    """The scalings of all sets, or None if rounding loses the variance of too many columns."""
    xp = array_namespace(features)
    n_features = int(features.shape[1])
    sizes = asarray_like(np.asarray([rows.size for rows in sets], np.float64)[:, None], features)
    shift, total, squares = None, 0.0, 0.0
    for tile, z in tiles_of(features, None):
        check()
        shift = xp.mean(z, axis=0) if shift is None else shift
        centered, members = z - shift, asarray_like(_members(sets, tile), features)
        total = total + (centered.T @ members).T
        squares = squares + ((centered * centered).T @ members).T
    offset, square = total / sizes, squares / sizes
    variance = square - offset * offset
    is_lost = xp.any(~(variance > DIGITS_LOST * square), axis=0)
    lost = np.flatnonzero(to_host(is_lost))
    if lost.size > MOST_RETAKEN * n_features:
        return None
    mean, scale = shift + offset, xp.sqrt(xp.where(is_lost, 1.0, variance))
    retaken = _retaken(features, sets, lost, check)
    return [_merged(_without_constants(mean[k, :], scale[k, :]), lost, one) for k, one in enumerate(retaken)]


def _members(sets: Sequence[NDArray[np.int64]], tile: slice) -> NDArray[np.float64]:
    """(rows of the tile, sets) 1.0 where a row is in a set."""
    found = np.zeros((tile.stop - tile.start, len(sets)))
    for k, rows in enumerate(sets):
        first, end = np.searchsorted(rows, (tile.start, tile.stop))
        found[rows[first:end] - tile.start, k] = 1.0
    return found


def _retaken(
    features: Array, sets: Sequence[NDArray[np.int64]], columns: NDArray[np.int64], check: Callable[[], None]
) -> list[Scaling | None]:
    """The scalings of the given columns, by two passes over each set."""
    if columns.size == 0:
        return [None] * len(sets)
    few = array_namespace(features).take(features, asarray_like(columns, features), axis=1)
    return [fitted_scaling(few, rows, check) for rows in sets]


def _merged(found: Scaling, columns: NDArray[np.int64], retaken: Scaling | None) -> Scaling:
    """A scaling with some of its columns replaced."""
    if retaken is None:
        return found
    mean, scale = found.mean, found.scale
    xp = array_namespace(mean)
    place = np.zeros(mean.shape[0], np.int64)
    place[columns] = np.arange(columns.size)
    at, is_retaken = asarray_like(place, mean), asarray_like(np.isin(np.arange(place.size), columns), mean)
    return Scaling(
        *(
            xp.where(is_retaken, xp.take(new, at, axis=0), old)
            for old, new in ((mean, retaken.mean), (scale, retaken.scale))
        )
    )
