"""One block with an l1 while it is solved with a shared curvature: its best head, its next one, and its model.

The model of the loss about the best head u is

    g^T d + d^T (M + A) d / 2

with the exact gradient g, the shared Hessian M and the corrections A of this block (BFGS), by which it has the
curvature that the block's own steps have shown. A step that does not lower the objective is not taken, but teaches the
model as well.

Shapes: n rows, E = D + 1 entries.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.block_fit import BlockFit
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.l1.dual import (
    SMALLEST,
    Penalty,
    Rows,
    balanced,
    dual_values,
    entry_penalties,
    subgradient_norms,
)
from penult_kernels.linear.l1.quadratic import minimize_quadratic
from penult_kernels.linear.problem import Intercept
from penult_kernels.loss import probabilities

Floats = NDArray[np.float64]

FLOAT32_ABOVE = 30.0
"""Multiple of the limit above which products are float32."""
PATIENCE = 6
"""Steps in which the gap must shrink by the factor `SHRINKING`: else float32 ends, and after float64 the solve."""
SHRINKING = 0.5
"""Factor by which the gap must shrink in `PATIENCE` steps."""
NEAR = 0.7
"""Entries whose gradient is below this fraction of their l1 do not join a step."""
BIAS_STEPS = 4
"""Newton steps of a free bias at most; it is near its minimum when they begin."""
EXACT_BIAS = 1e-9
"""A step of the bias of at most this is the last."""
SMALLEST_CURVATURE = 1e-8
"""Curvature seen along a step, as a fraction of the model's, below which the model learns nothing from it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """A head and what is known of it."""

    u: Floats
    """(E,), with a free bias at its minimum."""
    gradient: Floats
    """(E,) of the loss."""
    objective: float


@dataclass(slots=True, kw_only=True, eq=False)
class DrawState:
    """The best point of one block, the head to be evaluated next, and the model of the block."""

    rows: Rows
    """Rows of the block, B = 1."""
    penalty: Penalty
    """(1, E)."""
    intercept: Intercept
    shared: Floats
    """(E, E): M."""
    trial: Floats
    """(E,) the head that is evaluated next."""
    best: _Point | None = None
    dual: float = -math.inf
    """The highest dual value so far, in the present precision."""
    p: Floats = field(default_factory=lambda: np.zeros((1, 0, 1)))
    """(1, n, 1) probabilities of the trial head, while it is evaluated."""
    loss: float = math.inf
    """The loss of the trial head."""
    corrections: list[tuple[float, Floats]] = field(default_factory=list[tuple[float, Floats]])
    """A is the sum of sign v v^T."""
    gaps: list[float] = field(default_factory=list[float])
    """After each evaluation in the present precision."""
    is_float32: bool = True
    steps: int = 0
    passes: int = 0

    @property
    def gap(self) -> float:
        return math.inf if self.best is None else max(self.best.objective - self.dual, 0.0)

    def residuals(self, logits: Floats) -> Floats:
        """(n,) at the logits of the trial head without offset, after its bias has been brought to its minimum."""
        logits = logits[None, :, None] + self.rows.offset
        is_free = self.intercept is Intercept.FREE
        if is_free:
            shift = _bias_shift(self.rows, logits)
            self.trial[-1] += shift
            logits += shift
        p = probabilities(logits)
        self.p = balanced(self.rows, p) if is_free else p
        self.loss = float(self.rows.losses(logits)[0])
        return (self.rows.sample_weight * (self.p - self.rows.target)[:, :, 0])[0]

    def take(self, gradient: Floats) -> None:
        """The evaluation of the trial head is complete: learn from it, and keep it if it is the best."""
        if self.intercept is Intercept.NONE:
            gradient[-1] = 0.0
        found = _Point(self.trial, gradient, self.loss + float(self.penalty.values(self.trial)[0]))
        self.dual = max(self.dual, float(dual_values(self.rows, self.p, gradient[None, :], self.penalty)[0]))
        self.passes += 2
        if self.best is not None:
            self._learn(found.u - self.best.u, found.gradient - self.best.gradient)
        if self.best is None or not self.gaps or found.objective < self.best.objective:
            self.best = found
        self.gaps.append(self.gap)

    def is_done(self, limit: float) -> bool:
        """Whether it has converged or stalled. In float32 it never is, but goes on in float64."""
        stalls = len(self.gaps) > PATIENCE and not self.gaps[-1] < SHRINKING * self.gaps[-1 - PATIENCE]
        if not self.is_float32:
            return stalls or (bool(self.gaps) and self.gap <= limit)
        if stalls or self.gap <= FLOAT32_ABOVE * limit:
            self.begin_again()
        return False

    def begin_again(self) -> None:
        """Evaluate in float64 from now on, first of all the best head."""
        assert self.best is not None
        self.trial = self.best.u.copy()
        self.is_float32, self.gaps, self.dual = False, [], -math.inf

    def step(self) -> None:
        """The next trial head: the minimum of the model over the support and the entries of large gradient."""
        assert self.best is not None
        u, l1, l2 = self.best.u, self.penalty.l1[0], self.penalty.l2[0]
        chosen = (u != 0) | (np.abs(self.best.gradient) > NEAR * l1)
        chosen[-1] |= self.intercept is Intercept.FREE
        chosen = np.flatnonzero(chosen)
        self.steps += 1
        if not chosen.size:
            # Zero is the optimum, and no float64 product has certified it yet.
            self.trial = u.copy()
            return
        model = self.shared[np.ix_(chosen, chosen)]
        if self.corrections:
            signs = np.asarray([sign for sign, _ in self.corrections])
            vectors = np.stack([vector[chosen] for _, vector in self.corrections])
            model += (vectors.T * signs) @ vectors
        model.flat[:: chosen.size + 1] += l2[chosen]
        self.trial = np.zeros_like(u)
        gradient = self.best.gradient[chosen] + l2[chosen] * u[chosen]
        self.trial[chosen] = minimize_quadratic(model, gradient, u[chosen], l1[chosen])

    def fit(self, limit: float) -> BlockFit:
        """The best head and its certificate."""
        assert self.best is not None
        u, gradient = self.best.u[None, :], self.best.gradient[None, :]
        is_certified = not self.is_float32 and bool(self.gaps)
        return BlockFit(
            theta=u,
            gap=self.gap,
            gradient_norm=float(subgradient_norms(u, gradient, self.penalty)[0]),
            iterations=self.steps,
            passes=self.passes,
            objective=self.best.objective,
            converged=is_certified and self.gap <= limit,
        )

    def _learn(self, change: Floats, of_gradient: Floats) -> None:
        """Correct the model so that it has the curvature seen along a change of the head (BFGS)."""
        expected = self.shared @ change
        for sign, vector in self.corrections:
            expected += sign * float(vector @ change) * vector
        curvature, seen = float(change @ expected), float(change @ of_gradient)
        if seen > SMALLEST_CURVATURE * curvature > 0:
            self.corrections += [(-1.0, expected / math.sqrt(curvature)), (1.0, of_gradient / math.sqrt(seen))]


def draw_state(block: Block, shared: Floats, start: Floats) -> DrawState:
    """A block that begins at a head (E,)."""
    penalty = entry_penalties(block, start.size)
    n_rows = block.n_used
    # What is the same for all rows is not kept for each.
    weight = np.broadcast_to(1.0 / n_rows, n_rows) if block.weight is None else block.sample_weight()
    offset = np.broadcast_to(0.0, (n_rows, 1)) if block.full_offset is None else block.offset()
    return DrawState(
        rows=Rows(weight[None, :], block.target()[None, :, :], offset[None, :, :]),
        penalty=Penalty(penalty.l1[None, :], penalty.l2[None, :]),
        intercept=block.intercept,
        shared=shared,
        trial=start.copy(),
    )


def _bias_shift(rows: Rows, logits: Floats) -> float:
    """What added to the logits (1, n, 1) brings the loss to its minimum, by Newton's method."""
    total = 0.0
    for _ in range(BIAS_STEPS):
        p = probabilities(logits + total)[0, :, 0]
        weight = rows.sample_weight[0]
        curvature = float(weight @ (p * (1.0 - p)))
        shift = -float(weight @ (p - rows.target[0, :, 0])) / max(curvature, SMALLEST)
        total += min(max(shift, -1.0), 1.0)
        if abs(shift) <= EXACT_BIAS:
            break
    return total
