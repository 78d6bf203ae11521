"""The contract of the quick L2 methods, and the loop that they share.

A method has a state of all problems that are not solved yet. The loop asks it for their gaps, removes those that are
small enough, cancelled, or no longer improving, and has the others take a step. The results are not certified:
`l2.newton_cg` does that, and takes further steps where they are not good enough.

Vectors of B problems are arrays (B, M), whatever the space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array, to_host
from penult_kernels.linear.control import StopRule
from penult_kernels.linear.l2.eigenbasis import Preconditioner
from penult_kernels.products import on_threads

UNSEEN = 3
"""On a device every so many evaluations the host looks at the gaps: it waits for the device then."""
MOST_EVALUATIONS = 300
"""Evaluations after which a problem is left to Newton's method."""
PROGRESS = 0.9
"""A gap counts as smaller when it is below this fraction of the smallest so far."""
PATIENCE = 15
"""Evaluations without a smaller gap after which a problem is left to Newton's method: float32 can do no more."""
PATIENCE_AT_FLOOR = 3
"""Evaluations without a smaller gap that are enough where the gap is about as small as rounding lets it be."""
NEAR_FLOOR = 10.0
"""A gap below this multiple of what rounding leaves is about as small as rounding lets it be."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WarmStart:
    """Where a quick method ended for one block: the start of Newton's method, which certifies it."""

    theta: Array
    """(q, D + 1)."""
    iterations: int
    passes: int
    preconditioner: Preconditioner | None = None
    """The preconditioner of this block alone."""


class Space(Protocol):
    """The space in which B problems are solved."""

    @property
    def n_blocks(self) -> int:
        """B."""
        ...

    def kept(self, active: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Positions of the problems to keep when `active` (B,) are: these, and possibly others."""
        ...

    def take(self, kept: NDArray[np.int64]) -> "Space":
        """The space of the problems that stay."""
        ...

    def theta(self, x: Array) -> Array:
        """Heads (B, q, D + 1) of vectors (B, M) of all problems."""
        ...


class State(Protocol):
    """The state of a method: its iterates for the problems that are not solved yet."""

    @property
    def space(self) -> Space:
        """Their space."""
        ...

    @property
    def x(self) -> Array:
        """(B, M)."""
        ...

    def prepare(self) -> None:
        """Whatever gaps and the next step both need; called once before each step."""
        ...

    def gaps(self) -> tuple[Array, Array | None]:
        """Estimated gaps of x (B,), and the gaps that rounding leaves (B,), None for zeros."""
        ...

    def saw(self, gaps: NDArray[np.float64], floors: NDArray[np.float64]) -> None:
        """Learn what the last `gaps` gave, if the loop looked at it."""
        ...

    def take(self, kept: NDArray[np.int64]) -> None:
        """Keep the problems at these positions only."""
        ...

    def step(self) -> None:
        """Go on by one evaluation."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Spaces:
    """The spaces of parts of the problems, in their order, as one."""

    parts: Sequence[Space]

    @property
    def n_blocks(self) -> int:
        return sum(part.n_blocks for part in self.parts)

    @property
    def _firsts(self) -> list[int]:
        """The place of the first problem of each part, and the end."""
        return [0, *np.cumsum([part.n_blocks for part in self.parts]).tolist()]

    def of_parts(self, values: Array) -> list[Array]:
        """Rows of an array (B, ...) by part."""
        return [values[first:end] for first, end in pairwise(self._firsts)]

    def kept(self, active: NDArray[np.bool_]) -> NDArray[np.int64]:
        own = zip(self._firsts, self.parts, self.of_parts(active), strict=False)
        return np.concatenate([first + part.kept(some) for first, part, some in own])

    def split(self, kept: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Places among the problems of each part, of places among all."""
        return [kept[(kept >= first) & (kept < end)] - first for first, end in pairwise(self._firsts)]

    def take(self, kept: NDArray[np.int64]) -> "Space":
        return _Spaces([part.take(own) for part, own in zip(self.parts, self.split(kept), strict=True) if own.size])

    def theta(self, x: Array) -> Array:
        own = zip(self.parts, self.of_parts(x), strict=True)
        return array_namespace(x).concat([part.theta(some) for part, some in own], axis=0)


@dataclass(slots=True, eq=False)
class SideBySide:
    """The states of parts of the problems, in their order: one state, whose parts compute on threads."""

    parts: list[State]

    @property
    def space(self) -> _Spaces:
        """The spaces of all parts as one."""
        return _Spaces([part.space for part in self.parts])

    @property
    def x(self) -> Array:
        """(B, M)."""
        found = [part.x for part in self.parts]
        return array_namespace(found[0]).concat(found, axis=0)

    def prepare(self) -> None:
        """Whatever gaps and the next step both need."""
        on_threads(lambda part: part.prepare(), self.parts)

    def gaps(self) -> tuple[Array, Array | None]:
        """Estimated gaps and gaps that rounding leaves, each (B,)."""
        gaps, floors = zip(*on_threads(lambda part: part.gaps(), self.parts), strict=True)
        return np.concatenate(gaps), None if floors[0] is None else np.concatenate(floors)

    def saw(self, gaps: NDArray[np.float64], floors: NDArray[np.float64]) -> None:
        """Tell each part what its problems' gaps are."""
        for part, own, of_rounding in zip(self.parts, *map(self.space.of_parts, (gaps, floors)), strict=True):
            part.saw(own, of_rounding)

    def take(self, kept: NDArray[np.int64]) -> None:
        """Keep the problems at these positions only."""
        own = [(part, some) for part, some in zip(self.parts, self.space.split(kept), strict=True) if some.size]
        on_threads(lambda both: both[0].take(both[1]), own)
        self.parts = [part for part, _ in own]

    def step(self) -> None:
        """Go on by one evaluation."""
        on_threads(lambda part: part.step(), self.parts)


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    """Where a quick method ended for B problems."""

    theta: Array
    """(B, q, D + 1)."""
    evaluations: NDArray[np.int64]
    """(B,) evaluations of each problem."""


def _on_host(gaps: Array, floors: Array | None) -> NDArray[np.float64]:
    """(2, B) both by one copy, and so one wait for a device."""
    if floors is None:
        found = to_host(gaps).astype(np.float64)
        return np.stack([found, np.zeros_like(found)])
    return to_host(array_namespace(gaps).stack([gaps, floors])).astype(np.float64)


def looks(like: Array) -> int:
    """Evaluations from one look at the gaps to the next, for arrays where `like` is."""
    return 1 if is_numpy_array(like) else UNSEEN


def minimize(state: State, stop: StopRule) -> Reached:
    """Take steps until every gap is at most the limit of `stop`, or does not get smaller any more."""
    space, start = state.space, state.x
    positions = np.arange(space.n_blocks)
    found: list[Array] = [start] * positions.size
    evaluations, since = np.zeros((2, positions.size), np.int64)
    best, is_done = np.full(positions.size, np.inf), np.zeros(positions.size, bool)
    every = looks(start)
    for number in range(1, MOST_EVALUATIONS + 1):
        stop.check()
        state.prepare()
        if number % every and number < MOST_EVALUATIONS:
            state.step()
            continue
        evaluations[positions[~is_done]] = number
        gaps, floors = _on_host(*state.gaps())
        state.saw(gaps, floors)
        is_better = gaps < PROGRESS * best
        best, since = np.where(is_better, gaps, best), np.where(is_better, 0, since + every)
        patience = np.where(gaps < NEAR_FLOOR * floors, PATIENCE_AT_FLOOR, PATIENCE)
        is_done = is_done | ~((gaps > stop.limit) & (since < patience))
        if stop.unwanted is not None:
            is_done = is_done | stop.unwanted()[positions]
        kept = state.space.kept(~is_done) if number < MOST_EVALUATIONS else np.zeros(0, np.int64)
        if kept.size < positions.size:
            x = state.x
            for index in np.setdiff1d(np.arange(positions.size), kept):
                found[int(positions[index])] = x[int(index), :]
            left = np.ones(len(found), bool)
            left[positions[kept]] = False
            stop.left(left)
            if kept.size == 0:
                break
            state.take(kept)
            positions, best, since, is_done = positions[kept], best[kept], since[kept], is_done[kept]
        state.step()
    return Reached(space.theta(array_namespace(start).stack(found)), evaluations)
