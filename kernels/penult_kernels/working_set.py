"""One proximal Newton step of an L1 or elastic-net problem on a few of its entries, and the duality gap.

An entry of the working set is a pair (class column c, feature j), the bias being feature D with a column of
ones. With z the entries' columns (n, k) and s, p weights and probabilities,

    H_ab = sum_i s_i z_ia z_ib (p_i,ca [ca = cb] - p_i,ca p_i,cb)      binary: sum_i s_i p_i (1 - p_i) z_ia z_ib

The step minimises the quadratic model with the l1 penalty exactly (quadratic_lasso) and is cut back until the
objective decreases enough (Lee, Sun & Saunders 2014, algorithm 1).
"""

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.logit_loss import entropies
from penult_kernels.quadratic_lasso import minimize_quadratic
from penult_kernels.refit_batch import Batch

MAX_HALVINGS = 40
SUFFICIENT_DECREASE = 1e-4
ROUNDING = 2.0**-50


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkingSet:
    """The entries of one block that may move."""

    batch: Batch
    """Of this block alone."""
    columns: Array
    """(n, k) the entries' columns in the space solved."""
    of_class: NDArray[np.int64]
    """(k,) class column of each entry."""
    l1: NDArray[np.float64]
    """(k,) zero for a free bias."""
    l2: NDArray[np.float64]
    """(k,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Where a block is: its entries (k,), logits (n, 1, q) with the offset, and mean loss."""

    u: NDArray[np.float64]
    logits: Array
    loss: float


def newton_step(at: WorkingSet, here: Point, p: Array, pull: NDArray[np.float64]) -> Point | None:
    """The next point, from the probabilities p (n, 1, q) and the gradient of the loss `pull` (k,) here.

    None when the objective does not decrease along the step: the point is optimal to rounding.
    """
    hessian = _hessian(at, p)
    hessian.flat[:: at.l2.size + 1] += at.l2
    gradient = pull + at.l2 * here.u
    direction = minimize_quadratic(hessian, gradient, here.u, at.l1) - here.u
    chooser = np.zeros((direction.size, int(p.shape[2])))
    chooser[np.arange(direction.size), at.of_class] = direction
    change = (at.columns @ beside(chooser, at.columns))[:, None, :]
    return _move(at, here, direction, change, gradient)


def _hessian(at: WorkingSet, p: Array) -> NDArray[np.float64]:
    xp = array_namespace(p)
    share = at.batch.share
    if p.shape[2] == 1:
        p = p[:, 0, :]
        scaled = at.columns * xp.sqrt(share * p * (1.0 - p))
        return to_host(scaled.T @ scaled)
    of_entry = xp.take(p[:, 0, :], beside(at.of_class, p), axis=1)
    within = at.columns * xp.sqrt(share * of_entry)
    across = at.columns * xp.sqrt(share) * of_entry
    is_same = at.of_class[:, None] == at.of_class
    return np.where(is_same, to_host(within.T @ within), 0.0) - to_host(across.T @ across)


def _move(
    at: WorkingSet, here: Point, direction: NDArray[np.float64], change: Array, gradient: NDArray[np.float64]
) -> Point | None:
    """Backtrack along the direction."""

    def penalty(u: NDArray[np.float64]) -> float:
        return float(at.l1 @ np.abs(u) + 0.5 * at.l2 @ (u * u))

    value = here.loss + penalty(here.u)
    linear = float(gradient @ direction + at.l1 @ (np.abs(here.u + direction) - np.abs(here.u)))
    if not linear < 0:
        return None
    length = 1.0
    for _ in range(MAX_HALVINGS):
        u, logits = here.u + length * direction, here.logits + length * change
        loss = mean_loss(at.batch, logits)
        if loss + penalty(u) <= value + SUFFICIENT_DECREASE * length * linear + ROUNDING * max(1.0, abs(value)):
            return Point(u, logits, loss)
        length *= 0.5
    return None


def mean_loss(batch: Batch, logits: Array) -> float:
    """Weighted mean loss of a batch of one block."""
    return float(batch.data_value(logits)[0])


def duality_gap(
    batch: Batch,
    here: Point,
    p: Array,
    *,
    pull: NDArray[np.float64],
    l1: NDArray[np.float64],
    l2: NDArray[np.float64],
) -> float:
    """P - D of one block, u, pull (the gradient of its loss), l1 and l2 being of all that is penalised.

    With l2 > 0 (elastic net), D = sum_i s_i H(p_i) + <R, o> - sum_j (|pull_j| - l1_j)_+^2 / (2 l2_j), and P - D is
    a sum of terms that are not negative, one per entry. With l2 = 0 the dual point must satisfy |pull| <= l1:
    residuals R are scaled by c = min(1, min_j l1_j / |pull_j|), which makes p' = (1 - c) t + c p. Both need a free
    bias at its minimum.
    """
    u = here.u
    if float(l2[0]) > 0:
        excess = np.maximum(np.abs(pull) - l1, 0.0)
        return float(np.sum(pull * u + l1 * np.abs(u) + 0.5 * l2 * u * u + excess * excess / (2 * l2)))
    xp = array_namespace(p)
    largest = float(np.max(np.abs(pull) / l1))
    c = 1.0 if largest <= 1.0 else 1.0 / largest
    mixed = (1.0 - c) * batch.target + c * p
    along = xp.sum(batch.share[:, :, None] * (p - batch.target) * batch.offset)
    dual = float(xp.sum(batch.share * entropies(mixed))) + c * float(along)
    gap = here.loss + float(l1 @ np.abs(u)) - dual
    # Two sums near 1 are subtracted: what is left below their rounding says nothing.
    return max(gap, 0.0) if math.isfinite(gap) else math.inf
