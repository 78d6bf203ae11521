"""k-means by Lloyd's iteration, for many numbers of clusters and many starts at once.

All runs stand below each other, (K, p) centers of R runs, so that one product with a tile of points serves all of
them, and another gives all sums. Each run alone is Lloyd's: assign every point to its nearest center, the first of
equals; move every center to the mean of its points; stop when the centers moved by at most `tolerance` times the mean
variance of the features (sum of squares, as in scikit-learn), or not at all. A center that has lost its points moves
to the point that is furthest from its own center.

Starts are drawn by k-means++ with 2 + ln k candidates of which the best is taken (Arthur & Vassilvitskii 2007). The
first k centers of a draw of more are a draw of k, so that one draw serves every k. Draws are made on the host, so
that a seed picks the same points on every machine.

Shapes: n points, p features, K centers of R runs in all.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.groupings.points import Points, mean_variance
from penult_kernels.moments.moments import check_positive
from penult_kernels.products import product

MOST_DRAWN_FROM = 2**16
"""Starts are drawn from at most so many points, a seeded sample of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clusters:
    """The end of one run."""

    center: Array
    """(k, p) float64."""
    inertia: float
    """Sum of squared distances to the nearest center."""
    n_iterations: int
    converged: bool


def kmeans(
    points: Points,
    ks: Sequence[int],
    *,
    rng: np.random.Generator,
    n_init: int = 10,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
    check: Callable[[], None] | None = None,
) -> list[Clusters]:
    """For each number of clusters the run of the least inertia, of `n_init` starts.

    Raises
    ------
    ValueError
        When a number of clusters is below 1 or above that of the points, or `n_init` is below 1.
    """
    check_positive(n_init, name="n_init")
    for k in ks:
        if not 1 <= k <= points.n:
            raise ValueError(f"k must lie in 1 ... {points.n}, the number of points, got {k}")
    drawn = draw_starts(points, max(ks), n_init, rng=rng)
    starts = [drawn[run, :k, :] for k in ks for run in range(n_init)]
    found = lloyd(points, starts, max_iterations=max_iterations, tolerance=tolerance, check=check)
    runs = [found[place * n_init : (place + 1) * n_init] for place in range(len(ks))]
    return [min(of_k, key=lambda run: run.inertia) for of_k in runs]


def draw_starts(points: Points, k: int, n_starts: int, *, rng: np.random.Generator) -> Array:
    """(S, k, p) centers of S draws by k-means++, whose first j are a draw of j."""
    xp = array_namespace(points.rows)
    among = np.sort(rng.choice(points.n, MOST_DRAWN_FROM, replace=False)) if points.n > MOST_DRAWN_FROM else None
    if among is not None:
        points = points.some(among)
    trials = 2 + int(math.log(k))
    chosen = rng.integers(0, points.n, (n_starts, 1))
    centers = [points.take(chosen[:, 0])]
    nearest = _squared_distances(points, centers[0])
    for _ in range(1, k):
        index = np.stack([_drawn(of_start, trials, rng) for of_start in to_host(nearest)])
        candidates = points.take(index.reshape(-1))
        distances = xp.reshape(_squared_distances(points, candidates), (n_starts, trials, points.n))
        distances = xp.minimum(distances, nearest[:, None, :])
        best = np.argmin(to_host(xp.sum(distances, axis=2)), axis=1)
        place = asarray_like(best + trials * np.arange(n_starts), points.rows)
        nearest = xp.take(xp.reshape(distances, (n_starts * trials, points.n)), place, axis=0)
        centers.append(xp.take(candidates, place, axis=0))
    return xp.stack(centers, axis=1)


def _drawn(weights: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices drawn in proportion to the weights; any where all are zero."""
    sums: NDArray[np.float64] = np.cumsum(weights)
    wanted: NDArray[np.float64] = rng.random(count) * sums[-1]
    return np.minimum(np.searchsorted(sums, wanted, side="right"), weights.size - 1)


def _squared_distances(points: Points, centers: Array) -> Array:
    """(K, n), at least 0."""
    xp = array_namespace(centers)
    squares = xp.sum(centers**2, axis=1)[:, None]
    found: list[Array] = []
    for block in points.blocks():
        tile = points.tile(block)
        away = squares + xp.sum(tile**2, axis=1)[None, :] - 2.0 * product(centers, tile.T)
        found.append(xp.maximum(away, xp.zeros_like(away)))
    return xp.concat(found, axis=1)


@dataclass(slots=True)
class _Pass:
    """What one pass over the points finds for the centers of all runs."""

    sums: Array
    """(K, p) of the points of each."""
    count: NDArray[np.int64]
    """(K,)"""
    inertia: NDArray[np.float64]
    """(R,)"""


def lloyd(
    points: Points,
    starts: Sequence[Array],
    *,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
    check: Callable[[], None] | None = None,
) -> list[Clusters]:
    """Lloyd's iteration from every start (k, p), all in step; in the order of the starts.

    Parameters
    ----------
    points : Points
    starts : sequence of arrays of shape (k, p)
        Centers about the points' mean, each start of as many as it likes.
    tolerance : float
        0 stops only when no center moves.
    check : callable, optional
        Called before every pass; what it raises ends the iteration (cancellation).
    """
    xp = array_namespace(points.rows)
    limit = tolerance * mean_variance(points)
    centers = [xp.astype(start, xp.float64) for start in starts]
    done = np.zeros(len(starts), np.bool_)
    iterations = np.zeros(len(starts), np.int64)
    for _ in range(max_iterations):
        going = np.flatnonzero(~done)
        if not going.size:
            break
        if check is not None:
            check()
        before = [centers[run] for run in going]
        moved = _moved(points, before)
        iterations[going] += 1
        done[going] = _squares_moved(before, moved) <= limit
        for run, now in zip(going, moved, strict=True):
            centers[run] = now
    inertia = _pass(points, centers, with_sums=False).inertia
    return [
        Clusters(
            center=center, inertia=float(inertia[run]), n_iterations=int(iterations[run]), converged=bool(done[run])
        )
        for run, center in enumerate(centers)
    ]


def _moved(points: Points, centers: list[Array]) -> list[Array]:
    """The centers of each run after one step."""
    xp = array_namespace(points.rows)
    found = _pass(points, centers)
    count = asarray_like(np.maximum(found.count, 1).astype(np.float64), points.rows)
    means = found.sums / count[:, None]
    moved: list[Array] = []
    for before, members in zip(centers, _members(centers), strict=True):
        now = means[members, :]
        empty = np.flatnonzero(found.count[members] == 0)
        if empty.size:
            kept = asarray_like(found.count[members] > 0, points.rows)
            now = xp.where(kept[:, None], now, before)
            now[int(empty[0]), :] = points.take(np.asarray([_furthest(points, before)]))[0, :]
        moved.append(now)
    return moved


def _squares_moved(before: Sequence[Array], moved: Sequence[Array]) -> NDArray[np.float64]:
    """(R,) sums over the centers of each run of the squares of how far they moved; a device is waited for once."""
    xp = array_namespace(moved[0])
    of_centers = to_host(xp.sum((xp.concat(list(moved), axis=0) - xp.concat(list(before), axis=0)) ** 2, axis=1))
    return np.add.reduceat(of_centers, [of_run.start for of_run in _members(moved)])


def _furthest(points: Points, centers: Array) -> int:
    """The point that is furthest from its nearest center, the first of equals."""
    xp = array_namespace(centers)
    return int(np.argmax(to_host(xp.min(_squared_distances(points, centers), axis=0))))


def _members(centers: Sequence[Array]) -> list[slice]:
    """Where the centers of each run stand among all."""
    ends = np.cumsum([int(one.shape[0]) for one in centers]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _pass(points: Points, centers: list[Array], *, with_sums: bool = True) -> _Pass:
    """Assign every point in every run."""
    xp = array_namespace(points.rows)
    every = xp.concat(centers, axis=0)
    half = xp.sum(every**2, axis=1)[:, None] / 2.0
    members = _members(centers)
    run_of = asarray_like(np.repeat(np.arange(len(members)), [of.stop - of.start for of in members]), every)
    sums = xp.zeros_like(every)
    count = xp.zeros((every.shape[0],), dtype=xp.float64, device=every.device)
    inertia = xp.zeros((len(centers),), dtype=xp.float64, device=every.device)
    for block in points.blocks():
        tile = points.tile(block)
        # |x - c|^2 = |x|^2 - 2 (<x, c> - |c|^2 / 2): the nearest center has the largest score.
        scores = product(every, tile.T) - half
        best = xp.stack([xp.max(scores[of_run, :], axis=0) for of_run in members])
        inertia += xp.sum(tile**2) - 2.0 * xp.sum(best, axis=1)
        if with_sums:
            belongs = _belongs(scores, best, members, run_of)
            sums += product(belongs, tile)
            count += xp.sum(belongs, axis=1)
    count_and_inertia = to_host(xp.concat([count, inertia]))
    return _Pass(
        sums=sums,
        count=np.rint(count_and_inertia[: every.shape[0]]).astype(np.int64),
        inertia=np.maximum(count_and_inertia[every.shape[0] :], 0.0),
    )


def _belongs(scores: Array, best: Array, members: list[slice], run_of: Array) -> Array:
    """(K, t) 1.0 where a point is assigned to a center of a run: one of each run; `run_of` (K,) is a center's run."""
    xp = array_namespace(scores)
    found = xp.astype(scores == xp.take(best, run_of, axis=0), xp.float64)
    if int(xp.sum(found)) == len(members) * int(scores.shape[1]):
        return found
    # Some point is as near to two centers: the first of them gets it.
    firsts = [xp.argmax(scores[of, :], axis=0) for of in members]
    numbers = [xp.arange(of.stop - of.start, device=scores.device)[:, None] for of in members]
    pairs = zip(numbers, firsts, strict=True)
    return xp.concat([xp.astype(number == first[None, :], xp.float64) for number, first in pairs], axis=0)


def nearest(points: Points, center: Array) -> NDArray[np.int64]:
    """(n,) of each point the number of its nearest center, the first of equals; on the host."""
    xp = array_namespace(points.rows)
    half = xp.sum(center**2, axis=1)[:, None] / 2.0
    found = [xp.argmax(product(center, points.tile(block).T) - half, axis=0) for block in points.blocks()]
    return to_host(xp.concat(found)).astype(np.int64)
