"""The answers for one block: the certified one, and the one that a quick method leaves to be certified."""

import math
from dataclasses import dataclass

from penult_kernels.arrays import Array
from penult_kernels.eigenbasis import Preconditioner


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WarmStart:
    """Where a quick method left one block: Newton's method starts there, and certifies it."""

    theta: Array
    """(q, D + 1)."""
    iterations: int
    passes: int
    preconditioner: Preconditioner | None = None
    """Of this block alone."""


def unsolved(theta: Array) -> BlockFit:
    """A block that nobody wanted any more when its turn came."""
    return BlockFit(
        theta=theta, gap=math.inf, gradient_norm=math.inf, iterations=0, passes=0, objective=math.inf, converged=False
    )
