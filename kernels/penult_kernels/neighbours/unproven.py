"""Rows whose candidates might lack a neighbour: every row that might be one is measured in float64."""

from collections.abc import Callable

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.neighbours.candidates import above
from penult_kernels.neighbours.exact import pair_distances
from penult_kernels.neighbours.nearest import Nearest, keep_nearest
from penult_kernels.neighbours.space import Space, scores_of
from penult_kernels.rows import RowSource

PAIRS_AT_ONCE = 4096
"""Pairs whose rows are gathered at a time."""


def search_again(
    rows: Array,
    known: NDArray[np.float64],
    among: RowSource,
    k: int,
    space: Space,
    *,
    step: int,
    is_apart: Callable[[slice], Array | None],
    order: NDArray[np.int64] | None,
    check: Callable[[], None],
) -> Nearest:
    """The k nearest of (u, D) rows, each of which has k neighbours within the distance `known` (u,).

    `is_apart` says of a block of `among` which pairs (u, m) are left out, or None.
    """
    points = space.points(rows)
    swapped = points.swapped()
    found = Nearest.of(rows.shape[0], k)
    for part in blocks(among.shape[0], step):
        check()
        block = among.block(part)
        scores = scores_of(swapped, space.points(block))
        if (apart := is_apart(part)) is not None:
            xp = array_namespace(scores)
            scores = xp.where(apart, -xp.inf, scores)
        exact = space.score_of(known)
        limit = exact - 2 * space.rounding(points.norm, exact)
        _, index = above(scores, asarray_like(np.nextafter(limit.astype(np.float32), -np.inf), scores), 0)
        index = to_host(index)
        distance = _measured(rows, block, index, space, check)
        index = np.where(index < 0, -1, index + part.start)
        found = keep_nearest(
            np.concatenate([found.position, index], axis=1),
            np.concatenate([found.distance, distance], axis=1),
            k,
            order,
        )
        known = np.fmin(known, found.distance[:, -1])
    return found


def _measured(
    rows: Array, block: Array, index: NDArray[np.int64], space: Space, check: Callable[[], None]
) -> NDArray[np.float64]:
    """(u, c) distances of the rows to those of the block with the numbers `index`; NaN where it is -1."""
    xp = array_namespace(rows)
    own, column = np.nonzero(index >= 0)
    found = np.full(index.shape, np.nan)
    for part in blocks(own.size, PAIRS_AT_ONCE):
        check()
        first = xp.take(rows, asarray_like(own[part], rows), axis=0)
        second = xp.take(block, asarray_like(index[own[part], column[part]], block), axis=0)
        found[own[part], column[part]] = pair_distances(first, second, space)
    return found


def unproven(worst: NDArray[np.float64], found: Nearest, norm: NDArray[np.float64], space: Space) -> NDArray[np.int64]:
    """Numbers of the rows that may have nearer neighbours than those found.

    All rows that are no candidates have scores of at most `worst` (n,), as float32 products have them.
    """
    kth = space.score_of(np.where(np.isnan(found.distance[:, -1]), np.inf, found.distance[:, -1]))
    # Without a k-th neighbour all rows are candidates, unless there are as many as are kept.
    bound = space.rounding(norm, np.where(np.isfinite(kth), kth, 0.0))
    return np.flatnonzero((worst + bound >= kth) & (worst > -np.inf))
