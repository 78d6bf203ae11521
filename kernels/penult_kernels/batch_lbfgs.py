"""L-BFGS for many L2 problems at once (Liu & Nocedal 1989): every pass moves all of them, each by a length of its own.

Vectors of B problems are arrays (B, M).

Objectives are convex, so that a slope along the direction at the new point says all that a line search needs: a step
is taken unless it has gone far beyond the minimum, and is cut by the secant if it has. No objective is computed. What
comes out is not proven here: `batch_newton` certifies it, and goes on where it is not good enough.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host

MOST_EVALUATIONS = 300
PATIENCE = 15
"""Evaluations without a smaller gap after which a problem is left to Newton's method,"""
PATIENCE_AT_FLOOR = 3
"""and where it is about as small as rounding lets it be:"""
NEAR_FLOOR = 10.0
"""times that."""
PROGRESS = 0.9
FARTHEST_SLOPE = 0.5
"""Of the slope at the start of a step: a larger one beyond the minimum is too far."""
SHORTEST_CUT, LONGEST_CUT = 0.1, 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Slope:
    """The gradient (B, M) at a point, and the curvature there in whatever shape a space uses."""

    gradient: Array
    curvature: Array


class Space(Protocol):
    """Where the problems are solved."""

    def evaluate(self, x: Array) -> Slope:
        """Gradient of all problems at x (B, M)."""
        ...

    def gaps(self, here: Slope) -> Array:
        """About how far above the optima (B,)."""
        ...

    def floors(self, x: Array, here: Slope) -> Array:
        """Gaps (B,) that rounding leaves, about."""
        ...

    def scaled(self, residual: Array, here: Slope) -> Array:
        """Approximate inverse Hessians, of the right size, times (B, M)."""
        ...

    def take(self, kept: NDArray[np.int64]) -> "Space":
        """The space of some of its problems."""
        ...


@dataclass(slots=True, eq=False)
class _Walk:
    """Iterates of the problems that are still solved."""

    space: Space
    positions: NDArray[np.int64]
    x: Array
    here: Slope
    length: Array
    """(B,) of the step to try."""
    steps: list[Array]
    changes: list[Array]
    """Of the gradient, over the steps."""
    inverses: list[Array]
    """(B,) 1 / <step, change>, or 0 for a problem that took no step then."""
    best: NDArray[np.float64]
    since: NDArray[np.int64]


def lbfgs(
    space: Space,
    start: Array,
    *,
    limit: float,
    memory: int,
    check: Callable[[], None] | None = None,
    unwanted: Callable[[], NDArray[np.bool_]] | None = None,
) -> tuple[Array, NDArray[np.int64]]:
    """Go down from `start` (B, M) until the gaps are at most `limit` or no smaller.

    `check` is called before every evaluation and ends the solve by raising; problems that are `unwanted` (B,) leave.

    Returns
    -------
    array of shape (B, M)
        Where each problem ended.
    array of shape (B,)
        Evaluations that each took part in.
    """
    xp = array_namespace(start)
    n_blocks = int(start.shape[0])
    first = space.evaluate(start)
    walk = _Walk(
        space=space,
        positions=np.arange(n_blocks, dtype=np.int64),
        x=start,
        here=first,
        length=xp.ones((n_blocks,), dtype=start.dtype, device=start.device),
        steps=[],
        changes=[],
        inverses=[],
        best=np.full(n_blocks, np.inf),
        since=np.zeros(n_blocks, np.int64),
    )
    found: list[Array] = [start[index, :] for index in range(n_blocks)]
    evaluations = np.zeros(n_blocks, np.int64)
    for number in range(1, MOST_EVALUATIONS + 1):
        evaluations[walk.positions] = number
        active = _still_active(walk, limit)
        if unwanted is not None:
            active = active & ~unwanted()[walk.positions]
        kept = np.flatnonzero(active & (number < MOST_EVALUATIONS))
        if kept.size < walk.positions.size:
            for index in np.setdiff1d(np.arange(walk.positions.size), kept):
                found[int(walk.positions[index])] = walk.x[int(index), :]
            if kept.size == 0:
                break
            _keep(walk, kept)
        if check is not None:
            check()
        _step(walk, memory)
    return xp.stack(found), evaluations


def inner(a: Array, b: Array) -> Array:
    """Products (B,) of vectors (B, M)."""
    return array_namespace(a).sum(a * b, axis=1)


def _still_active(walk: _Walk, limit: float) -> NDArray[np.bool_]:
    gaps = to_host(walk.space.gaps(walk.here)).astype(np.float64)
    is_better = gaps < PROGRESS * walk.best
    walk.best = np.where(is_better, gaps, walk.best)
    walk.since = np.where(is_better, 0, walk.since + 1)
    is_low = gaps < NEAR_FLOOR * to_host(walk.space.floors(walk.x, walk.here))
    return (gaps > limit) & (walk.since < np.where(is_low, PATIENCE_AT_FLOOR, PATIENCE))


def _keep(walk: _Walk, kept: NDArray[np.int64]) -> None:
    xp = array_namespace(walk.x)
    at = beside(kept, walk.x)

    def of_blocks(values: list[Array]) -> list[Array]:
        return [xp.take(value, at, axis=0) for value in values]

    walk.space = walk.space.take(kept)
    walk.positions, walk.best, walk.since = walk.positions[kept], walk.best[kept], walk.since[kept]
    walk.x, walk.length, gradient, curvature = of_blocks([walk.x, walk.length, walk.here.gradient, walk.here.curvature])
    walk.here = Slope(gradient, curvature)
    walk.steps, walk.changes, walk.inverses = of_blocks(walk.steps), of_blocks(walk.changes), of_blocks(walk.inverses)


def _step(walk: _Walk, memory: int) -> None:
    """One evaluation further on: a step where it is good, else a shorter one to try next."""
    xp = array_namespace(walk.x)
    direction = _direction(walk)
    slope = inner(walk.here.gradient, direction)
    step = walk.length[:, None] * direction
    there = walk.space.evaluate(walk.x + step)
    slope_there = inner(there.gradient, direction)
    # Not "too far": a NaN is to be cut, too.
    is_good = slope_there <= FARTHEST_SLOPE * xp.abs(slope)
    good = is_good[:, None]
    step = xp.where(good, step, 0.0)
    change = xp.where(good, there.gradient - walk.here.gradient, 0.0)
    curvature = inner(step, change)
    is_curved = curvature > 0
    walk.x = walk.x + step
    of_block = xp.reshape(is_good, (-1,) + (1,) * (there.curvature.ndim - 1))
    walk.here = Slope(walk.here.gradient + change, xp.where(of_block, there.curvature, walk.here.curvature))
    walk.length = xp.where(is_good, 1.0, walk.length * _cut(slope, slope_there))
    walk.steps = [*walk.steps, step][-memory:]
    walk.changes = [*walk.changes, change][-memory:]
    inverse = xp.where(is_curved, 1.0 / xp.where(is_curved, curvature, 1.0), 0.0)
    walk.inverses = [*walk.inverses, inverse][-memory:]


def _cut(slope: Array, slope_there: Array) -> Array:
    """Where the secant of the slopes crosses zero, as a share of the step; the shortest cut where that is no number."""
    xp = array_namespace(slope)
    down = xp.abs(slope)
    ratio = down / xp.where(slope_there > 0, down + slope_there, 2.0 * down + 1e-30)
    ratio = xp.where(ratio > SHORTEST_CUT, ratio, SHORTEST_CUT)
    return xp.where(ratio < LONGEST_CUT, ratio, LONGEST_CUT)


def _direction(walk: _Walk) -> Array:
    """The two loops of L-BFGS."""
    residual = walk.here.gradient
    shares: list[Array] = []
    pairs = list(zip(walk.steps, walk.changes, walk.inverses, strict=True))
    for step, change, inverse in reversed(pairs):
        share = inner(step, residual) * inverse
        shares.append(share)
        residual = residual - share[:, None] * change
    towards = walk.space.scaled(residual, walk.here)
    for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
        towards = towards + (share - inner(change, towards) * inverse)[:, None] * step
    return -towards
