"""L-BFGS for many L2 problems at once (Liu & Nocedal 1989): every pass moves all of them, each by its own length.

Vectors of B problems are arrays (B, M). Steps follow the secant rule of `line_search`: no objective is computed.
"""

from dataclasses import dataclass, field

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.linear.control import StopRule
from penult_kernels.linear.l2.feature_space import Derivatives, PrimalSpace
from penult_kernels.linear.l2.quick_loop import Reached, minimize
from penult_kernels.linear.line_search import is_near_enough, secant_cut


def lbfgs(space: PrimalSpace, start: Array, stop: StopRule, *, memory: int) -> Reached:
    """Minimise from `start` (B, M), keeping the last `memory` steps; an evaluation is two products with the rows."""
    xp = array_namespace(start)
    length = xp.ones((start.shape[0],), dtype=start.dtype, device=start.device)
    return minimize(_State(space, start, space.evaluate(start), length, memory), stop)


def inner(a: Array, b: Array) -> Array:
    """Products (B,) of vectors (B, M)."""
    return array_namespace(a).sum(a * b, axis=1)


@dataclass(slots=True, eq=False)
class _State:
    """Iterates of the problems that are still solved."""

    space: PrimalSpace
    x: Array
    here: Derivatives
    length: Array
    """(B,) length of the step to try."""
    memory: int
    steps: list[Array] = field(default_factory=list[Array])
    changes: list[Array] = field(default_factory=list[Array])
    """Changes of the gradient over the steps."""
    inverses: list[Array] = field(default_factory=list[Array])
    """(B,) 1 / <step, change>, or 0 for a problem that took no step then."""

    def gaps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The gaps and floors of the space at x; nothing is evaluated."""
        gaps = to_host(self.space.gaps(self.here)).astype(np.float64)
        return gaps, to_host(self.space.floors(self.x, self.here))

    def take(self, kept: NDArray[np.int64]) -> None:
        """Keep the problems at these positions only."""
        xp = array_namespace(self.x)
        at = asarray_like(kept, self.x)

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
        there = self.space.evaluate(self.x + step)
        derivative_there = inner(there.gradient, direction)
        is_good = is_near_enough(derivative, derivative_there)
        good = is_good[:, None]
        step = xp.where(good, step, 0.0)
        change = xp.where(good, there.gradient - self.here.gradient, 0.0)
        self.x = self.x + step
        of_block = xp.reshape(is_good, (-1,) + (1,) * (there.curvature.ndim - 1))
        curvature = xp.where(of_block, there.curvature, self.here.curvature)
        self.here = Derivatives(self.here.gradient + change, curvature)
        self.length = xp.where(is_good, 1.0, self.length * secant_cut(derivative, derivative_there))
        self._remember(step, change)

    def _remember(self, step: Array, change: Array) -> None:
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
        for (step, change, inverse), coefficient in zip(pairs, reversed(coefficients), strict=True):
            towards = towards + (coefficient - inner(change, towards) * inverse)[:, None] * step
        return -towards
