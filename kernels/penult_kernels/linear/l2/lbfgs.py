"""L-BFGS for many L2 problems at once (Liu & Nocedal 1989): every pass moves all of them, each by its own length.

Vectors of B problems are arrays (B, M). Steps follow the secant rule of `line_search`: no objective is computed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.linear.control import StopRule
from penult_kernels.linear.elements import next_length
from penult_kernels.linear.l2.curvature import LOOKED_AT, MOST_MADE, may_be_shared, slow_blocks
from penult_kernels.linear.l2.eigenbasis import Preconditioner
from penult_kernels.linear.l2.feature_space import Derivatives, PrimalSpace
from penult_kernels.linear.l2.quick_loop import NEAR_FLOOR, Reached, minimize

MOST_SHRUNK = 0.1
"""What a preconditioned vector is multiplied by at least."""
FINE_BELOW = 100.0
"""A gap below this multiple of what rounding heads to float32 leaves ends their rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Steps of B problems and the changes of the gradient over them, m each, the latest last."""

    steps: Array
    """(B, m, M); 0 in the place of pairs that a problem does not have."""
    changes: Array

    def of_others(self, chosen: NDArray[np.int64], stiffer: Array) -> Iterator[tuple[Array, Array]]:
        """Steps and changes, the oldest first, of the problems at these positions for others (B,), one pair at a time.

        The Hessians of the others are larger by a diagonal (B, M).
        """
        xp = array_namespace(self.steps)
        at = asarray_like(chosen, self.steps)
        for place in range(int(self.steps.shape[1])):
            step = xp.take(self.steps[:, place, :], at, axis=0)
            yield step, xp.take(self.changes[:, place, :], at, axis=0) + stiffer * step


@dataclass(frozen=True, slots=True, eq=False)
class Curved:
    """A preconditioner with a curvature that was made of one problem."""

    preconditioner: Preconditioner
    """The preconditioner of some of the problems."""
    which: NDArray[np.bool_]
    """(B,) the problems that have it."""

    def of_others(self, own: Preconditioner, chosen: NDArray[np.int64]) -> Preconditioner:
        """The preconditioner of others over the same rows, coupled where the problems at these positions (B,) are."""
        coupled = self.preconditioner.coupled
        if coupled is None:
            return own
        which = self.which[chosen]
        mean = array_namespace(own.mean).where(which[:, None, None], coupled.mean, own.mean)
        return replace(own, mean=mean, coupled=replace(coupled, which=which))


def lbfgs(
    space: PrimalSpace, start: Array, stop: StopRule, *, memory: int, pairs: Iterable[tuple[Array, Array]] = ()
) -> Reached:
    """Minimise from `start` (B, M), keeping the last `memory` steps; an evaluation is two products with the rows.

    Begins with `pairs` of a step and the change of the gradient over it.
    """
    return minimize(_begun(space, start, memory, pairs, stop), stop)


def lbfgs_with_pairs(
    space: PrimalSpace, start: Array, stop: StopRule, *, memory: int
) -> tuple[Reached, Pairs, Curved | None]:
    """As `lbfgs`, and the pairs that each problem ended with; and the latest curvature that was made on the way."""
    state = _begun(space, start, memory, (), stop)
    state.left = []
    reached = minimize(state, stop)
    made = (
        Curved(state.space.preconditioner, np.isin(np.arange(space.n_blocks), state.curved)) if state.n_made else None
    )
    return reached, _joined([*state.left, (state.positions, state.pairs())]), made


def _begun(
    space: PrimalSpace, start: Array, memory: int, pairs: Iterable[tuple[Array, Array]], stop: StopRule
) -> "_State":
    xp = array_namespace(start)
    length = xp.ones((start.shape[0],), dtype=start.dtype, device=start.device)
    state = _State(
        space,
        start,
        space.evaluate(start),
        length,
        memory,
        np.arange(space.n_blocks),
        np.zeros(space.n_blocks, bool),
        stop.limit,
    )
    for step, change in pairs:
        state.remember(step, change)
    return state


def _joined(parts: list[tuple[NDArray[np.int64], Pairs]]) -> Pairs:
    """The pairs of problems at positions 0 ... B - 1, from those that left at the same time."""
    xp = array_namespace(parts[0][1].steps)
    most = max(int(pairs.steps.shape[1]) for _, pairs in parts)
    order = np.argsort(np.concatenate([positions for positions, _ in parts]))

    def padded(values: Array) -> Array:
        missing = (int(values.shape[0]), most - int(values.shape[1]), int(values.shape[2]))
        return xp.concat([xp.zeros(missing, dtype=values.dtype, device=values.device), values], axis=1)

    def whole(values: list[Array]) -> Array:
        return xp.take(xp.concat(list(map(padded, values)), axis=0), asarray_like(order, values[0]), axis=0)

    return Pairs(whole([pairs.steps for _, pairs in parts]), whole([pairs.changes for _, pairs in parts]))


def inner(a: Array, b: Array) -> Array:
    """Products (B,) of vectors (B, M), by one launch of a device."""
    return (a[:, None, :] @ b[:, :, None])[:, 0, 0]


@dataclass(slots=True, eq=False)
class _State:
    """Iterates of the problems that are still solved."""

    space: PrimalSpace
    x: Array
    here: Derivatives
    length: Array
    """(B,) length of the step to try."""
    memory: int
    positions: NDArray[np.int64]
    """(B,) their positions among all problems."""
    is_fine: NDArray[np.bool_]
    """(B,) whether heads are not rounded to float32 any more."""
    limit: float
    """A gap that is small enough."""
    left: list[tuple[NDArray[np.int64], Pairs]] | None = None
    """Positions and pairs of the problems that have left, if they are wanted."""
    steps: list[Array] = field(default_factory=list[Array])
    changes: list[Array] = field(default_factory=list[Array])
    """Changes of the gradient over the steps."""
    inverses: list[Array] = field(default_factory=list[Array])
    """(B,) 1 / <step, change>, or 0 for a problem that took no step then."""
    seen: list[NDArray[np.float64]] = field(default_factory=list[NDArray[np.float64]])
    """(B,) the gaps of the latest evaluations since a curvature was made."""
    n_made: int = 0
    """Curvatures that were made."""
    curved: list[int] = field(default_factory=list[int])
    """Positions among all problems of those that have one."""

    def prepare(self) -> None:
        """Nothing: the step before has evaluated what is needed."""

    def gaps(self) -> tuple[Array, Array]:
        """The gaps and floors of the space at x; nothing is evaluated."""
        return self.space.gaps(self.here), self.space.floors(self.x, self.here)

    def saw(self, gaps: NDArray[np.float64], floors: NDArray[np.float64]) -> None:
        """Near its floor a problem becomes a fine one; where too many evaluations are left, a curvature is made."""
        self.is_fine = self.is_fine | (gaps < FINE_BELOW * floors)
        self.seen = [*self.seen, gaps][-1 - LOOKED_AT :]
        if self.n_made < MOST_MADE and may_be_shared(self.space.batch):
            slow = slow_blocks(self.space.batch, self.seen, NEAR_FLOOR * floors, self.limit)
            if slow is not None:
                self.space, self.seen, self.n_made = self.space.curved(self.x, slow), [], self.n_made + 1
                self.curved += self.positions[slow.which].tolist()
                # Their pairs are of curvatures that were larger.
                kept = ~slow.which
                self.steps, self.changes = ([one * kept[:, None] for one in own] for own in (self.steps, self.changes))
                self.inverses = [one * kept for one in self.inverses]

    def take(self, kept: NDArray[np.int64]) -> None:
        """Keep the problems at these positions only."""
        xp = array_namespace(self.x)
        at = asarray_like(kept, self.x)
        if self.left is not None:
            gone = np.setdiff1d(np.arange(self.positions.size), kept)
            if gone.size:
                self.left.append((self.positions[gone], self.pairs(gone)))
        self.positions, self.is_fine = self.positions[kept], self.is_fine[kept]
        self.seen = [gaps[kept] for gaps in self.seen]

        def of_blocks(values: list[Array]) -> list[Array]:
            return [xp.take(value, at, axis=0) for value in values]

        self.space = self.space.take(kept)
        self.x, self.length, *here = of_blocks([self.x, self.length, self.here.gradient, self.here.curvature])
        self.here = Derivatives(*here)
        self.steps, self.changes, self.inverses = map(of_blocks, (self.steps, self.changes, self.inverses))

    def step(self) -> None:
        """One evaluation: take the step where it is short enough, else try a shorter one in the next call."""
        xp = array_namespace(self.x)
        direction = self._direction()
        derivative = inner(self.here.gradient, direction)
        step = self.length[:, None] * direction
        there = self.space.evaluate(self.x + step, np.flatnonzero(self.is_fine).tolist())
        derivative_there = inner(there.gradient, direction)
        taken, self.length = next_length(derivative, derivative_there, self.length)
        is_good = taken > 0
        good = is_good[:, None]
        step = xp.where(good, step, 0.0)
        change = xp.where(good, there.gradient - self.here.gradient, 0.0)
        self.x = self.x + step
        of_block = xp.reshape(is_good, (-1,) + (1,) * (there.curvature.ndim - 1))
        curvature = xp.where(of_block, there.curvature, self.here.curvature)
        self.here = Derivatives(self.here.gradient + change, curvature)
        self.remember(step, change)

    def pairs(self, chosen: NDArray[np.int64] | None = None) -> Pairs:
        """The pairs of the problems at these places, or of all."""
        xp = array_namespace(self.x)

        def some_of(values: Array) -> Array:
            return values if chosen is None else xp.take(values, asarray_like(chosen, values), axis=0)

        def stacked(values: list[Array]) -> Array:
            if not values:
                return xp.zeros_like(some_of(self.x))[:, None, :][:, :0, :]
            return xp.stack([some_of(one) for one in values], axis=1)

        return Pairs(stacked(self.steps), stacked(self.changes))

    def remember(self, step: Array, change: Array) -> None:
        """Add a pair for each problem; one without curvature counts as none."""
        xp = array_namespace(step)
        curvature = inner(step, change)
        is_curved = curvature > 0
        inverse = xp.where(is_curved, 1.0 / xp.where(is_curved, curvature, 1.0), 0.0)
        self.steps = [*self.steps, step][-self.memory :]
        self.changes = [*self.changes, change][-self.memory :]
        self.inverses = [*self.inverses, inverse][-self.memory :]

    def _direction(self) -> Array:
        """The two loops of L-BFGS."""
        residual = self.here.gradient
        coefficients: list[Array] = []
        pairs = list(zip(self.steps, self.changes, self.inverses, strict=True))
        for step, change, inverse in reversed(pairs):
            coefficient = inner(step, residual) * inverse
            coefficients.append(coefficient)
            residual = residual - coefficient[:, None] * change
        towards = self.space.precondition(residual, self.here)
        if pairs and is_numpy_array(towards):
            towards = towards * self._shrinking(*pairs[-1])[:, None]
        for (step, change, inverse), coefficient in zip(pairs, reversed(coefficients), strict=True):
            towards = towards + (coefficient - inner(change, towards) * inverse)[:, None] * step
        return -towards

    def _shrinking(self, step: Array, change: Array, inverse: Array) -> Array:
        """(B,) by how much the latest pair says that preconditioned vectors are too long (Liu and Nocedal 1989)."""
        xp = array_namespace(step)
        expected = inner(change, self.space.precondition(change, self.here)) * inverse
        factor = xp.where(expected > 0, 1.0 / xp.where(expected > 0, expected, 1.0), 1.0)
        return xp.clip(factor, MOST_SHRUNK, 1.0)
