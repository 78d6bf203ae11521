"""L1 and elastic net for many binary problems at once: primal-dual active sets, on the host.

With t targets, s sample weights, o offsets and Z the columns, the optimum of sum_i s_i loss_i + sum_j l1_j |u_j| +
l2_j/2 u_j^2 is a head u and probabilities p with

    Z_S^T diag(s) (p - t) + l2 u_S + l1 sign_S = 0,      logit(p) = Z_S u_S + o

on the support S, and |Z_j^T diag(s) (p - t)| <= l1_j elsewhere. A step linearises the second equation about logit(p)
(not about the logits of the present head, as Newton's method on the primal would), which leaves one linear
system on S with weights w = s p (1 - p); then entries of the other sign leave S, and those of too large a gradient
join it (Hintermüller, Ito & Kunisch 2002). Two things follow from carrying p along. Where classes are nearly separable,
p falls by a factor in a step in which the primal method moves a logit by one; and the p of a step solves the first
equation exactly, so that it is a dual point whose gap shrinks as fast as the squared error.

The steps need not descend. But every head is a candidate and every p gives a bound: the gap is that of the best of
each, and a problem whose gap stops shrinking is returned unsolved.

Shapes: B blocks, n rows (those of blocks with fewer are padded by rows of no weight), E = D + 1 entries.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.block_fit import BlockFit
from penult_kernels.linear.blocks.batch import starting_point
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.control import StopRule
from penult_kernels.linear.l1.columns import OwnColumns, SharedColumns
from penult_kernels.linear.l1.dual import Penalty, Rows, balanced, dual_values, entry_penalties, subgradient_norms
from penult_kernels.linear.problem import Intercept
from penult_kernels.loss import probabilities
from penult_kernels.products import on_threads

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

FEWEST_JOINING = 30
"""The limit on entries that join the support of a block in a step is at least this."""
JOINING_FRACTION = 0.25
"""The limit on entries that join in a step is this fraction of the support, if above `FEWEST_JOINING`."""
LARGEST_FALL = 0.1
"""Smallest factor by which a step may multiply p or 1 - p."""
FLOAT32_UNTIL = 1e-3
"""Gap in nats above which columns are kept in float32."""
FLOAT32_GRAM_UNTIL = 1e-5
"""Gap in nats above which Gram matrices are made in float32."""
FLOAT32_RIDGE = 1e-6
"""Ridge towards the present head in a system made in float32, as a fraction of its mean diagonal."""
FLOAT64_RIDGE = 1e-12
"""Ridge in a system made in float64, as a fraction of its mean diagonal, which keeps it solvable."""
PATIENCE = 8
"""Steps in which the gap of a block must shrink by the factor `SHRINKING`; else the block has stalled."""
SHRINKING = 0.9
"""Factor by which the gap must shrink in `PATIENCE` steps."""
ROUGH = 0.125
"""Gap of a first head as a fraction of its objective."""
LARGE = 2**22
"""Rows times entries of a block from which the systems of a step are spread over threads."""
SMALLEST_P = 1e-12
"""Probabilities keep this distance from 0 and from 1."""


def active_set(
    features: NDArray[np.floating], members: Sequence[Block], stop: StopRule, *, least: float | None = None
) -> list[BlockFit]:
    """The best head found of every binary block with an l1, whatever rows and scaling it has.

    A block that has not converged may have stalled well before stop.max_iterations. Its gap is the duality gap. With
    `least` it must also be at most a fraction, ROUGH, of the objective, or `least`: a head is then near the optimum
    where this is small, too.
    """
    state = _State(features, members)
    active = np.arange(len(members))
    gaps: list[Floats] = []
    for rounds in range(stop.max_iterations + 1):
        stop.check()
        state.certify(active)
        state.to_float64(active[state.gap[active] <= max(stop.limit, FLOAT32_UNTIL)])
        gaps.append(state.gap)
        leaves = (state.gap <= state.limits(stop.limit, least)) & state.is_float64() | _stalled(gaps)
        leaves = leaves if stop.unwanted is None else leaves | stop.unwanted()
        active = active[~leaves[active]]
        stop.left(_without(len(members), active))
        if not active.size or rounds == stop.max_iterations:
            break
        state.choose(active)
        state.step(active)
    return state.fits(stop.limit)


def _without(n_blocks: int, active: NDArray[np.int64]) -> NDArray[np.bool_]:
    found = np.ones(n_blocks, np.bool_)
    found[active] = False
    return found


def _stalled(gaps: Sequence[Floats]) -> NDArray[np.bool_]:
    if len(gaps) <= PATIENCE:
        return np.zeros(gaps[0].size, np.bool_)
    return ~(gaps[-1] < SHRINKING * gaps[-1 - PATIENCE])


class _State:
    """Iterates and bounds of all blocks; arrays have one row for each block."""

    def __init__(self, features: NDArray[np.floating], members: Sequence[Block]) -> None:
        n_entries = int(features.shape[1]) + 1
        self.shared = SharedColumns(features, members)
        sample_weight = _padded([block.sample_weight() for block in members])
        target = _padded([block.target()[:, 0] for block in members])
        offset = _padded([block.offset()[:, 0] for block in members])
        self.rows = Rows(sample_weight, target[:, :, None], offset[:, :, None])
        self.columns = [OwnColumns(self.shared, index, sample_weight.shape[1]) for index in range(len(members))]
        penalties = [entry_penalties(block, n_entries) for block in members]
        self.penalty = Penalty(np.stack([one.l1 for one in penalties]), np.stack([one.l2 for one in penalties]))
        self.is_free = np.asarray([block.intercept is Intercept.FREE for block in members])
        self.has_none = np.asarray([block.intercept is Intercept.NONE for block in members])
        self.u: Floats = starting_point(features, members)[:, 0, :]
        self.u[self.has_none, -1] = 0.0
        self.logits = np.stack([self._logits_of(index, u) for index, u in enumerate(self.u)])
        """(B, n) logits of u, with the offset."""
        self.p = np.clip(_sigmoid(self.logits), SMALLEST_P, 1 - SMALLEST_P)
        """(B, n) probabilities about which a step linearises; at the start those of the logits."""
        self.signs = np.sign(self.u)
        """(B, E) signs of the entries on the support, 0 elsewhere."""
        self.gradient = np.zeros_like(self.u)
        """(B, E) Z^T diag(s) (p - t), zero for a bias that is not fitted."""
        self.best_u, self.best_logits = self.u.copy(), self.logits.copy()
        """The heads of the lowest objectives so far, and their logits."""
        self.objective = np.full(len(members), math.inf)
        """(B,) lowest objectives so far."""
        self.dual = np.full(len(members), -math.inf)
        """(B,) highest dual values so far."""
        self.steps = np.zeros(len(members), np.int64)

    @property
    def gap(self) -> Floats:
        """(B,)."""
        return np.maximum(self.objective - self.dual, 0.0)

    def limits(self, limit: float, least: float | None) -> Floats:
        """(B,) gaps at which blocks are done."""
        return np.full(self.objective.size, limit) if least is None else np.clip(ROUGH * self.objective, least, limit)

    def is_float64(self) -> NDArray[np.bool_]:
        """(B,) whether the columns of a block are float64 already."""
        return np.asarray([own.is_float64 for own in self.columns])

    def to_float64(self, which: Positions) -> None:
        """Continue with these blocks in float64: their objectives so far were those of rounded logits."""
        for index in which[~self.is_float64()[which]].tolist():
            self._restart(index, self.u[index])

    def certify(self, active: Positions) -> None:
        """Gradients at all p in one pass; update the best heads, objectives and dual values."""
        p, rows, penalty = self.p[active], self.rows.of(active), self.penalty.of(active)
        if self.is_free.any():
            p = np.where(self.is_free[active, None], balanced(rows, p[:, :, None])[:, :, 0], p)
        gradient = self._gradient_at(active, p)
        self.gradient[active] = gradient
        self.dual[active] = np.maximum(self.dual[active], dual_values(rows, p[:, :, None], gradient, penalty))
        found = self._objectives(active)
        better = active[found < self.objective[active]]
        self.objective[active] = np.minimum(found, self.objective[active])
        self.best_u[better], self.best_logits[better] = self.u[better], self.logits[better]

    def choose(self, active: Positions) -> None:
        """Choose the support and signs of the next step."""
        signs, gradient, l1 = self.signs[active], self.gradient[active], self.penalty.l1[active]
        stays = (signs != 0) & (np.sign(self.u[active]) == signs)
        magnitude = np.where((signs != 0) | (l1 == 0), 0.0, np.abs(gradient))
        joins = magnitude > l1
        for index in np.flatnonzero(np.count_nonzero(joins, axis=1) > FEWEST_JOINING):
            most = max(FEWEST_JOINING, int(JOINING_FRACTION * np.count_nonzero(stays[index])))
            among = magnitude[index]
            joins[index] &= among >= np.partition(among, max(among.size - most, 0))[max(among.size - most, 0)]
        self.signs[active] = np.where(stays, signs, np.where(joins, -np.sign(gradient), 0.0))
        self.shared.expect(np.flatnonzero(np.any(self.signs[active, :-1] != 0, axis=0)))

    def step(self, active: Positions) -> None:
        """Solve the linear systems of the present supports and signs, and move p to what they predict."""
        p, weight = self.p[active], self.rows.sample_weight[active]
        curvature = p * (1 - p)
        model = np.log(p) - np.log1p(-p)
        weights = weight * curvature
        pushed = weights * (model - self.rows.offset[active, :, 0]) - weight * (p - self.rows.target[active, :, 0])
        systems = list(zip(active.tolist(), weights, pushed, strict=True))
        if weights.shape[1] * self.u.shape[1] >= LARGE:
            on_threads(lambda system: self._solve_system(*system), systems)
        else:
            for system in systems:
                self._solve_system(*system)
        moved = p + curvature * (self.logits[active] - model)
        moved = np.clip(moved, LARGEST_FALL * p, 1 - LARGEST_FALL * (1 - p))
        self.p[active] = np.clip(moved, SMALLEST_P, 1 - SMALLEST_P)
        self.steps[active] += 1

    def fits(self, limit: float) -> list[BlockFit]:
        """The best heads, with the gradients of their own probabilities."""
        for index in np.flatnonzero(~self.is_float64()).tolist():
            self._restart(index, self.best_u[index])
        gradients = self._gradient_at(np.arange(len(self.columns)), _sigmoid(self.best_logits))
        norms = subgradient_norms(self.best_u, gradients, self.penalty)
        gaps = self.gap
        return [
            BlockFit(
                theta=self.best_u[index : index + 1],
                gap=float(gaps[index]),
                gradient_norm=float(norms[index]),
                iterations=int(self.steps[index]),
                passes=int(self.steps[index]) + 2,
                objective=float(self.objective[index]),
                converged=bool(gaps[index] <= limit),
            )
            for index in range(len(self.columns))
        ]

    def _solve_system(self, index: int, weight: Floats, pushed: Floats) -> None:
        """The head and logits of one block on its support, in place."""
        columns, u = self.columns[index], self.u[index]
        support = np.flatnonzero(self.signs[index])
        if self.is_free[index]:
            support = np.append(support, u.size - 1)
        slots = columns.slots(support)
        is_rough = self.gap[index] > FLOAT32_GRAM_UNTIL
        system = columns.gram(slots, weight, float32=is_rough)
        diagonal = system.reshape(-1)[:: support.size + 1]
        diagonal += self.penalty.l2[index, support]
        ridge = (FLOAT32_RIDGE if is_rough else FLOAT64_RIDGE) * float(np.trace(system)) / max(support.size, 1)
        diagonal += ridge + np.finfo(np.float64).tiny
        right = columns.gradients(slots, pushed) - self.penalty.l1[index, support] * self.signs[index, support]
        solved = np.asarray(np.linalg.solve(system, right + ridge * u[support]), np.float64)
        u[:] = 0.0
        u[support] = solved
        self.logits[index] = self._logits_of(index, u)

    def _logits_of(self, index: int, u: Floats) -> Floats:
        """(n,) of a head (E,) of one block, with the offset."""
        support = np.flatnonzero(u)
        own = self.columns[index]
        return self.rows.offset[index, :, 0] + own.logits(own.slots(support), u[support])

    def _restart(self, index: int, u: Floats) -> None:
        """Continue with one block in float64, from `u` (E,), whose objective becomes its lowest."""
        self.columns[index].to_float64()
        self.u[index] = self.best_u[index] = u
        self.logits[index] = self.best_logits[index] = self._logits_of(index, u)
        self.objective[index] = self._objectives(np.asarray([index]))[0]

    def _gradient_at(self, which: Positions, p: Floats) -> Floats:
        """(B, E) at probabilities (B, n): one pass."""
        residuals = self.rows.sample_weight[which] * (p - self.rows.target[which, :, 0])
        gradient = self.shared.gradients(which, residuals)
        gradient[self.has_none[which], -1] = 0.0
        return gradient

    def _objectives(self, which: Positions) -> Floats:
        """(B,) of the present heads."""
        return self.rows.of(which).losses(self.logits[which, :, None]) + self.penalty.of(which).values(self.u[which])


def _padded(parts: Sequence[Floats]) -> Floats:
    whole = np.zeros((len(parts), max(part.size for part in parts)))
    for one, part in zip(whole, parts, strict=True):
        one[: part.size] = part
    return whole


def _sigmoid(logits: Floats) -> Floats:
    return probabilities(logits[:, :, None])[:, :, 0]
