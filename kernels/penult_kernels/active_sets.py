"""L1 and elastic net for many binary problems at once: primal-dual active sets.

With t targets, s weights, o offsets and Z the columns, the optimum of sum_i s_i loss_i + sum_j l1_j |u_j| + l2_j/2 u_j^2
is a head u and probabilities p with

    Z_S^T diag(s) (p - t) + l2 u_S + l1 sign_S = 0,      logit(p) = Z_S u_S + o

on the support S, and |Z_j^T diag(s) (p - t)| <= l1_j elsewhere. A step linearises the second equation about logit(p)
(not about the logits of the present head, as Newton's method on the primal would), which leaves one linear
system on S with weights w = s p (1 - p); then entries of the other sign leave S, and those of too steep a slope join
it (Hintermüller, Ito & Kunisch 2002). Two things follow from carrying p along. Where classes are nearly separable,
p falls by a factor in a step in which the primal method moves a logit by one; and the p of a step solves the first
equation exactly, so that it is a dual point whose gap shrinks as fast as the squared error.

Nothing makes the steps descend. Every head is a candidate, though, and every p a bound: the best of each make the
gap, and a problem whose gap stops shrinking is handed back unfinished.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.batch_newton import Solved
from penult_kernels.logit_loss import entropies, losses, probabilities
from penult_kernels.refit_blocks import Block
from penult_kernels.refit_problem import Intercept
from penult_kernels.shared_columns import OwnColumns, SharedColumns

Vector = NDArray[np.float64]

FEWEST_JOINING = 50
JOINING_SHARE = 0.25
"""Of the support: how many entries may join it in a step, if that is more."""
LARGEST_FALL = 0.1
"""What a step leaves of p and of 1 - p at least."""
SMALLEST_P = 1e-12
NARROW_UNTIL = 1e-3
"""Gap in nats above which Gram matrices are made in float32."""
NARROW_RIDGE, WIDE_RIDGE = 1e-6, 1e-12
"""Of the mean diagonal of a system, about the present head: keeps systems of dependent columns solvable."""
MOST_SPREAD = 4
"""How many times a block's rows a shared product may take."""
WORKSPACE = 256 * 2**20
"""Bytes that the columns copied for one group may take."""
BYTES_PER_ROW = 12 * 256
"""Of a block's copies, in float64 and float32, as a rule."""
PATIENCE = 8
"""Steps in which the gap must shrink by a tenth."""


@dataclass(slots=True, kw_only=True, eq=False)
class Front:
    """Where one block stands, on the host."""

    index: int
    block: Block
    columns: OwnColumns
    share: Vector
    """(n,)."""
    target: Vector
    """(n,)."""
    offset: Vector
    """(n,)."""
    l1: Vector
    """(D + 1,) zero for a free bias."""
    l2: Vector
    """(D + 1,)."""
    u: Vector
    """(D + 1,)."""
    logits: Vector
    """(n,) of u, with the offset."""
    p: Vector
    """(n,) of the linearisation; sigmoid(logits) only at the start."""
    signs: Vector
    """(D + 1,) of the support."""
    slope: Vector
    """(D + 1,) Z^T diag(s) (p - t), zero for a bias that is not fitted."""
    best: tuple[Vector, Vector]
    """u and logits of the lowest objective so far."""
    objective: float = math.inf
    dual: float = -math.inf
    gaps: list[float] = field(default_factory=list[float])
    """After every step, and at the start."""

    @property
    def gap(self) -> float:
        return max(self.objective - self.dual, 0.0)


def active_sets(
    features: Array,
    members: Sequence[Block],
    *,
    tolerance: float,
    max_iterations: int,
    check: Callable[[], None] | None = None,
    unwanted: Callable[[], NDArray[np.bool_]] | None = None,
) -> list[Solved]:
    """Minimise every binary block with an l1, whatever rows and scaling it has.

    Parameters
    ----------
    features : array of shape (N, D)
    members : sequence of Block
        Of one column each.
    tolerance, max_iterations, check, unwanted
        As in `batch_newton.newton`; the gap here is the duality gap.

    Returns
    -------
    list of Solved
        The best head of every block. One that has not converged may have stalled well before max_iterations.
    """
    limit = tolerance * math.log(2)
    shared = SharedColumns(features, members)
    fronts = [_front(shared, index, block) for index, block in enumerate(members)]
    active = fronts
    for steps in range(max_iterations + 1):
        if check is not None:
            check()
        _certify(shared, active)
        leaves = np.zeros(len(fronts), np.bool_) if unwanted is None else unwanted()
        active = [front for front in active if front.gap > limit and not _is_stalled(front) and not leaves[front.index]]
        if not active or steps == max_iterations:
            break
        for front in active:
            _choose(front)
            _step(front)
    return _solved(shared, fronts, limit)


def shared_groups(blocks: Sequence[Block], n_rows: int) -> list[list[int]]:
    """Positions of the binary blocks with an l1, in groups that share a product and fit in memory.

    A product takes all rows that any block of a group uses; blocks that use few of them are put in groups of their own.
    """
    groups: list[list[int]] = []
    union, total, n_bytes = np.zeros(n_rows, np.bool_), 0, 0
    for index, block in enumerate(blocks):
        if block.l1 == 0 or block.n_columns > 1:
            continue
        rows = slice(None) if block.rows is None else block.rows
        n_used = n_rows if block.rows is None else block.rows.size
        wider = union.copy()
        wider[rows] = True
        is_spread = np.count_nonzero(wider) * (len(groups[-1]) + 1 if groups else 1) > MOST_SPREAD * (total + n_used)
        if not groups or is_spread or n_bytes + n_used * BYTES_PER_ROW > WORKSPACE:
            groups.append([])
            wider[:] = False
            wider[rows] = True
            total, n_bytes = 0, 0
        groups[-1].append(index)
        union, total, n_bytes = wider, total + n_used, n_bytes + n_used * BYTES_PER_ROW
    return groups


def _front(shared: SharedColumns, index: int, block: Block) -> Front:
    share = block.share()
    columns = OwnColumns(shared, block, share.size)
    u, l1, l2 = _entries(block, shared.features.shape[1] + 1)
    support = np.flatnonzero(u)
    offset = block.offset()[:, 0]
    logits = offset + columns.logits(columns.slots(support), u[support])
    return Front(
        index=index,
        block=block,
        columns=columns,
        share=share,
        target=block.target()[:, 0],
        offset=offset,
        l1=l1,
        l2=l2,
        u=u,
        logits=logits,
        p=np.clip(_sigmoid(logits), SMALLEST_P, 1 - SMALLEST_P),
        signs=np.sign(u),
        slope=np.zeros_like(u),
        best=(u, logits),
    )


def _entries(block: Block, n_entries: int) -> tuple[Vector, Vector, Vector]:
    """Start, l1 and l2 of every entry (D + 1,)."""
    of_bias = 1 / block.intercept_scale if block.intercept is Intercept.PENALIZED else 0.0
    l1, l2 = np.full(n_entries, block.l1), np.full(n_entries, block.l2)
    l1[-1], l2[-1] = block.l1 * of_bias, block.l2 * of_bias**2
    u = np.zeros(n_entries) if block.start is None else to_host(block.start)[0].copy()
    if block.intercept is Intercept.NONE:
        u[-1] = 0.0
    return u, l1, l2


def _certify(shared: SharedColumns, active: Sequence[Front]) -> None:
    """Slopes of all p in one pass, and what heads and p say about the optimum."""
    points = [_balanced(front, front.p) for front in active]
    slopes = _slopes(shared, active, points)
    for front, p, slope in zip(active, points, slopes, strict=True):
        front.slope = slope
        front.dual = max(front.dual, _dual(front, p, slope))
        objective = _objective(front, front.u, front.logits)
        if objective < front.objective:
            front.objective, front.best = objective, (front.u, front.logits)
        front.gaps.append(front.gap)


def _slopes(shared: SharedColumns, fronts: Sequence[Front], points: Sequence[Vector]) -> NDArray[np.float64]:
    residuals = [front.share * (p - front.target) for front, p in zip(fronts, points, strict=True)]
    slopes = shared.slopes([front.block for front in fronts], residuals)
    slopes[[front.block.intercept is Intercept.NONE for front in fronts], -1] = 0.0
    return slopes


def _balanced(front: Front, p: Vector) -> Vector:
    """p where a free bias has slope zero: residuals of one sign, the heavier one, are scaled down."""
    if front.block.intercept is not Intercept.FREE:
        return p
    residual = front.share * (p - front.target)
    above, below = float(residual[residual > 0].sum()), -float(residual[residual < 0].sum())
    if min(above, below) <= 0:
        return p
    factor = np.where(residual > 0, min(1.0, below / above), min(1.0, above / below))
    return front.target + factor * (p - front.target)


def _dual(front: Front, p: Vector, slope: Vector) -> float:
    """D of residuals that are scaled until they are feasible; with l2 they are, and their excess costs."""
    is_penalised = front.l1 > 0
    steepness, l1 = np.abs(slope[is_penalised]), front.l1[is_penalised]
    c, cost = 1.0, 0.0
    if front.block.l2 > 0:
        excess = np.maximum(steepness - l1, 0.0)
        cost = float(np.sum(excess * excess / (2 * front.l2[is_penalised])))
    else:
        c = min(1.0, 1.0 / max(float(np.max(steepness / l1)), SMALLEST_P))
    along = float((front.share * (p - front.target)) @ front.offset)
    mixed = (1.0 - c) * front.target + c * p
    return float(front.share @ entropies(mixed[:, None, None])[:, 0]) + c * along - cost


def _objective(front: Front, u: Vector, logits: Vector) -> float:
    loss = front.share @ losses(logits[:, None, None], front.target[:, None, None])[:, 0]
    return float(loss + front.l1 @ np.abs(u) + 0.5 * front.l2 @ (u * u))


def _sigmoid(logits: Vector) -> Vector:
    return probabilities(logits[:, None, None])[:, 0, 0]


def _is_stalled(front: Front) -> bool:
    recent, before = front.gaps[-PATIENCE:], front.gaps[:-PATIENCE]
    return bool(before) and not min(recent) < 0.9 * min(before)


def _choose(front: Front) -> None:
    """The support and signs of the next step."""
    is_wrong = (front.signs != 0) & (np.sign(front.u) != front.signs)
    stays = (front.signs != 0) & ~is_wrong
    steepness = np.where(front.signs != 0, 0.0, np.abs(front.slope))
    most = max(FEWEST_JOINING, int(JOINING_SHARE * np.count_nonzero(stays)))
    threshold = 0.0
    if most < steepness.size:
        threshold = float(np.partition(steepness, steepness.size - most)[steepness.size - most])
    joins = (steepness > front.l1) & (steepness >= threshold) & (front.l1 > 0)
    front.signs = np.where(stays, front.signs, np.where(joins, -np.sign(front.slope), 0.0))


def _step(front: Front) -> None:
    """The linear system of the present support and signs."""
    is_free = front.block.intercept is Intercept.FREE
    support = np.flatnonzero((front.signs != 0) | (is_free & (front.l1 == 0)))
    slots = front.columns.slots(support)
    is_narrow = front.gap > NARROW_UNTIL
    weight = front.share * front.p * (1 - front.p)
    model = np.log(front.p) - np.log1p(-front.p)
    system = front.columns.gram(slots, weight, narrow=is_narrow)
    system.flat[:: support.size + 1] += front.l2[support]
    ridge = (NARROW_RIDGE if is_narrow else WIDE_RIDGE) * float(np.trace(system)) / max(support.size, 1)
    system.flat[:: support.size + 1] += ridge + np.finfo(np.float64).tiny
    pushed = weight * (model - front.offset) - front.share * (front.p - front.target)
    right = front.columns.slopes(slots, pushed) - front.l1[support] * front.signs[support] + ridge * front.u[support]
    front.u = np.zeros_like(front.u)
    front.u[support] = np.linalg.solve(system, right)
    front.logits = front.offset + front.columns.logits(slots, front.u[support])
    p = front.p + front.p * (1 - front.p) * (front.logits - model)
    p = np.clip(p, LARGEST_FALL * front.p, 1 - LARGEST_FALL * (1 - front.p))
    front.p = np.clip(p, SMALLEST_P, 1 - SMALLEST_P)


def _solved(shared: SharedColumns, fronts: Sequence[Front], limit: float) -> list[Solved]:
    """The best heads, with the slopes of their own probabilities."""
    slopes = _slopes(shared, fronts, [_sigmoid(front.best[1]) for front in fronts])
    return [
        Solved(
            theta=beside(front.best[0][None, :], shared.features),
            gap=front.gap,
            gradient_norm=_subgradient_norm(front, front.best[0], slope),
            iterations=len(front.gaps) - 1,
            passes=len(front.gaps) + 1,
            objective=front.objective,
            converged=front.gap <= limit,
        )
        for front, slope in zip(fronts, slopes, strict=True)
    ]


def _subgradient_norm(front: Front, u: Vector, slope: Vector) -> float:
    """Of the smallest subgradient."""
    smooth = slope + front.l2 * u
    moving = smooth + front.l1 * np.sign(u)
    resting = np.sign(smooth) * np.maximum(np.abs(smooth) - front.l1, 0.0)
    return float(np.linalg.norm(np.where(u != 0, moving, resting)))
