"""Exact Newton steps for many binary L2 problems in the space of their rows: for devices that like few, large calls.

In the notation of `row_space`, with h = s p (1 - p) the curvature of the rows, H = diag(h), W = H^1/2 and g the
coefficients of the gradient, the step (d, e) of coefficients and bias solves

    (l2 I + H G) d + h e = -g,      h^T G d + (1^T h + beta) e = -g_b,      beta what a bias is penalised with.

By Woodbury's identity both right sides need M = l2 I + W G W alone, symmetric and at least l2:

    d = -(g - W u) / l2 - e W v,    M u = W G g,  M v = w,    e = (1^T W u - g_b) / (l2 w^T v + beta).

Each step builds the (B, n, n) stack of all M and eliminates it by blocks, so that its calls are some two hundred
whatever B is. L-BFGS takes as many for one of its evaluations, and ten times as many evaluations as steps are
needed here; where arithmetic is what costs (a CPU) it is the better by far.
"""

from collections.abc import Callable

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.batch_lbfgs import Slope, inner
from penult_kernels.batch_newton import EPSILON, SUFFICIENT_DECREASE
from penult_kernels.logit_loss import losses
from penult_kernels.row_space import RowSpace

MOST_STEPS = 60
HALVINGS = 14
ELIMINATED = 64
"""Unknowns taken out at a time. CuPy solves stacks of systems together up to 256 unknowns, and one by one above."""


def row_newton(
    space: RowSpace,
    *,
    limit: float,
    check: Callable[[], None] | None = None,
    unwanted: Callable[[], NDArray[np.bool_]] | None = None,
) -> tuple[Array, NDArray[np.int64]]:
    """Go down from the zero heads until the gaps are at most `limit`, or no step decreases an objective.

    The space is binary (q = 1) and in float64. `check` is called before every step and ends the solve by raising;
    problems that are `unwanted` (B,) are not waited for.

    Returns
    -------
    array of shape (2, B, n + 1)
        Where each problem ended.
    array of shape (B,)
        Evaluations until each was there.
    """
    x = space.zero()
    here = space.evaluate(x)
    evaluations = np.ones(x.shape[1], np.int64)
    is_stuck = np.zeros(x.shape[1], bool)
    for _ in range(MOST_STEPS):
        active = (to_host(space.gaps(here)) > limit) & ~is_stuck
        if unwanted is not None:
            active = active & ~unwanted()
        if not active.any():
            break
        if check is not None:
            check()
        direction = _direction(space, here)
        length = _length(space, x, direction, here)
        x = x + length[None, :, None] * direction
        here = space.evaluate(x)
        evaluations[active] += 1
        is_stuck = to_host(length) == 0
    return x, evaluations


def _direction(space: RowSpace, here: Slope) -> Array:
    """(2, B, n + 1) the Newton step."""
    xp = array_namespace(space.share)
    n_used = int(space.share.shape[1])
    gradient, of_bias = here.gradient[0, :, :n_used], here.gradient[0, :, n_used]
    p = here.curvature[:, 0, :]
    root = xp.sqrt(space.share * p * (1.0 - p))
    right = xp.stack([root * here.gradient[1, :, :n_used], root], axis=2)
    solved = root[:, :, None] * solve_by_blocks(_systems(space, root), right)
    along, of_ones = solved[:, :, 0], solved[:, :, 1]
    stiffness = space.l2 * (xp.sum(of_ones, axis=1) + space.bias_penalty**2)
    can_move = (space.is_fitted > 0) & (stiffness > 0)
    bias = xp.where(can_move, (xp.sum(along, axis=1) - of_bias) / xp.where(can_move, stiffness, 1.0), 0.0)
    step = (along - gradient) / space.l2[:, None] - bias[:, None] * of_ones
    images = space.product(step[:, None, :])[:, 0, :]
    return xp.stack([xp.concat([part, bias[:, None]], axis=1) for part in (step, images)])


def _systems(space: RowSpace, root: Array) -> Array:
    """M (B, n, n) for roots (B, n) of the rows' curvature."""
    xp = array_namespace(root)
    n_sets, n_used, _ = space.gram.shape
    of_sets = xp.reshape(root, (n_sets, -1, n_used))
    scaled = of_sets[:, :, :, None] * space.gram[:, None, :, :] * of_sets[:, :, None, :]
    identity = xp.eye(n_used, dtype=root.dtype, device=root.device)
    return xp.reshape(scaled, (-1, n_used, n_used)) + space.l2[:, None, None] * identity


def solve_by_blocks(matrix: Array, right: Array) -> Array:
    """Solutions (B, n, k) of positive definite systems (B, n, n), right sides (B, n, k).

    Block elimination without pivoting between the blocks, stable for such systems (Demmel, Higham & Schreiber 1995).
    """
    xp = array_namespace(matrix)
    rest = xp.concat([matrix, right], axis=2)
    eliminated: list[Array] = []
    while int(rest.shape[1]) > ELIMINATED:
        above = rest[:, :ELIMINATED, :]
        eliminated.append(xp.linalg.solve(above[:, :, :ELIMINATED], above[:, :, ELIMINATED:]))
        rest = rest[:, ELIMINATED:, ELIMINATED:] - rest[:, ELIMINATED:, :ELIMINATED] @ eliminated[-1]
    n_left = int(rest.shape[1])
    solved = xp.linalg.solve(rest[:, :, :n_left], rest[:, :, n_left:])
    for above in reversed(eliminated):
        n_solved = int(solved.shape[1])
        solved = xp.concat([above[:, :, n_solved:] - above[:, :, :n_solved] @ solved, solved], axis=1)
    return solved


def _length(space: RowSpace, x: Array, direction: Array, here: Slope) -> Array:
    """(B,) the largest of 1, 1/2, 1/4, ... that satisfies Armijo's rule, 0 where none does: all are tried at once."""
    xp = array_namespace(x)
    n_blocks, n_used = space.share.shape
    lengths = beside(np.append(0.5 ** np.arange(HALVINGS), 0.0), x)
    logits = x[1, :, :n_used] + x[1, :, n_used:] + space.offset[:, 0, :]
    change = direction[1, :, :n_used] + direction[1, :, n_used:]
    tried = xp.reshape(logits, (1, -1, 1)) + lengths[:, None, None] * xp.reshape(change, (1, -1, 1))
    loss = xp.reshape(losses(tried, xp.reshape(space.target, (1, -1, 1))), (-1, n_blocks, n_used))
    penalties = [space.penalty_product(a, b) for a, b in ((x, x), (x, direction), (direction, direction))]
    steps = lengths[:, None]
    value = xp.sum(space.share * loss, axis=2) + 0.5 * penalties[0]
    value = value + steps * penalties[1] + 0.5 * steps**2 * penalties[2]
    # The last length is 0. Rounding is forgiven as `batch_newton.backtrack` does.
    before = value[-1, :]
    rounding = 8 * EPSILON * xp.maximum(xp.abs(before), xp.ones_like(before))
    most = before + SUFFICIENT_DECREASE * steps * inner(here.gradient, direction) + rounding
    return xp.take(lengths, xp.argmax(xp.astype(value <= most, xp.int8), axis=0), axis=0)
