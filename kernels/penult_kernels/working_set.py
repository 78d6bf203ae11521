"""One L1 or elastic-net problem on a few of its columns: proximal Newton.

An entry of the working set is a pair (class column c, feature j), the bias being feature D with a column of
ones. With z the entries' columns (n, k) and s, p weights and probabilities,

    H = sum_i s_i z_ia z_ib (p_ic [c_a = c_b] - p_i c_a p_i c_b)      binary: sum_i s_i p_i (1 - p_i) z_ia z_ib

Each step minimises the quadratic model with the l1 penalty exactly (quadratic_lasso) and is cut back until the
objective decreases enough (Lee, Sun & Saunders 2014, algorithm 1).
"""

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.batch_newton import settle_bias
from penult_kernels.logit_loss import entropies, losses, probabilities
from penult_kernels.quadratic_lasso import minimize_quadratic
from penult_kernels.refit_batch import Batch

MAX_STEPS = 60
MAX_HALVINGS = 40
SUFFICIENT_DECREASE = 1e-4
ROUNDING = 2.0**-50


@dataclass(slots=True, kw_only=True, eq=False)
class WorkingSet:
    """The entries of one block that may differ from zero, and where they are."""

    batch: Batch
    """Of this block alone."""
    columns: Array
    """(n, k) the entries' columns in the space solved."""
    of_class: NDArray[np.int64]
    """(k,) class column of each entry."""
    is_bias: NDArray[np.bool_]
    """(k,)."""
    l1: NDArray[np.float64]
    """(k,) zero for a free bias."""
    l2: NDArray[np.float64]
    """(k,)."""
    u: NDArray[np.float64]
    """(k,) the entries."""
    logits: Array
    """(n, 1, q) with the offset."""


def solve_working_set(at: WorkingSet, gap: float) -> int:
    """Minimise over the entries, in place, until the duality gap of this restricted problem is at most `gap`.

    Returns the Newton steps taken; fewer decimals than asked for where rounding ends the descent.
    """
    q = at.logits.shape[2]
    chooser = np.eye(q)[at.of_class]
    for step in range(MAX_STEPS):
        _settle(at)
        p = probabilities(at.logits)
        data_gradient = _gradient(at, p)
        if _restricted_gap(at, p, data_gradient) <= gap:
            return step
        hessian = _hessian(at, p) + np.diag(at.l2)
        gradient = data_gradient + at.l2 * at.u
        goal = minimize_quadratic(hessian, gradient, at.u, at.l1)
        direction = goal - at.u
        change = (at.columns @ beside(direction[:, None] * chooser, at.columns))[:, None, :]
        if not _move(at, direction, change, gradient):
            return step
    return MAX_STEPS


def _settle(at: WorkingSet) -> None:
    """A free bias to its exact minimum, which the gap needs: no product with the columns."""
    if not at.is_bias.any() or float(at.l1[at.is_bias][0]) > 0 or float(at.l2[at.is_bias][0]) > 0:
        return
    bias = beside(at.u[at.is_bias][None, :, None], at.columns)
    bias, at.logits = settle_bias(at.batch, bias, at.logits)
    at.u[at.is_bias] = to_host(bias)[0, :, 0]


def _gradient(at: WorkingSet, p: Array) -> NDArray[np.float64]:
    residuals = (at.batch.share[:, :, None] * (p - at.batch.target))[:, 0, :]
    return to_host(at.columns.T @ residuals)[np.arange(at.u.size), at.of_class]


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


def _move(at: WorkingSet, direction: NDArray[np.float64], change: Array, gradient: NDArray[np.float64]) -> bool:
    """Backtrack along the direction; False when nothing is gained."""

    def penalty(u: NDArray[np.float64]) -> float:
        return float(at.l1 @ np.abs(u) + 0.5 * at.l2 @ (u * u))

    value = data_value(at.batch, at.logits) + penalty(at.u)
    linear = float(gradient @ direction + at.l1 @ (np.abs(at.u + direction) - np.abs(at.u)))
    if not linear < 0:
        return False
    length = 1.0
    for _ in range(MAX_HALVINGS):
        u, logits = at.u + length * direction, at.logits + length * change
        reached = data_value(at.batch, logits) + penalty(u)
        if reached <= value + SUFFICIENT_DECREASE * length * linear + ROUNDING * max(1.0, abs(value)):
            at.u, at.logits = u, logits
            return True
        length *= 0.5
    return False


def data_value(batch: Batch, logits: Array) -> float:
    """Weighted mean loss of a batch of one block."""
    return float(batch.data_value(logits)[0])


def _restricted_gap(at: WorkingSet, p: Array, data_gradient: NDArray[np.float64]) -> float:
    is_penalised = (at.l1 > 0) | (at.l2 > 0)
    return duality_gap(
        at.batch,
        at.logits,
        p,
        pull=data_gradient[is_penalised],
        u=at.u[is_penalised],
        l1=at.l1[is_penalised],
        l2=at.l2[is_penalised],
    )


def duality_gap(
    batch: Batch,
    logits: Array,
    p: Array,
    *,
    pull: NDArray[np.float64],
    u: NDArray[np.float64],
    l1: NDArray[np.float64],
    l2: NDArray[np.float64],
) -> float:
    """P - D of one block at the penalised entries u, with `pull` the gradient of its loss in them.

    With l2 > 0 (elastic net), D = sum_i s_i H(p_i) + <R, o> - sum_j (|pull_j| - l1_j)_+^2 / (2 l2_j), and P - D is
    a sum of terms that are not negative, one per entry. With l2 = 0 the dual point must satisfy |pull| <= l1:
    residuals R are scaled by c = min(1, min_j l1_j / |pull_j|), which makes p' = (1 - c) t + c p. Both need a free
    bias at its minimum.
    """
    xp = array_namespace(logits)
    if l2.size and float(l2[0]) > 0:
        excess = np.maximum(np.abs(pull) - l1, 0.0)
        return float(np.sum(pull * u + l1 * np.abs(u) + 0.5 * l2 * u * u + excess * excess / (2 * l2)))
    largest = float(np.max(np.abs(pull) / l1, initial=0.0))
    c = 1.0 if largest <= 1.0 else 1.0 / largest
    primal = xp.sum(batch.share * losses(logits, batch.target))
    mixed = (1.0 - c) * batch.target + c * p
    residuals = batch.share[:, :, None] * (p - batch.target)
    dual = xp.sum(batch.share * entropies(mixed)) + c * xp.sum(residuals * batch.offset)
    gap = float(primal) - float(dual) + float(l1 @ np.abs(u))
    # Two sums near 1 are subtracted: what is left below their rounding says nothing.
    return max(gap, 0.0) if math.isfinite(gap) else math.inf
