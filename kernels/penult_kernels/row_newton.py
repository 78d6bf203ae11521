"""Exact Newton steps for many binary L2 problems in the space of their rows: for devices that like few, large calls.

In the notation of `row_space`, with h = s p (1 - p) the curvature of the rows, H = diag(h), W = H^1/2 and g the
coefficients of the gradient, the step (d, e) of coefficients and bias solves

    (l2 I + H G) d + h e = -g,      h^T G d + (1^T h + beta) e = -g_b,      beta what a bias is penalised with.

By Woodbury's identity both right sides need M = l2 I + W G W alone, symmetric and at least l2:

    d = -(g - W u) / l2 - e W v,    M u = W G g,  M v = w,    e = (1^T W u - g_b) / (l2 w^T v + beta).

Each step builds the (B, n, n) stack of all M and eliminates it by blocks, so that its calls are some two hundred
whatever B is, and about ten steps are enough. Where arithmetic is what costs (a CPU) `subspace_newton` is the better
by far.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.batch_newton import EPSILON, SUFFICIENT_DECREASE
from penult_kernels.logit_loss import losses
from penult_kernels.row_space import RowSpace

MOST_STEPS = 60
HALVINGS = 14
ELIMINATED = 64
"""Unknowns taken out at a time. CuPy solves stacks of systems together up to 256 unknowns, and one by one above."""


@dataclass(frozen=True, slots=True, eq=False)
class _Heads:
    """Heads, or changes of them."""

    alpha: Array
    """(B, n) coefficients."""
    image: Array
    """(B, n) their logits without the bias."""
    bias: Array
    """(B,)."""

    def moved(self, length: Array, step: "_Heads") -> "_Heads":
        """Of a length (B,) along a step."""
        far = length[:, None]
        return _Heads(self.alpha + far * step.alpha, self.image + far * step.image, self.bias + length * step.bias)


def row_newton(
    space: RowSpace,
    *,
    limit: float,
    check: Callable[[], None] | None = None,
    unwanted: Callable[[], NDArray[np.bool_]] | None = None,
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Go down from the zero heads until the gaps are at most `limit`, or no step decreases an objective.

    The space is binary (q = 1) and in float64. `check` is called before every step and ends the solve by raising;
    problems that are `unwanted` (B,) are not waited for.

    Returns
    -------
    arrays of shape (B, 1, n) and (B, 1)
        Coefficients and biases where each problem ended.
    array of shape (B,)
        Products with the Gram matrix until each was there: two a step.
    """
    xp = array_namespace(space.share)
    zero = xp.zeros_like(space.share)
    here = _Heads(zero, zero, zero[:, 0])
    n_blocks = int(space.share.shape[0])
    products, is_stuck = np.ones(n_blocks, np.int64), np.zeros(n_blocks, bool)
    for _ in range(MOST_STEPS):
        p = space.probabilities((here.image + here.bias[:, None])[:, None, :] + space.offset)
        of_rows, of_bias = space.gradient(p, here.alpha[:, None, :], here.bias[:, None])
        gradient = _Heads(of_rows[:, 0, :], space.product(of_rows)[:, 0, :], of_bias[:, 0])
        gaps = space.gaps(p, xp.sum(gradient.alpha * gradient.image, axis=1), of_bias)
        active = (to_host(gaps) > limit) & ~is_stuck
        if unwanted is not None:
            active = active & ~unwanted()
        if not active.any():
            break
        if check is not None:
            check()
        step = _step(space, gradient, p[:, 0, :])
        length = _length(space, here, step, gradient)
        here = here.moved(length, step)
        products[active] += 2
        is_stuck = to_host(length) == 0
    return here.alpha[:, None, :], here.bias[:, None], products


def _step(space: RowSpace, gradient: _Heads, p: Array) -> _Heads:
    """The Newton step at probabilities (B, n)."""
    xp = array_namespace(p)
    root = xp.sqrt(space.share * p * (1.0 - p))
    right = xp.stack([root * gradient.image, root], axis=2)
    solved = root[:, :, None] * solve_by_blocks(_systems(space, root), right)
    along, of_ones = solved[:, :, 0], solved[:, :, 1]
    stiffness = space.l2 * xp.sum(of_ones, axis=1) + space.bias_stiffness()
    can_move = (space.is_fitted > 0) & (stiffness > 0)
    bias = xp.where(can_move, (xp.sum(along, axis=1) - gradient.bias) / xp.where(can_move, stiffness, 1.0), 0.0)
    alpha = (along - gradient.alpha) / space.l2[:, None] - bias[:, None] * of_ones
    return _Heads(alpha, space.product(alpha[:, None, :])[:, 0, :], bias)


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


def _length(space: RowSpace, here: _Heads, step: _Heads, gradient: _Heads) -> Array:
    """(B,) the largest of 1, 1/2, 1/4, ... that satisfies Armijo's rule, 0 where none does: all are tried at once."""
    xp = array_namespace(here.alpha)
    n_blocks, n_used = space.share.shape
    lengths = beside(np.append(0.5 ** np.arange(HALVINGS), 0.0), here.alpha)
    logits = here.image + here.bias[:, None] + space.offset[:, 0, :]
    change = step.image + step.bias[:, None]
    tried = xp.reshape(logits, (1, -1, 1)) + lengths[:, None, None] * xp.reshape(change, (1, -1, 1))
    loss = xp.reshape(losses(tried, xp.reshape(space.target, (1, -1, 1))), (-1, n_blocks, n_used))
    far = lengths[:, None]
    value = xp.sum(space.share * loss, axis=2) + 0.5 * _penalty_product(space, here, here)
    value = value + far * _penalty_product(space, here, step) + 0.5 * far**2 * _penalty_product(space, step, step)
    slope = xp.sum(gradient.alpha * step.image, axis=1) + gradient.bias * step.bias
    # The last length is 0. Rounding is forgiven as `batch_newton.backtrack` does.
    before = value[-1, :]
    rounding = 8 * EPSILON * xp.maximum(xp.abs(before), xp.ones_like(before))
    is_enough = value <= before + SUFFICIENT_DECREASE * far * slope + rounding
    return xp.take(lengths, xp.argmax(xp.astype(is_enough, xp.int8), axis=0), axis=0)


def _penalty_product(space: RowSpace, a: _Heads, b: _Heads) -> Array:
    """(B,) the bilinear form of the penalty; of a head and itself, twice its penalty."""
    of_weights = array_namespace(a.alpha).sum(a.alpha * b.image, axis=1)
    return space.l2 * of_weights + space.bias_stiffness() * a.bias * b.bias
