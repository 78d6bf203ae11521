"""What a refit of the last layer minimises: one record per problem over shared features X (N, D).

With s the weights of the rows used (scaled to sum 1), t_i the target distribution and z the features as
they are solved (raw, or standardised):

    sum_i s_i CE(t_i, V z_i + c + o_i)  +  l1 |V - V0|_1  +  l2/2 |V - V0|^2        over V (C, D), c (C,)

and the same penalties on (c - c0) / intercept_scale where the intercept is PENALIZED. Returned heads act on
raw features: W = V / scale, b = c - W mean. Centers and starts are given as heads on raw features, too.

Link OVR is C separate binary problems (one, for two classes), as liblinear fits them. The softmax of two
classes is a binary problem in w = V_1 - V_0 with the same l1 and half the l2, and is solved as such.

Conventions of others in these terms, with S = sum of the unscaled weights:
  scikit-learn multinomial, C >= 3    SOFTMAX, FREE, l = 1 / (C S)
  scikit-learn lbfgs, two classes     OVR, FREE, l2 = 1 / (C S); or SOFTMAX with l2 = 2 / (C S)
  liblinear (DFR, RAD)                OVR, PENALIZED, l1 or l2 = 1 / (C S), intercept_scale = intercept_scaling
  LinearSVC, hinge, two classes   HINGE, NONE or PENALIZED, l2 = 2 / (C S), its w = V_1 - V_0
  AFR's lambda (no 1/2)               SOFTMAX, PENALIZED, l2 = 2 lambda, center = the checkpoint's head
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array


class Intercept(StrEnum):
    """Whether the bias is fitted, and whether it is penalised."""

    FREE = "free"
    """Fitted and not penalised."""
    PENALIZED = "penalized"
    """Fitted and penalised like a weight on a column of the constant `intercept_scale`."""
    NONE = "none"
    """Not fitted: the bias is the center's (zero without a center)."""


class Link(StrEnum):
    """How logits become a loss."""

    SOFTMAX = "softmax"
    """Cross-entropy of the softmax over the classes."""
    OVR = "ovr"
    """One class against the rest: sums of binary log-losses; a single one for two classes."""
    HINGE = "hinge"
    """Sums over c /= y of max(0, 1 - (l_y - l_c)) in place of CE: a support vector machine. Without an l2 the head of
    the largest margin, |V| least with every l_y - l_c at least 1. No free intercept, no l1, no trajectory."""


class Standardize(StrEnum):
    """Scaling that `solve` fits; a problem may have an explicit `Scaler` instead."""

    NONE = "none"
    ROWS = "rows"
    """Scaling by the unweighted mean and standard deviation (divisor n) of the problem's rows. A column constant
    on them (see `blocks.scaling.CONSTANT`) becomes 0, and its weight is the center's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaler:
    """z = (x - mean) / scale."""

    mean: Array
    """(D,)."""
    scale: Array
    """(D,), positive; infinite for a column that is constant on the rows that are fitted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """logits = features @ weight.T + bias."""

    weight: Array
    """(C, D)."""
    bias: Array
    """(C,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """One refit; the module's docstring has the objective. Problems may share arrays."""

    rows: NDArray[np.int64] | None = None
    """Ascending positions into the N rows, each once (a row that counts twice has weight 2); all when left out."""
    weight: NDArray[np.float64] | None = None
    """One per row used, at least 0; only proportions count. Uniform when left out."""
    target: Array | None = None
    """(N,) classes or (N, C) distributions, over all N rows; the shared y when left out."""
    offset: Array | None = None
    """(N, C) added to the logits, over all N rows."""
    l1: float = 0.0
    l2: float = 0.0
    center: Head | None = None
    """V0 and c0 of the objective: the head towards which weights are penalised; zero when left out."""
    intercept: Intercept = Intercept.FREE
    intercept_scale: float = 1.0
    """Value of the constant column whose weight is penalised (liblinear's intercept_scaling)."""
    link: Link = Link.SOFTMAX
    standardize: Standardize | Scaler = Standardize.NONE
    start: Head | None = None
    """First iterate, the center when left out. An optimum does not depend on it, a trajectory does."""

    def __post_init__(self) -> None:
        for name, value in (("l1", self.l1), ("l2", self.l2)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, got {value}")
        if not (math.isfinite(self.intercept_scale) and self.intercept_scale > 0):
            raise ValueError(f"intercept_scale must be a positive finite number, got {self.intercept_scale}")
