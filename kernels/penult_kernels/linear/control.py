"""When a solver stops: its tolerance, its patience, and who still wants what it solves."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.linear.blocks.blocks import Block


def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """When one solve of B blocks ends."""

    limit: float
    """A block is done when its gap is at most this."""
    tolerance: float = 0.0
    """A block without l2 is done when its gradient is at most this share of that of the zero weights."""
    max_iterations: int = 100
    """Newton steps at most; a quick method has a limit of its own."""
    check: Callable[[], None] = _nothing
    """Called between passes over the rows: what it raises ends the solve."""
    unwanted: Callable[[], NDArray[np.bool_]] | None = None
    """Asked before every step for (B,) True where a block need not be solved any more: it leaves as it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What a call of the engine asks of its solvers."""

    tolerance: float
    max_iterations: int
    check: Callable[[], None] | None
    is_wanted: Callable[[int], bool] | None
    """Of the problem at a position."""

    def limit(self, n_columns: int) -> float:
        """The gap that is small enough."""
        return self.tolerance * math.log(max(n_columns, 2))

    def stop(self, members: Sequence[Block], *, share: float = 1.0, max_iterations: int | None = None) -> StopRule:
        """When a solve of blocks with as many columns ends that goes down to a share of the tolerance."""
        return StopRule(
            limit=share * self.limit(members[0].n_columns),
            tolerance=share * self.tolerance,
            max_iterations=self.max_iterations if max_iterations is None else max_iterations,
            check=_nothing if self.check is None else self.check,
            unwanted=self.unwanted(members),
        )

    def unwanted(self, members: Sequence[Block]) -> Callable[[], NDArray[np.bool_]] | None:
        """Which of some blocks (B,) nobody wants any more, to be asked again and again."""
        wanted = self.is_wanted
        if wanted is None:
            return None
        return lambda: np.asarray([not wanted(block.problem) for block in members])

    def all_unwanted(self, members: Sequence[Block]) -> bool:
        """Whether nobody wants any of some blocks any more."""
        unwanted = self.unwanted(members)
        return unwanted is not None and bool(unwanted().all())


def fits(block: Block, n_features: int) -> bool:
    """Whether the rows of a block may be kept in float64."""
    return 8 * block.n_used * n_features <= budget.DEFAULT.batch_rows_bytes
