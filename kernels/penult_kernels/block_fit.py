"""The certified answer for one block."""

import math
from dataclasses import dataclass

from penult_kernels.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockFit:
    """Where one block ended, with its certificate: what every solver of the package returns."""

    theta: Array
    """(q, D + 1)."""
    gap: float
    gradient_norm: float
    iterations: int
    passes: int
    objective: float
    converged: bool


def unsolved(theta: Array) -> BlockFit:
    """A block that nobody wanted any more when its turn came."""
    return BlockFit(
        theta=theta, gap=math.inf, gradient_norm=math.inf, iterations=0, passes=0, objective=math.inf, converged=False
    )
