"""The minimum over free intercepts for given weights, without a pass over the features."""

from array_api_compat import array_namespace

from penult_kernels.arrays import Array, to_host
from penult_kernels.linear.blocks.batch import Batch
from penult_kernels.linear.line_search import backtrack

MAX_STEPS = 50
"""Newton steps at most; few are needed in practice."""
SURE_STEP = 0.5
"""A Newton step that moves no intercept by more than this decreases the loss.

The loss is generalised self-concordant in the intercept: its third derivative along s is at most 2 max|s| times its
second (Bach 2010, lemma 1), so that a Newton step of max|s| <= SURE_STEP decreases it."""
EXACT_GRADIENT = 1e-13
"""Norm of the gradient in the intercepts below which another step would be rounding."""
TINY_CURVATURE = 1e-14
"""Added to the curvature of every intercept, so that none is zero."""


def minimize_intercept(batch: Batch, theta: Array, logits: Array) -> tuple[Array, Array]:
    """Heads (B, q, D + 1) and logits (n, B, q) with the free intercepts at their minimum, by Newton's method."""
    if not batch.has_free:
        return theta, logits
    xp = array_namespace(theta)
    n_columns = int(theta.shape[1])
    shift = xp.zeros(theta.shape[:2], dtype=xp.float64, device=theta.device)
    for _ in range(MAX_STEPS):
        gradient, hessian = batch.bias_derivatives(logits, shift)
        gradient = gradient * batch.is_free[:, None]
        step = -xp.linalg.solve(regularize_intercepts(hessian, n_columns), gradient[:, :, None])[:, :, 0]
        if n_columns > 1:
            step = step - xp.mean(step, axis=1, keepdims=True)
        moved = shift + step
        of_problem = xp.max(xp.sum(gradient * gradient, axis=1)), xp.max(xp.abs(step)), xp.max(xp.abs(moved - shift))
        # One copy of all three, and so one wait for a device.
        square, longest, change = (float(one) for one in to_host(xp.stack(of_problem)))
        if square <= EXACT_GRADIENT**2 or change == 0:
            break
        # A NaN is no short step either.
        if not longest <= SURE_STEP:
            moved = _cut(batch, logits, shift, step, xp.sum(gradient * step, axis=1))
            if bool(xp.all(moved == shift)):
                break
        shift = moved
    theta = xp.concat([theta[:, :, :-1], theta[:, :, -1:] + shift[:, :, None]], axis=2)
    return theta, logits + shift


def regularize_intercepts(hessian: Array, n_intercepts: int, penalty: Array | None = None) -> Array:
    """Hessians (B, m, m) made invertible in their first directions, the intercepts; plus a diagonal `penalty` (B, m).

    Equal changes of all intercepts do not change the softmax; a term of 1/q in that direction leaves the others as they
    are. The tiny multiple of the identity keeps the matrix invertible where all probabilities have saturated.
    """
    xp = array_namespace(hessian)
    identity = xp.eye(int(hessian.shape[1]), dtype=hessian.dtype, device=hessian.device)
    if penalty is not None:
        hessian = hessian + penalty[:, :, None] * identity
    if n_intercepts == 1:
        # One number of each matrix changes: the same sum as below, in a third of the launches.
        own = hessian[:, :1, :1]
        regular = own + (xp.finfo(hessian.dtype).eps * own + TINY_CURVATURE)
        if penalty is None:
            hessian = xp.astype(hessian, hessian.dtype, copy=True)
        hessian[:, :1, :1] = regular
        return hessian
    is_intercept = xp.astype(xp.sum(identity[:n_intercepts, :], axis=0), hessian.dtype)
    scale = xp.sum(hessian * identity * is_intercept, axis=(1, 2))[:, None, None] / n_intercepts
    alike = scale / n_intercepts * is_intercept[:, None] * is_intercept if n_intercepts > 1 else 0.0
    return hessian + alike + (xp.finfo(hessian.dtype).eps * scale + TINY_CURVATURE) * is_intercept * identity


def _cut(batch: Batch, logits: Array, shift: Array, step: Array, derivative: Array) -> Array:
    """shift + step, with the step cut by Armijo's rule."""
    xp = array_namespace(step)
    change = xp.broadcast_to(step, logits.shape)
    length = backtrack(
        lambda t: batch.data_value(logits + shift, change, t),
        value=batch.data_value(logits + shift),
        derivative=derivative,
    )
    return shift + length[:, None] * step
