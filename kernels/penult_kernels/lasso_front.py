"""Where many binary problems with an l1 stand, and how far from their optima at most.

Of a head u with logits z and of probabilities p, with residuals R = diag(s) (p - t) and slopes Z^T R:

    objective   sum_i s_i loss_i + sum_j l1_j |u_j| + l2_j / 2 u_j^2
    dual        sum_i s_i H(t_i + c (p_i - t_i)) + c <R, o> - sum_j (|slope_j| - l1_j)_+^2 / (2 l2_j)

where c = 1 with l2, and without it the largest c <= 1 that makes all c |slope_j| <= l1_j; a free bias needs <R, 1> = 0.
Any p will do: those of a head, or better ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.logit_loss import entropies, losses, probabilities
from penult_kernels.refit_blocks import Block
from penult_kernels.refit_problem import Intercept
from penult_kernels.shared_columns import OwnColumns, SharedColumns

Vector = NDArray[np.float64]

SMALLEST_P = 1e-12
SMALLEST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Front:
    """Where B blocks stand, on the host; E = D + 1 entries, rows padded by such of no weight."""

    members: Sequence[Block]
    columns: Sequence[OwnColumns]
    share: Vector
    """(B, n)."""
    target: Vector
    """(B, n)."""
    offset: Vector
    """(B, n)."""
    l1: Vector
    """(B, E) zero for a free bias."""
    l2: Vector
    """(B, E)."""
    u: Vector
    """(B, E)."""
    logits: Vector
    """(B, n) of u, with the offset."""
    p: Vector
    """(B, n) of the linearisation; sigmoid(logits) only at the start."""
    signs: Vector
    """(B, E) of the support."""
    slope: Vector
    """(B, E) Z^T diag(s) (p - t), zero for a bias that is not fitted."""
    best_u: Vector
    """(B, E) of the lowest objective so far."""
    best_logits: Vector
    """(B, n)."""
    objective: Vector
    """(B,) the lowest so far."""
    dual: Vector
    """(B,) the highest so far."""
    steps: NDArray[np.int64]
    """(B,)."""

    @property
    def gap(self) -> Vector:
        """(B,)."""
        return np.maximum(self.objective - self.dual, 0.0)

    def is_wide(self) -> NDArray[np.bool_]:
        """(B,) which blocks have come to float64."""
        return np.asarray([own.is_wide for own in self.columns])

    def widen(self, index: int, u: Vector) -> None:
        """One block to float64: from now on its objective is that of `u` (E,)."""
        columns, at = self.columns[index], np.asarray([index])
        columns.widen()
        support = np.flatnonzero(u)
        self.u[index] = self.best_u[index] = u
        self.logits[index] = self.offset[index] + columns.logits(columns.slots(support), u[support])
        self.best_logits[index] = self.logits[index]
        self.objective[at] = objectives(self, at)

    def has(self, intercept: Intercept) -> NDArray[np.bool_]:
        """(B,)."""
        return np.asarray([block.intercept is intercept for block in self.members])


def make_front(shared: SharedColumns, members: Sequence[Block]) -> Front:
    u, l1, l2 = (np.stack(parts) for parts in zip(*(_entries(shared, block) for block in members), strict=True))
    share = _padded([block.share() for block in members])
    target = _padded([block.target()[:, 0] for block in members])
    offset = _padded([block.offset()[:, 0] for block in members])
    columns = [OwnColumns(shared, block, share.shape[1]) for block in members]
    logits = offset.copy()
    for one, own, start in zip(logits, columns, u, strict=True):
        support = np.flatnonzero(start)
        one += own.logits(own.slots(support), start[support])
    return Front(
        members=members,
        columns=columns,
        share=share,
        target=target,
        offset=offset,
        l1=l1,
        l2=l2,
        u=u,
        logits=logits,
        p=np.clip(sigmoid(logits), SMALLEST_P, 1 - SMALLEST_P),
        signs=np.sign(u),
        slope=np.zeros_like(u),
        best_u=u.copy(),
        best_logits=logits.copy(),
        objective=np.full(len(members), math.inf),
        dual=np.full(len(members), -math.inf),
        steps=np.zeros(len(members), np.int64),
    )


def _entries(shared: SharedColumns, block: Block) -> tuple[Vector, Vector, Vector]:
    """Start, l1 and l2 of every entry (E,)."""
    n_entries = shared.features.shape[1] + 1
    of_bias = block.bias_penalty
    l1, l2 = np.full(n_entries, block.l1), np.full(n_entries, block.l2)
    l1[-1], l2[-1] = block.l1 * of_bias, block.l2 * of_bias**2
    u = np.zeros(n_entries) if block.start is None else to_host(block.start)[0].copy()
    if block.intercept is Intercept.NONE:
        u[-1] = 0.0
    return u, l1, l2


def _padded(parts: Sequence[Vector]) -> Vector:
    whole = np.zeros((len(parts), max(part.size for part in parts)))
    for one, part in zip(whole, parts, strict=True):
        one[: part.size] = part
    return whole


def slopes_at(shared: SharedColumns, front: Front, active: NDArray[np.int64], p: Vector) -> Vector:
    residuals = front.share[active] * (p - front.target[active])
    members = [front.members[int(index)] for index in active]
    slopes = shared.slopes(members, residuals)
    slopes[front.has(Intercept.NONE)[active], -1] = 0.0
    return slopes


def balanced(front: Front, active: NDArray[np.int64], p: Vector) -> Vector:
    """p where a free bias has slope zero: residuals of one sign, the heavier one, are scaled down."""
    is_free = front.has(Intercept.FREE)[active]
    if not is_free.any():
        return p
    target = front.target[active]
    residual = front.share[active] * (p - target)
    above: Vector = np.sum(np.maximum(residual, 0.0), axis=1, keepdims=True)
    below: Vector = np.sum(np.maximum(-residual, 0.0), axis=1, keepdims=True)
    lighter = np.minimum(above, below)
    of_above, of_below = lighter / np.maximum(above, SMALLEST), lighter / np.maximum(below, SMALLEST)
    factor = np.where(residual > 0, of_above, of_below)
    return target + (p - target) * np.where(is_free[:, None], factor, 1.0)


def dual_values(front: Front, active: NDArray[np.int64], p: Vector, slope: Vector) -> Vector:
    """D (B,) of residuals that are scaled until they are feasible; with l2 they are, and their excess costs."""
    share, target, l1, l2 = front.share[active], front.target[active], front.l1[active], front.l2[active]
    steepness = np.abs(slope)
    has_l2 = l2[:, 0] > 0
    excess = np.where(l1 > 0, np.maximum(steepness - l1, 0.0), 0.0)
    cost = np.sum(excess * excess / np.where(l2 > 0, 2 * l2, math.inf), axis=1)
    largest = np.max(steepness / np.where(l1 > 0, l1, math.inf), axis=1)
    c = np.where(has_l2, 1.0, 1.0 / np.maximum(largest, 1.0))
    along = np.sum(share * (p - target) * front.offset[active], axis=1)
    mixed = target + c[:, None] * (p - target)
    return np.sum(share * entropies(mixed[:, :, None]), axis=1) + c * along - cost


def objectives(front: Front, active: NDArray[np.int64]) -> Vector:
    u = front.u[active]
    loss = losses(front.logits[active][:, :, None], front.target[active][:, :, None])
    penalty = front.l1[active] * np.abs(u) + 0.5 * front.l2[active] * u * u
    return np.sum(front.share[active] * loss, axis=1) + np.sum(penalty, axis=1)


def sigmoid(logits: Vector) -> Vector:
    return probabilities(logits[:, :, None])[:, :, 0]


def subgradient_norms(front: Front, slope: Vector) -> Vector:
    """Of the smallest subgradients at the best heads (B,)."""
    u = front.best_u
    smooth = slope + front.l2 * u
    moving = smooth + front.l1 * np.sign(u)
    resting = np.maximum(np.abs(smooth) - front.l1, 0.0)
    return np.linalg.norm(np.where(u != 0, moving, resting), axis=1)
