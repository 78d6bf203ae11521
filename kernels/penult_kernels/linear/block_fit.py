"""The certified answer for one block."""

import math
from dataclasses import dataclass

from penult_kernels.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockFit:
    """The last iterate of one block and its certificate: what every solver returns."""

    theta: Array
    """(q, D + 1)."""
    gap: float
    gradient_norm: float
    iterations: int
    passes: int
    objective: float
    converged: bool


def unsolved(theta: Array) -> BlockFit:
    """The answer for a block that was cancelled before it was solved."""
    return BlockFit(
        theta=theta, gap=math.inf, gradient_norm=math.inf, iterations=0, passes=0, objective=math.inf, converged=False
    )
