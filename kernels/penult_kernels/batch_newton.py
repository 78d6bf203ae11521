"""Newton-CG for a batch of L2 problems at once, each with a line search and a certificate of its own.

Every step is that of one problem, done for all with one product: the bias minimised exactly where it is free,
gradient, test, a direction by conjugate gradients from Hessian products no more accurate than the step can use
(Eisenstat & Walker 1996), and a backtracking search (Armijo), for which logits are linear in the head.
Problems that have converged leave the batch.

The certificate. With a free bias at its minimum, h(V) = min_c F(V, c) is l2-strongly convex and its
gradient is grad_V F, so h(V) - min h <= |grad_V F|^2 / (2 l2) (Boyd & Vandenberghe 2004, eq. 9.9), which is also
the duality gap at p. A penalised bias counts as a weight. F less the entropy of the targets is a bound, too,
the only one when l2 = 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.block_fit import BlockFit
from penult_kernels.logit_loss import probabilities
from penult_kernels.preconditioner import Preconditioner
from penult_kernels.refit_batch import Batch

EPSILON = 2.0**-52
MAX_PRODUCTS = 500
MAX_HALVINGS = 40
MAX_BIAS_STEPS = 50
SURE_BIAS_STEP = 0.5
LOOSEST_FORCING = 0.5
WARM_NORM = 0.01
"""Of the gradient's norm at zero: what it is taken for at a start, where the first step need not be a loose one."""
SUFFICIENT_DECREASE = 1e-4
TINY_CURVATURE = 1e-14
EXACT_BIAS_GRADIENT = 1e-13
SETTLED_BIAS_GRADIENT = 1e-10


@dataclass(slots=True, eq=False)
class _State:
    """Iterates of the blocks that are still solved, and which ones they are."""

    batch: Batch
    inner: Batch
    """The same blocks, for the products of conjugate gradients."""
    preconditioner: Preconditioner | None
    positions: NDArray[np.int64]
    theta: Array
    logits: Array
    floor: Array
    first_norm: Array
    passes: NDArray[np.int64]


def newton(
    batch: Batch,
    start: Array,
    *,
    tolerance: float,
    max_iterations: int,
    check: Callable[[], None] | None = None,
    unwanted: Callable[[], NDArray[np.bool_]] | None = None,
    inner: Batch | None = None,
    preconditioner: Preconditioner | None = None,
) -> list[BlockFit]:
    """Minimise every block of an L2 batch (its l1 is not looked at).

    Parameters
    ----------
    batch : Batch
    start : array of shape (B, q, D + 1)
    tolerance : float
        A block has converged when gap <= tolerance * log(max(q, 2)); or, with l2 = 0, when
        |gradient| <= tolerance * |gradient at V = 0|.
    max_iterations : int
    check : callable, optional
        Called before every pass over the rows; what it raises ends the solve.
    unwanted : callable, optional
        Asked before every step for (B,) True where a block need not be solved any more: it leaves as it stands.
    inner : Batch, optional
        The same batch with cheaper products, for conjugate gradients; gradients and tests use `batch`.
    preconditioner : Preconditioner, optional
        For conjugate gradients.

    Returns
    -------
    list of BlockFit
        One per block, in order.
    """
    xp = array_namespace(start)
    n_blocks, n_columns = int(start.shape[0]), int(start.shape[1])
    checked = check if check is not None else _nothing
    limit = tolerance * math.log(max(n_columns, 2))
    at_zero = xp.zeros_like(start)
    state = _State(
        batch=batch,
        inner=batch if inner is None else inner,
        preconditioner=preconditioner,
        positions=np.arange(n_blocks, dtype=np.int64),
        theta=at_zero,
        logits=xp.broadcast_to(batch.offset, (batch.offset.shape[0], n_blocks, n_columns)),
        floor=batch.smallest_loss(),
        first_norm=xp.ones((n_blocks,), dtype=xp.float64, device=start.device),
        passes=np.zeros(n_blocks, np.int64),
    )
    is_cold = not bool(xp.any(start != 0))
    gradient, flat_limit = at_zero, xp.zeros_like(state.first_norm)
    if is_cold or bool(xp.any(batch.l2 == 0)):
        gradient = _settle(state)
        flat_limit = tolerance * _norms(gradient)
    if not is_cold:
        # The optimum has mean 0 over the classes: an equal change of all costs penalty and moves no probability.
        state.theta = batch.mask(start if n_columns == 1 else start - xp.mean(start, axis=1, keepdims=True))
        checked()
        state.logits = batch.logits(state.theta) + batch.offset
        state.passes += 1
        gradient = _settle(state)
    state.first_norm = _norms(gradient) / (1.0 if is_cold else WARM_NORM)
    found: list[BlockFit | None] = [None] * n_blocks
    steps = 0
    stuck = np.zeros(n_blocks, bool)
    while True:
        gaps = _gaps(state, gradient)
        norms = to_host(_norms(gradient))
        is_flat = (to_host(state.batch.l2) == 0) & (norms <= to_host(flat_limit))
        met = is_flat | (to_host(gaps) <= limit)
        done = met | stuck | (steps >= max_iterations)
        if unwanted is not None:
            done = done | unwanted()[state.positions]
        if done.any():
            _record(found, state, gradient, to_host(gaps), met, done, steps)
            kept = np.flatnonzero(~done)
            if kept.size == 0:
                break
            gradient, flat_limit = _keep(state, kept, gradient, flat_limit)
        checked()
        direction = _directions(state, gradient, checked)
        stuck = _search(state, direction, xp.sum(gradient * direction, axis=(1, 2)))
        steps += 1
        gradient = _settle(state)
    return [one for one in found if one is not None]


def _nothing() -> None:
    return


def _record(
    found: list[BlockFit | None],
    state: _State,
    gradient: Array,
    gaps: NDArray[np.float64],
    met: NDArray[np.bool_],
    done: NDArray[np.bool_],
    steps: int,
) -> None:
    """Write down the blocks that are done."""
    objectives = to_host(_objective(state, state.theta, state.logits))
    norms = to_host(_penalised_norms(state.batch, gradient))
    for index in np.flatnonzero(done):
        found[int(state.positions[index])] = BlockFit(
            theta=state.theta[int(index), :, :],
            gap=float(gaps[index]),
            gradient_norm=float(norms[index]),
            iterations=steps,
            passes=int(state.passes[index]),
            objective=float(objectives[index]),
            converged=bool(met[index]),
        )


def _keep(state: _State, kept: NDArray[np.int64], gradient: Array, flat_limit: Array) -> tuple[Array, Array]:
    """Drop the blocks that are done, here and in what goes with them."""
    xp = array_namespace(gradient)
    at = beside(kept, gradient)
    same = state.inner is state.batch
    state.batch = state.batch.take(kept)
    state.inner = state.batch if same else state.inner.take(kept)
    state.preconditioner = None if state.preconditioner is None else state.preconditioner.take(kept)
    state.positions = state.positions[kept]
    state.theta = xp.take(state.theta, at, axis=0)
    state.logits = xp.take(state.logits, at, axis=1)
    state.floor = xp.take(state.floor, at, axis=0)
    state.first_norm = xp.take(state.first_norm, at, axis=0)
    state.passes = state.passes[kept]
    return xp.take(gradient, at, axis=0), xp.take(flat_limit, at, axis=0)


def _settle(state: _State) -> Array:
    """Minimise over the free biases with V fixed, and return the gradient there: one pass."""
    state.theta, state.logits = settle_bias(state.batch, state.theta, state.logits)
    state.passes += 1
    return state.batch.gradient(state.theta, state.logits)


def settle_bias(batch: Batch, theta: Array, logits: Array) -> tuple[Array, Array]:
    """Newton's method in the biases that are free; no pass over the features."""
    xp = array_namespace(theta)
    if not bool(xp.any(batch.is_free > 0)):
        return theta, logits
    n_columns = theta.shape[1]
    identity = xp.eye(n_columns, dtype=xp.float64, device=theta.device)
    shift = xp.zeros(theta.shape[:2], dtype=xp.float64, device=theta.device)
    for _ in range(MAX_BIAS_STEPS):
        gradient, hessian = batch.bias_derivatives(logits, shift)
        gradient = gradient * batch.is_free[:, None]
        if bool(xp.all(xp.sum(gradient * gradient, axis=1) <= EXACT_BIAS_GRADIENT**2)):
            break
        scale = xp.sum(hessian * identity, axis=(1, 2))[:, None, None] / n_columns
        # The softmax does not change along equal biases; 1/q there leaves the other directions alone. The tiny
        # multiple of the identity keeps the matrix invertible where all probabilities have saturated.
        singular = scale / n_columns if n_columns > 1 else 0.0
        regular = hessian + singular + (EPSILON * scale + TINY_CURVATURE) * identity
        step = -xp.linalg.solve(regular, gradient[:, :, None])[:, :, 0]
        if n_columns > 1:
            step = step - xp.mean(step, axis=1, keepdims=True)
        moved = _bias_move(batch, logits, shift, step, xp.sum(gradient * step, axis=1))
        if bool(xp.all(moved == shift)):
            break
        shift = moved
    theta = xp.concat([theta[:, :, :-1], theta[:, :, -1:] + shift[:, :, None]], axis=2)
    return theta, logits + shift


def _bias_move(batch: Batch, logits: Array, shift: Array, step: Array, slope: Array) -> Array:
    """shift + step where that is sure to decrease the loss, else as far as it does.

    The loss is generalised self-concordant in the bias: its third derivative along s is at most 2 max|s| times
    its second (Bach 2010, lemma 1), so that a Newton step of max|s| <= SURE_BIAS_STEP decreases it.
    """
    xp = array_namespace(step)
    if float(xp.max(xp.abs(step))) <= SURE_BIAS_STEP:
        return shift + step
    change = xp.broadcast_to(step, logits.shape)
    length = backtrack(
        lambda t: batch.data_value(logits + shift, change, t), value=batch.data_value(logits + shift), slope=slope
    )
    return shift + length[:, None] * step


def _directions(state: _State, gradient: Array, check: Callable[[], None]) -> Array:
    """Solve H d = -gradient by preconditioned conjugate gradients, each block to its own forcing term."""
    xp = array_namespace(gradient)
    norms = _norms(gradient)
    # Superlinear convergence: the closer, the more accurate the step.
    forcing = xp.minimum(xp.sqrt(norms / state.first_norm), xp.full_like(norms, LOOSEST_FORCING))
    enough = (forcing * norms) ** 2
    p = probabilities(state.logits)
    precondition = _preconditioning(state, p)
    curvature_of_rows = state.inner.curvature(p)
    direction = xp.zeros_like(gradient)
    residual = -gradient
    towards = precondition(residual)
    search = towards
    along = xp.sum(residual * towards, axis=(1, 2))
    active = norms * norms > enough
    for _ in range(MAX_PRODUCTS):
        check()
        product = state.inner.hessian_product(curvature_of_rows, search)
        state.passes += 2 * to_host(active)
        curvature = xp.sum(search * product, axis=(1, 2))
        active = active & (curvature > EPSILON * EPSILON * xp.sum(search * search, axis=(1, 2)))
        length = xp.where(active, along / xp.where(active, curvature, 1.0), 0.0)[:, None, None]
        direction = direction + length * search
        residual = residual - length * product
        active = active & (xp.sum(residual * residual, axis=(1, 2)) > enough)
        if not bool(xp.any(active)):
            break
        towards = precondition(residual)
        previous, along = along, xp.sum(residual * towards, axis=(1, 2))
        growth = xp.where(active, along / xp.where(previous > 0, previous, 1.0), 0.0)
        search = towards + growth[:, None, None] * search
    if direction.shape[1] == 1:
        return direction
    # Moving all classes alike changes no probability: what rounding has put there only adds to |V|.
    return direction - xp.mean(direction, axis=1, keepdims=True)


def _preconditioning(state: _State, p: Array) -> Callable[[Array], Array]:
    if state.preconditioner is None:
        return lambda residual: residual
    return state.preconditioner.at(state.batch, p)


def _search(state: _State, direction: Array, slope: Array) -> NDArray[np.bool_]:
    """Move along the directions as far as the objectives decrease enough; True where nowhere."""
    change = state.batch.logits(direction)
    state.passes += 1

    def objective(length: Array) -> Array:
        penalty = state.batch.smooth_penalty(state.theta + length[:, None, None] * direction)
        return state.batch.data_value(state.logits, change, length) + penalty

    length = backtrack(objective, value=_objective(state, state.theta, state.logits), slope=slope)
    state.theta = state.theta + length[:, None, None] * direction
    state.logits = state.logits + length[:, None] * change
    return to_host(length) == 0


def backtrack(objective: Callable[[Array], Array], *, value: Array, slope: Array) -> Array:
    """Largest of 1, 1/2, 1/4, ... that satisfies Armijo's rule, for every problem (B,); 0 where none does.

    Near the optimum the decrease drowns in the rounding of the objective, so that much is forgiven: a mean
    of logarithms of sums near 1 is rounded on the scale of 1 even where it is almost 0.
    """
    xp = array_namespace(value)
    rounding = 8 * EPSILON * xp.maximum(xp.abs(value), xp.ones_like(value))
    length = xp.where(slope < 0, xp.ones_like(value), xp.zeros_like(value))
    for _ in range(MAX_HALVINGS):
        too_far = objective(length) > value + SUFFICIENT_DECREASE * length * slope + rounding
        if not bool(xp.any(too_far)):
            return length
        length = xp.where(too_far, 0.5 * length, length)
    return xp.where(length <= 0.5**MAX_HALVINGS, xp.zeros_like(length), length)


def _objective(state: _State, theta: Array, logits: Array) -> Array:
    return state.batch.data_value(logits) + state.batch.smooth_penalty(theta)


def _gaps(state: _State, gradient: Array) -> Array:
    """Bounds on objective - optimum (B,); strong convexity gives one where a free bias is at its minimum."""
    xp = array_namespace(gradient)
    above = _objective(state, state.theta, state.logits) - state.floor
    l2 = state.batch.l2
    strong = _penalised_norms(state.batch, gradient) ** 2 / (2 * xp.where(l2 > 0, l2, 1.0))
    free_bias = xp.sqrt(xp.sum(gradient[:, :, -1] ** 2, axis=1)) * state.batch.is_free
    holds = (l2 > 0) & (free_bias <= SETTLED_BIAS_GRADIENT)
    return xp.where(holds, xp.minimum(above, strong), above)


def _penalised_norms(batch: Batch, gradient: Array) -> Array:
    """Norm of the gradient in what is penalised (B,); a penalised bias c counts as the weight c / intercept_scale."""
    xp = array_namespace(gradient)
    squares = xp.sum(gradient * gradient, axis=1)
    scale = xp.where(batch.bias_penalty > 0, 1.0 / xp.where(batch.bias_penalty > 0, batch.bias_penalty, 1.0), 0.0)
    return xp.sqrt(xp.sum(squares[:, :-1], axis=1) + scale**2 * squares[:, -1])


def _norms(gradient: Array) -> Array:
    xp = array_namespace(gradient)
    return xp.sqrt(xp.sum(gradient * gradient, axis=(1, 2)))
