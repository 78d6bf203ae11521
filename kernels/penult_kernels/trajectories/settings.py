"""How the trajectory of an early-stopped method is computed, and which of its iterates are returned."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array
from penult_kernels.linear.problem import Head
from penult_kernels.rows import RowSource


class Optimizer(StrEnum):
    """How a step follows the gradient."""

    GD = "gd"
    """All rows in every step."""
    SGD = "sgd"
    """Minibatches of `batch_size` rows."""
    ADAMW = "adamw"
    """Loshchilov & Hutter 2019 with torch's defaults; minibatches where there is a `batch_size`."""


class Schedule(StrEnum):
    """The learning rate in each epoch; without minibatches every step is an epoch."""

    CONSTANT = "constant"
    COSINE = "cosine"
    """The learning rate times (1 + cos(pi e / E)) / 2 in epoch e of E: torch's CosineAnnealingLR over all
    epochs (Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5, without restarts)."""


class Keep(StrEnum):
    """Which iterates are returned."""

    BEST = "best"
    """The first with the highest score."""
    LAST = "last"
    EVERY = "every"
    """Every `every`-th one, and the last."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrajectorySettings:
    """How one problem is descended."""

    optimizer: Optimizer = Optimizer.GD
    learning_rate: float
    schedule: Schedule = Schedule.CONSTANT
    steps: int
    momentum: float = 0.0
    weight_decay: float = 0.0
    """torch's: added to the gradient for GD and SGD, decoupled for ADAMW; on all parameters."""
    clip_norm: float | None = None
    normalize: bool = False
    """Whether the gradient of all parameters of the problem is divided by its norm (normalised GD, SGD): on separable
    rows the direction converges to the head of the largest margin at a rate of 1 / t where GD's is 1 / log t
    (Nacson et al. 2019, arXiv 1803.01905). In the place of the clip: before weight decay and momentum."""
    batch_size: int | None = None
    sampler: NDArray[np.float64] | None = None
    """Weight of each row used in draws with replacement; epochs of shuffled rows when left out."""
    keep: Keep = Keep.LAST
    every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be a positive finite number, got {self.learning_rate}")
        if self.steps < 1 or self.every < 1:
            raise ValueError(f"steps and every must be at least 1, got {self.steps} and {self.every}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must be a finite number of at least 0, got {self.weight_decay}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be positive, got {self.clip_norm}")
        if self.normalize and (self.optimizer is Optimizer.ADAMW or self.clip_norm is not None):
            raise ValueError(
                "normalize is of gd and sgd, and leaves nothing to clip: leave out clip_norm, or normalize"
            )
        if self.optimizer is Optimizer.GD and self.batch_size is not None:
            raise ValueError("gd uses all rows: leave batch_size out, or use sgd")
        if self.optimizer is Optimizer.SGD and self.batch_size is None:
            raise ValueError("sgd needs a batch_size; with all rows in every step it is gd")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def rate_factors(self, n_rows: int) -> NDArray[np.float64]:
        """(steps,) factors on the learning rate in each step of a trajectory over `n_rows` rows."""
        if self.schedule is Schedule.CONSTANT:
            return np.ones(self.steps)
        per_epoch = 1 if self.batch_size is None else math.ceil(n_rows / self.batch_size)
        epoch = np.arange(self.steps) // per_epoch
        return (1 + np.cos(np.pi * epoch / math.ceil(self.steps / per_epoch))) / 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trajectory(Head):
    """The best or last iterate of one problem as a head on raw features, and the scores of its trajectory."""

    step: int
    """Steps up to the iterate that is returned."""
    diverged: bool
    """Whether the trajectory left the finite numbers: a lower learning rate, or clipping, would keep it there."""
    score: float
    """Score of the iterate that is returned; NaN without a watch."""
    scores: NDArray[np.float64]
    """(steps,) score after every step; empty without a watch."""
    kept: tuple[tuple[int, Array, Array], ...]
    """(step, weight, bias) of each iterate that Keep.EVERY returns."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watch:
    """Rows on which every iterate is scored."""

    features: Array | RowSource
    """(M, D), on the device of the features that are fitted."""
    score: Callable[[NDArray[np.int64], Array], NDArray[np.float64]]
    """(positions (P,) of problems, outputs) -> (P,) scores on the host, higher is better.

    Outputs are the margins (M, P) of class 1 over class 0 where there are two classes, else logits (M, P, C)."""
