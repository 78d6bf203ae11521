"""One block with an l1 while it is solved with a shared curvature: its best head and its next one.

The trial head is a minimiser of the block's model about its best head (`l1.shared_model`). It is evaluated by what it
differs by from the best one: logits and gradient are those of the best head plus float32 products with the differences
of heads and of residuals. So rounding is relative to the step, and the gap can fall on. What the first, large steps
leave of it is taken away by evaluations of the head itself in float64: one on the way, and those at the end, which
certify. A trial that does not lower the objective is not taken, but teaches the model as well.

Shapes: n rows, E = D + 1 entries.
"""

import math
from dataclasses import dataclass, field, replace

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
from penult_kernels.linear.l1.pivoted import Corrections
from penult_kernels.linear.l1.shared_model import Asked, Lesson
from penult_kernels.linear.problem import Intercept
from penult_kernels.loss import probabilities

Floats = NDArray[np.float64]

RENEWED = 1e-5
"""Factor by which the gap falls from one evaluation in float64 to the next; at first it is taken as one nat."""
ROUNDING = 1e-5
"""Nats that float32 may have hidden: an evaluation in float64 replaces the best one of float32 if it is no worse."""
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


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """A head and what is known of it."""

    u: Floats
    """(E,), with a free bias at its minimum."""
    logits: Floats
    """(1, n, 1) with the offset."""
    residual: Floats
    """(n,)."""
    gradient: Floats
    """(E,) of the loss."""
    objective: float


@dataclass(slots=True, kw_only=True, eq=False)
class DrawState:
    """The best point of one block, and the head to be evaluated next."""

    rows: Rows
    """Rows of the block, B = 1."""
    penalty: Penalty
    """(1, E)."""
    intercept: Intercept
    trial: Floats
    """(E,) the head that is evaluated next."""
    best: _Point
    corrections: Corrections
    dual: float = -math.inf
    """The highest dual value so far, of evaluations in the present precision."""
    evaluated: tuple[_Point, Floats] | None = None
    """The trial head and a dual point (1, n, 1), while their gradient is still to come."""
    lesson: Lesson | None = None
    """What the latest evaluation has shown of the curvature."""
    gaps: list[float] = field(default_factory=list[float])
    """After each evaluation, and from the one on after which all are in float64."""
    is_exact: bool = False
    """Whether the trial head is evaluated in float64."""
    stays_exact: bool = False
    """Whether all further ones are."""
    is_certified: bool = False
    """Whether the best head and the dual value are of float64."""
    renewed: float = 1.0
    """The gap at the last evaluation in float64."""
    steps: int = 0
    passes: int = 0

    @property
    def gap(self) -> float:
        return max(self.best.objective - self.dual, 0.0)

    @property
    def difference(self) -> Floats:
        """(E,) the head whose logits are asked for: the trial itself in float64, else what it is more than the best."""
        return self.trial if self.is_exact else self.trial - self.best.u

    def residuals(self, logits: Floats) -> Floats:
        """(n,) at the logits of the difference, after the trial's bias has been brought to its minimum.

        In float32, what they differ by from those of the best head.
        """
        logits = logits[None, :, None] + (self.rows.offset if self.is_exact else self.best.logits)
        is_free = self.intercept is Intercept.FREE
        if is_free:
            shift = _bias_shift(self.rows, logits)
            self.trial[-1] += shift
            logits += shift
        p = probabilities(logits)
        p = balanced(self.rows, p) if is_free else p
        residual = (self.rows.sample_weight * (p - self.rows.target)[:, :, 0])[0]
        objective = float(self.rows.losses(logits)[0]) + float(self.penalty.values(self.trial)[0])
        self.evaluated = _Point(self.trial, logits, residual, self.best.gradient, objective), p
        return residual if self.is_exact else residual - self.best.residual

    def take(self, gradient: Floats) -> None:
        """The evaluation of the trial head is complete: learn from it, and keep it if it is the best."""
        assert self.evaluated is not None
        if not self.is_exact:
            gradient += self.best.gradient
        if self.intercept is Intercept.NONE:
            gradient[-1] = 0.0
        found, is_first = replace(self.evaluated[0], gradient=gradient), self.passes == 0
        dual = float(dual_values(self.rows, self.evaluated[1], gradient[None, :], self.penalty)[0])
        self.evaluated = None
        self.passes += 2
        change = (found.u - self.best.u, found.gradient - self.best.gradient)
        self.lesson = None if is_first else Lesson(*change, self.corrections)
        rounding = max(self.gap, ROUNDING) if math.isfinite(self.gap) else math.inf
        begins_again = self.is_exact and not self.is_certified and found.objective <= self.best.objective + rounding
        self.dual = dual if begins_again else max(self.dual, dual)
        if begins_again or found.objective < self.best.objective:
            self.best = found
        if begins_again or self.is_certified:
            self.is_certified = self.is_exact
        if self.is_certified:
            self.renewed = self.gap
        self.gaps.append(self.gap)

    def is_done(self, limit: float) -> bool:
        """Whether it has converged or stalled, which only float64 tells; and in which precision it goes on."""
        stalls = len(self.gaps) > PATIENCE and not self.gaps[-1] < SHRINKING * self.gaps[-1 - PATIENCE]
        if self.is_certified and (self.gap <= limit or (stalls and self.stays_exact)):
            return True
        if stalls:
            self.stays_exact, self.gaps = True, []
        before = self.gaps[-2] if len(self.gaps) > 1 else self.gap
        expected = self.gap * min(1.0, self.gap / max(before, SMALLEST))
        self.is_exact = self.stays_exact or expected <= limit or self.gap <= RENEWED * self.renewed
        return False

    def begin_again(self) -> None:
        """Evaluate the best head in float64."""
        self.trial, self.is_exact, self.is_certified, self.gaps = self.best.u.copy(), True, False, []

    def asked(self) -> Asked | None:
        """The model over the support and the entries of large gradient; None if there are none."""
        u, l1, l2 = self.best.u, self.penalty.l1[0], self.penalty.l2[0]
        chosen = (u != 0) | (np.abs(self.best.gradient) > NEAR * l1)
        chosen[-1] |= self.intercept is Intercept.FREE
        return Asked(u, self.best.gradient + l2 * u, chosen, self.corrections) if chosen.any() else None

    def step(self, u: Floats) -> None:
        """Go on to a trial head (E,)."""
        self.trial = u
        self.steps += 1

    def fit(self, limit: float) -> BlockFit:
        """The best head and its certificate."""
        u, gradient = self.best.u[None, :], self.best.gradient[None, :]
        return BlockFit(
            theta=u,
            gap=self.gap,
            gradient_norm=float(subgradient_norms(u, gradient, self.penalty)[0]),
            iterations=self.steps,
            passes=self.passes,
            objective=self.best.objective,
            converged=self.is_certified and self.gap <= limit,
        )


def draw_state(block: Block, start: Floats) -> DrawState:
    """A block that begins at a head (E,). What it differs from is the head of zeros, whose logits are the offset."""
    penalty = entry_penalties(block, start.size)
    n_rows = block.n_used
    # What is the same for all rows is not kept for each.
    weight = np.broadcast_to(1.0 / n_rows, n_rows) if block.weight is None else block.sample_weight()
    offset = np.broadcast_to(0.0, (n_rows, 1)) if block.full_offset is None else block.offset()
    rows = Rows(weight[None, :], block.target()[None, :, :], offset[None, :, :])
    nothing = np.zeros(start.size)
    return DrawState(
        rows=rows,
        penalty=Penalty(penalty.l1[None, :], penalty.l2[None, :]),
        intercept=block.intercept,
        trial=start.copy(),
        best=_Point(nothing, rows.offset, np.broadcast_to(0.0, n_rows), nothing, math.inf),
        corrections=Corrections(start.size),
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
