"""When a solver stops: tolerance, number of steps, and cancelled problems."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.linear.blocks.blocks import Block


def _nothing() -> None:
    return


def unseen(done: NDArray[np.bool_]) -> None:
    """Tells nobody which blocks have left."""
    return


PART_OF_A_START = 0.5
"""How far a block counts as solved whose warm start is found."""


class Tally:
    """How many of the blocks of one call are solved, told whenever that changes; it never falls."""

    def __init__(self, n_blocks: int, report: Callable[[float, float], None]) -> None:
        self._reached = np.zeros(n_blocks)
        self._report = report
        self._report(0.0, n_blocks)

    def reach(self, places: NDArray[np.int64], level: float) -> None:
        """The blocks at these places are solved (1) or have a warm start."""
        if places.size and float(self._reached[places].min()) < level:
            self._reached[places] = np.maximum(self._reached[places], level)
            self._report(float(self._reached.sum()), self._reached.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """When one solve of B blocks ends."""

    limit: float
    """A block is done when its gap is at most this."""
    tolerance: float = 0.0
    """A block without l2 is done when its gradient is at most this fraction of that of the zero weights."""
    max_iterations: int = 100
    """Newton steps at most; a quick method has a limit of its own."""
    check: Callable[[], None] = _nothing
    """Called between passes over the rows; may raise, which ends the solve."""
    unwanted: Callable[[], NDArray[np.bool_]] | None = None
    """Called before every step: (B,) True where a block was cancelled, which then leaves as it stands."""
    left: Callable[[NDArray[np.bool_]], None] = unseen
    """Called with (B,) True where a block takes no further step, again and again as they leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The options of one call of `solve`, for its solvers."""

    tolerance: float
    max_iterations: int
    check: Callable[[], None] | None
    is_wanted: Callable[[int], bool] | None
    """Whether the problem at a position is still wanted."""
    tally: Tally | None = None
    """Counts the blocks that are solved."""

    def limit(self, n_columns: int) -> float:
        """The largest gap of a block of `n_columns` that counts as converged."""
        return self.tolerance * math.log(max(n_columns, 2))

    def stop(self, members: Sequence[Block], *, fraction: float = 1.0, max_iterations: int | None = None) -> StopRule:
        """The rule for blocks of equally many columns that are solved to a `fraction` of the tolerance."""
        return StopRule(
            limit=fraction * self.limit(members[0].n_columns),
            tolerance=fraction * self.tolerance,
            max_iterations=self.max_iterations if max_iterations is None else max_iterations,
            check=_nothing if self.check is None else self.check,
            unwanted=self.unwanted(members),
            left=self._left(members, 1.0 if fraction == 1.0 else PART_OF_A_START),
        )

    def _left(self, members: Sequence[Block], level: float) -> Callable[[NDArray[np.bool_]], None]:
        tally = self.tally
        if tally is None:
            return unseen
        places = np.asarray([block.place for block in members], np.int64)
        return lambda done: tally.reach(places[done], level)

    def unwanted(self, members: Sequence[Block]) -> Callable[[], NDArray[np.bool_]] | None:
        """A function that says which of the blocks (B,) are cancelled by now; None when none can be."""
        wanted = self.is_wanted
        if wanted is None:
            return None
        return lambda: np.asarray([not wanted(block.problem) for block in members])

    def all_unwanted(self, members: Sequence[Block]) -> bool:
        """Whether all of the blocks are cancelled."""
        unwanted = self.unwanted(members)
        return unwanted is not None and bool(unwanted().all())


def fits(block: Block, n_features: int) -> bool:
    """Whether the rows of a block may be kept in float64."""
    return 8 * block.n_used * n_features <= budget.DEFAULT.batch_rows_bytes
