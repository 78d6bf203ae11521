"""Objective, dual value and subgradient of problems with an l1, whose difference certifies heads; on the host.

B problems have sample weights s, targets t and offsets o of their n rows. A head u has logits Z u + o; probabilities p
have residuals R = diag(s) (p - t) and the gradient Z^T R. A head is flat, with k entries that include the biases:

    objective   sum_i s_i loss_i + sum_j l1_j |u_j| + l2_j / 2 u_j^2
    dual        sum_i s_i H(t_i + c (p_i - t_i)) + c <R, o> - sum_j (|gradient_j| - l1_j)_+^2 / (2 l2_j)

where c = 1 with l2, and without it the largest c <= 1 that makes all c |gradient_j| <= l1_j; a free bias needs gradient
zero. Any p will do: those of a head, or better ones.

Shapes: B problems, n rows, q columns, k = q (D + 1) entries.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.loss import entropies, losses

Floats = NDArray[np.float64]

SMALLEST = float(np.finfo(np.float64).tiny)
"""Replaces a divisor of zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Penalty:
    """The l1 and l2 of each entry of B heads."""

    l1: Floats
    """(B, k); 0 for a bias that is not penalised."""
    l2: Floats
    """(B, k)."""

    def of(self, chosen: NDArray[np.integer]) -> "Penalty":
        """The penalty of some problems."""
        return Penalty(self.l1[chosen], self.l2[chosen])

    def values(self, u: Floats) -> Floats:
        """The penalties (B,) of heads (B, k)."""
        return np.sum(self.l1 * np.abs(u) + 0.5 * self.l2 * u * u, axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Sample weights, targets and offsets of the rows of B problems."""

    sample_weight: Floats
    """(B, n), sum 1; problems with fewer rows are padded with weights of 0."""
    target: Floats
    """(B, n, q)."""
    offset: Floats
    """(B, n, q)."""

    def of(self, chosen: NDArray[np.integer]) -> "Rows":
        """The rows of some problems."""
        return Rows(self.sample_weight[chosen], self.target[chosen], self.offset[chosen])

    def losses(self, logits: Floats) -> Floats:
        """Weighted mean losses (B,) of logits (B, n, q) that include the offset."""
        return np.sum(self.sample_weight * losses(logits, self.target), axis=1)


def entry_penalties(block: Block, n_entries: int) -> Penalty:
    """l1 and l2 (D + 1,) of the entries of one column."""
    of_bias = block.bias_penalty
    l1, l2 = np.full(n_entries, block.l1), np.full(n_entries, block.l2)
    l1[-1], l2[-1] = block.l1 * of_bias, block.l2 * of_bias**2
    return Penalty(l1, l2)


def dual_values(rows: Rows, p: Floats, gradient: Floats, penalty: Penalty) -> Floats:
    """Lower bounds (B,) of the optima. Without l2, residuals are scaled to be feasible; with l2 they always are."""
    l1, l2, magnitude = penalty.l1, penalty.l2, np.abs(gradient)
    excess = np.where(l1 > 0, np.maximum(magnitude - l1, 0.0), 0.0)
    cost = np.sum(excess * excess / np.where(l2 > 0, 2 * l2, math.inf), axis=1)
    largest = np.max(magnitude / np.where(l1 > 0, l1, math.inf), axis=1)
    c = np.where(l2[:, 0] > 0, 1.0, 1.0 / np.maximum(largest, 1.0))
    change = p - rows.target
    along = np.sum(rows.sample_weight[:, :, None] * change * rows.offset, axis=(1, 2))
    mixed = rows.target + c[:, None, None] * change
    return np.sum(rows.sample_weight * entropies(mixed), axis=1) + c * along - cost


def balanced(rows: Rows, p: Floats) -> Floats:
    """p (B, n, 1) changed so that R sums to zero, as a free bias needs: the heavier sign of R is scaled down."""
    change = p - rows.target
    residual = rows.sample_weight[:, :, None] * change
    above: Floats = np.sum(np.maximum(residual, 0.0), axis=1, keepdims=True)
    below: Floats = np.sum(np.maximum(-residual, 0.0), axis=1, keepdims=True)
    lighter = np.minimum(above, below)
    factor = np.where(residual > 0, lighter / np.maximum(above, SMALLEST), lighter / np.maximum(below, SMALLEST))
    return rows.target + change * factor


def subgradient_norms(u: Floats, gradient: Floats, penalty: Penalty) -> Floats:
    """Norms (B,) of the smallest subgradients of the objectives at heads (B, k) with gradients (B, k) of the loss."""
    smooth = gradient + penalty.l2 * u
    moving = smooth + penalty.l1 * np.sign(u)
    resting = np.maximum(np.abs(smooth) - penalty.l1, 0.0)
    return np.linalg.norm(np.where(u != 0, moving, resting), axis=1)
