"""L1 and elastic net for a batch of problems: proximal Newton on working sets, all certificates from one product.

A round takes the whole gradient of all blocks in one pass over the rows. That gives each block's duality gap, and
the entries with the largest gradients, which join its support in a working set (Massias, Gramfort & Salmon 2018) for
one step. Blocks whose gap is small enough leave. One step a round: a gradient costs less than the Hessian of a step,
and steps on a working set that is still wrong are lost.

An entry of the working set is a pair (class column c, feature j), the bias being feature D with a column of ones.
With z the entries' columns (n, k) and s, p weights and probabilities,

    H_ab = sum_i s_i z_ia z_ib (p_i,ca [ca = cb] - p_i,ca p_i,cb)      binary: sum_i s_i p_i (1 - p_i) z_ia z_ib

The step minimises the quadratic model with the l1 penalty exactly (`l1.quadratic`) and is cut back until the
objective decreases enough (Lee, Sun & Saunders 2014, algorithm 1). Everything is on the host.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.block_fit import BlockFit
from penult_kernels.linear.blocks.batch import Batch, make_batch, starting_point
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.control import StopRule, fits
from penult_kernels.linear.intercept import minimize_intercept
from penult_kernels.linear.l1.dual import Penalty, Rows, dual_values, entry_penalties, subgradient_norms
from penult_kernels.linear.l1.quadratic import minimize_quadratic
from penult_kernels.linear.line_search import backtrack
from penult_kernels.loss import probabilities

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

FEWEST_JOINING = 50
"""The limit on entries that join the support of a block in a round is at least this."""
JOINING_FRACTION = 0.25
"""The limit on entries that join in a round is this fraction of the support, if above `FEWEST_JOINING`."""
NEAR = 0.7
"""Entries whose gradient is below this fraction of their l1 do not join."""


@dataclass(slots=True, kw_only=True, eq=False)
class _State:
    """Iterate and bounds of one block."""

    index: int
    batch: Batch
    """The batch of this block alone."""
    theta: Floats
    """(q, D + 1)."""
    logits: Floats
    """(n, 1, q) with the offset."""
    penalty: Penalty
    """The penalty of the entries (1, q (D + 1))."""
    gradient: Floats
    """(q, D + 1) gradient of the loss."""
    p: Floats = field(default_factory=lambda: np.zeros(0))
    """(n, 1, q)."""
    loss: float = math.inf
    objective: float = math.inf
    dual: float = -math.inf
    """The highest dual value so far."""
    steps: int = 0
    passes: int = 1
    is_stuck: bool = False

    @property
    def u(self) -> Floats:
        """(1, q (D + 1)) the entries of theta."""
        return self.theta.reshape(1, -1)

    @property
    def gap(self) -> float:
        return max(self.objective - self.dual, 0.0)

    @property
    def is_fitted(self) -> bool:
        """Whether there is a bias."""
        return float(self.batch.is_fitted[0]) > 0


def proximal_newton(
    features: NDArray[np.floating], members: Sequence[Block], stop: StopRule, start: Floats | None = None
) -> list[BlockFit]:
    """Minimise blocks with an l1, over the same rows and with equally many columns; the gap is the duality gap.

    `start` (B, q, D + 1) replaces the starts of the blocks.
    """
    batch = make_batch(features, members, dense=fits(members[0], int(features.shape[1])))
    states = _states(batch, members, batch.mask(starting_point(features, members) if start is None else start))
    active = states
    for rounds in range(stop.max_iterations + 1):
        stop.check()
        _certify(batch, active)
        active = [state for state in active if state.gap > stop.limit and not state.is_stuck]
        if stop.unwanted is not None:
            leaves = stop.unwanted()
            active = [state for state in active if not bool(leaves[state.index])]
        left = np.ones(len(members), np.bool_)
        left[[state.index for state in active]] = False
        stop.left(left)
        if not active or rounds == stop.max_iterations:
            break
        for state in active:
            _step(state)
    return [_fit(state, stop.limit) for state in states]


def _states(batch: Batch, members: Sequence[Block], start: Floats) -> list[_State]:
    logits: Floats = batch.logits(start) + batch.offset
    states: list[_State] = []
    for index, (block, theta) in enumerate(zip(members, start, strict=True)):
        one = entry_penalties(block, theta.shape[1])
        states.append(
            _State(
                index=index,
                batch=batch.take(np.asarray([index], np.int64)),
                theta=theta.copy(),
                logits=logits[:, index : index + 1, :],
                penalty=Penalty(*(np.tile(values, theta.shape[0])[None, :] for values in (one.l1, one.l2))),
                gradient=np.zeros_like(theta),
            )
        )
    return states


def _certify(batch: Batch, active: Sequence[_State]) -> None:
    """Free biases to their minimum, all gradients in one pass, and the gap of every active block."""
    for state in active:
        bias, state.logits = minimize_intercept(state.batch, state.theta[None, :, -1:], state.logits)
        state.theta[:, -1:] = bias[0]
        state.loss = float(state.batch.data_value(state.logits)[0])
        state.p = probabilities(state.logits)
    residuals = np.concatenate(
        [state.batch.sample_weight[:, :, None] * (state.p - state.batch.target) for state in active], axis=1
    )
    part = batch if len(active) == batch.n_blocks else batch.take(np.asarray([state.index for state in active]))
    for state, gradient in zip(active, part.adjoint(residuals), strict=True):
        state.gradient = gradient
        state.passes += 1
        state.objective = state.loss + float(state.penalty.values(state.u)[0])
        own = state.batch
        rows = Rows(own.sample_weight.T, own.target.swapaxes(0, 1), own.offset.swapaxes(0, 1))
        dual = dual_values(rows, state.p.swapaxes(0, 1), gradient.reshape(1, -1), state.penalty)
        state.dual = max(state.dual, float(dual[0]))


def _step(state: _State) -> None:
    """Choose the working set by the gradients, and take one step on it."""
    chosen = _chosen(state)
    classes, features = np.nonzero(chosen)
    at = np.flatnonzero(chosen)
    penalty = Penalty(state.penalty.l1[:, at], state.penalty.l2[:, at])
    columns: Floats = state.batch.columns(features)
    u = state.theta[chosen]
    hessian = _hessian(state, columns, classes)
    hessian.flat[:: u.size + 1] += penalty.l2[0]
    gradient = state.gradient[chosen] + penalty.l2[0] * u
    direction = minimize_quadratic(hessian, gradient, u, penalty.l1[0]) - u
    chooser = np.zeros((u.size, state.theta.shape[0]))
    chooser[np.arange(u.size), classes] = direction
    change = (columns @ chooser)[:, None, :]

    def objective(length: Floats) -> Floats:
        return state.batch.data_value(state.logits, change, length) + penalty.values(u + length * direction)

    derivative = gradient @ direction + penalty.l1 @ (np.abs(u + direction) - np.abs(u))
    length = float(backtrack(objective, value=state.loss + penalty.values(u), derivative=derivative)[0])
    if length == 0.0:
        # The point is optimal to rounding.
        state.is_stuck = True
        return
    state.steps += 1
    state.logits = state.logits + length * change
    state.theta[chosen] = u + length * direction


def _chosen(state: _State) -> NDArray[np.bool_]:
    """(q, D + 1): the support, the fitted biases, and the entries with the largest gradients that may join."""
    support = state.theta[:, :-1] != 0
    magnitude = np.abs(state.gradient[:, :-1])
    magnitude[support] = 0.0
    most = max(FEWEST_JOINING, int(JOINING_FRACTION * np.count_nonzero(support)))
    threshold = NEAR * float(state.penalty.l1[0, 0])
    if most < magnitude.size:
        last = magnitude.size - most
        threshold = max(threshold, float(np.partition(magnitude, last, axis=None)[last]))
    bias = np.full((support.shape[0], 1), state.is_fitted)
    return np.concatenate([support | (magnitude >= threshold), bias], axis=1)


def _hessian(state: _State, columns: Floats, of_class: Positions) -> Floats:
    """(k, k) of the loss in the entries of a working set."""
    weight, p = state.batch.sample_weight, state.p[:, 0, :]
    if p.shape[1] == 1:
        scaled = columns * np.sqrt(weight * p * (1.0 - p))
        return scaled.T @ scaled
    of_entry = np.take(p, of_class, axis=1)
    within = columns * np.sqrt(weight * of_entry)
    across = columns * np.sqrt(weight) * of_entry
    is_same = of_class[:, None] == of_class
    return np.where(is_same, within.T @ within, 0.0) - across.T @ across


def _fit(state: _State, limit: float) -> BlockFit:
    return BlockFit(
        theta=state.theta,
        gap=state.gap,
        gradient_norm=float(subgradient_norms(state.u, state.gradient.reshape(1, -1), state.penalty)[0]),
        iterations=state.steps,
        passes=state.passes,
        objective=state.objective,
        converged=state.gap <= limit,
    )
