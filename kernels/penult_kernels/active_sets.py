"""L1 and elastic net for many binary problems at once: primal-dual active sets.

With t targets, s weights, o offsets and Z the columns, the optimum of sum_i s_i loss_i + sum_j l1_j |u_j| +
l2_j/2 u_j^2 is a head u and probabilities p with

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

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside
from penult_kernels.block_fit import BlockFit
from penult_kernels.lasso_front import (
    SMALLEST_P,
    Front,
    Vector,
    balanced,
    dual_values,
    make_front,
    objectives,
    sigmoid,
    slopes_at,
    subgradient_norms,
)
from penult_kernels.refit_blocks import Block
from penult_kernels.refit_problem import Intercept
from penult_kernels.shared_columns import SharedColumns

FEWEST_JOINING = 30
JOINING_SHARE = 0.25
"""Of the support: how many entries may join it in a step, if that is more."""
LARGEST_FALL = 0.1
"""What a step leaves of p and of 1 - p at least."""
NARROW_UNTIL = 1e-3
"""Gap in nats above which columns are kept in float32."""
NARROW_GRAM_UNTIL = 1e-5
"""Gap in nats above which Gram matrices are made in float32."""
NARROW_RIDGE, WIDE_RIDGE = 1e-6, 1e-12
"""Of the mean diagonal of a system, about the present head: keeps systems of dependent columns solvable."""
PATIENCE, SHRINKING = 8, 0.9
"""Steps in which the gap must shrink by this factor."""


def active_sets(
    features: Array,
    members: Sequence[Block],
    *,
    tolerance: float,
    max_iterations: int,
    check: Callable[[], None] | None = None,
    unwanted: Callable[[], NDArray[np.bool_]] | None = None,
) -> list[BlockFit]:
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
    list of BlockFit
        The best head of every block. One that has not converged may have stalled well before max_iterations.
    """
    limit = tolerance * math.log(2)
    shared = SharedColumns(features, members)
    front = make_front(shared, members)
    active = np.arange(len(members))
    gaps: list[Vector] = []
    for rounds in range(max_iterations + 1):
        if check is not None:
            check()
        _certify(shared, front, active)
        _widen(front, active, max(limit, NARROW_UNTIL))
        gaps.append(front.gap)
        leaves = (front.gap <= limit) & front.is_wide() | _stalled(gaps)
        leaves = leaves if unwanted is None else leaves | unwanted()
        active = active[~leaves[active]]
        if not active.size or rounds == max_iterations:
            break
        _choose(front, active)
        shared.expect(np.flatnonzero(np.any(front.signs[active, :-1] != 0, axis=0)))
        _step(front, active)
    return _solved(shared, front, limit)


def _certify(shared: SharedColumns, front: Front, active: NDArray[np.int64]) -> None:
    """Slopes of all p in one pass, and what heads and p say about the optimum."""
    p = balanced(front, active, front.p[active])
    slope = slopes_at(shared, front, active, p)
    front.slope[active] = slope
    front.dual[active] = np.maximum(front.dual[active], dual_values(front, active, p, slope))
    found = objectives(front, active)
    better = active[found < front.objective[active]]
    front.objective[active] = np.minimum(found, front.objective[active])
    front.best_u[better], front.best_logits[better] = front.u[better], front.logits[better]


def _stalled(gaps: Sequence[Vector]) -> NDArray[np.bool_]:
    if len(gaps) <= PATIENCE:
        return np.zeros(gaps[0].size, np.bool_)
    return ~(gaps[-1] < SHRINKING * gaps[-1 - PATIENCE])


def _choose(front: Front, active: NDArray[np.int64]) -> None:
    """The support and signs of the next step."""
    signs, slope, l1 = front.signs[active], front.slope[active], front.l1[active]
    stays = (signs != 0) & (np.sign(front.u[active]) == signs)
    steepness = np.where((signs != 0) | (l1 == 0), 0.0, np.abs(slope))
    joins = steepness > l1
    for index in np.flatnonzero(np.count_nonzero(joins, axis=1) > FEWEST_JOINING):
        most = max(FEWEST_JOINING, int(JOINING_SHARE * np.count_nonzero(stays[index])))
        among = steepness[index]
        joins[index] &= among >= np.partition(among, max(among.size - most, 0))[max(among.size - most, 0)]
    front.signs[active] = np.where(stays, signs, np.where(joins, -np.sign(slope), 0.0))


def _widen(front: Front, active: NDArray[np.int64], until: float) -> None:
    """Blocks that are near their optimum go on in float64: their objective so far was that of rounded logits."""
    for index in map(int, active[front.gap[active] <= until]):
        if not front.columns[index].is_wide:
            front.widen(index, front.u[index])


def _step(front: Front, active: NDArray[np.int64]) -> None:
    """The linear systems of the present supports and signs, and the probabilities they predict."""
    p, share = front.p[active], front.share[active]
    curvature = p * (1 - p)
    model = np.log(p) - np.log1p(-p)
    weight = share * curvature
    pushed = weight * (model - front.offset[active]) - share * (p - front.target[active])
    for index, own_weight, own_pushed in zip(active.tolist(), weight, pushed, strict=True):
        _solve_system(front, index, own_weight, own_pushed)
    moved = p + curvature * (front.logits[active] - model)
    moved = np.clip(moved, LARGEST_FALL * p, 1 - LARGEST_FALL * (1 - p))
    front.p[active] = np.clip(moved, SMALLEST_P, 1 - SMALLEST_P)
    front.steps[active] += 1


def _solve_system(front: Front, index: int, weight: Vector, pushed: Vector) -> None:
    """Head and logits of one block, in place."""
    columns, u = front.columns[index], front.u[index]
    support = np.flatnonzero(front.signs[index])
    if front.members[index].intercept is Intercept.FREE:
        support = np.append(support, u.size - 1)
    slots = columns.slots(support)
    is_narrow = front.gap[index] > NARROW_GRAM_UNTIL
    system = columns.gram(slots, weight, narrow=is_narrow)
    diagonal = system.reshape(-1)[:: support.size + 1]
    diagonal += front.l2[index, support]
    ridge = (NARROW_RIDGE if is_narrow else WIDE_RIDGE) * float(np.trace(system)) / max(support.size, 1)
    diagonal += ridge + np.finfo(np.float64).tiny
    right = columns.slopes(slots, pushed) - front.l1[index, support] * front.signs[index, support]
    solved = np.asarray(np.linalg.solve(system, right + ridge * u[support]), np.float64)
    u[:] = 0.0
    u[support] = solved
    front.logits[index] = front.offset[index] + columns.logits(slots, solved)


def _solved(shared: SharedColumns, front: Front, limit: float) -> list[BlockFit]:
    """The best heads, with the slopes of their own probabilities."""
    everything = np.arange(len(front.members))
    for index in np.flatnonzero(~front.is_wide()).tolist():
        front.widen(index, front.best_u[index])
    slopes = slopes_at(shared, front, everything, sigmoid(front.best_logits))
    norms = subgradient_norms(front, slopes)
    return [
        BlockFit(
            theta=beside(front.best_u[index : index + 1], shared.features),
            gap=float(front.gap[index]),
            gradient_norm=float(norms[index]),
            iterations=int(front.steps[index]),
            passes=int(front.steps[index]) + 2,
            objective=float(front.objective[index]),
            converged=bool(front.gap[index] <= limit),
        )
        for index in everything
    ]
