"""Newton-CG for a batch of L2 problems at once, each with a line search and a certificate of its own.

The order of steps, each with one product for all problems: minimise free biases exactly; gradient; test; a direction by
conjugate gradients, no more accurate than the step can use (Eisenstat & Walker 1996); a backtracking line search
(Armijo), which needs one product because logits are linear in the head.
Problems that have converged leave the batch.

The certificate. With a free bias at its minimum, h(V) = min_c F(V, c) is l2-strongly convex and its
gradient is grad_V F, so h(V) - min h <= |grad_V F|^2 / (2 l2) (Boyd & Vandenberghe 2004, eq. 9.9), which is also
the duality gap at p. A penalised bias counts as a weight. F minus the entropy of the targets is a bound, too, and the
only one when l2 = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.linear.block_fit import BlockFit
from penult_kernels.linear.blocks.batch import Batch
from penult_kernels.linear.control import StopRule
from penult_kernels.linear.intercept import minimize_intercept
from penult_kernels.linear.l2.eigenbasis import Preconditioner
from penult_kernels.linear.line_search import backtrack
from penult_kernels.loss import probabilities

EPSILON = 2.0**-52
"""Relative rounding of float64; a curvature below its square counts as zero."""
MAX_PRODUCTS = 500
"""Hessian products of a direction at most."""
LOOSEST_FORCING = 0.5
"""A direction is computed to a residual of at most this fraction of the gradient."""
WARM_NORM = 0.01
"""Assumed ratio of the gradient at a warm start to that at zero, which makes its first direction accurate enough."""
EXACT_INTERCEPT = 1e-10
"""A free intercept is at its minimum where its gradient has at most this norm."""


@dataclass(slots=True, eq=False)
class _State:
    """Iterates of the blocks that are not solved yet, and their positions."""

    batch: Batch
    inner: Batch
    """The batch for the products of conjugate gradients: `batch`, or the same blocks with cheaper products."""
    preconditioner: Preconditioner | None
    positions: NDArray[np.int64]
    theta: Array
    logits: Array
    floor: Array
    first_norm: Array
    flat_limit: Array
    """(B,) the norm of a gradient that is small enough where l2 = 0."""
    gradient: Array
    """(B, q, D + 1) at theta."""
    passes: NDArray[np.int64]


def newton(
    batch: Batch,
    start: Array,
    stop: StopRule,
    *,
    inner: Batch | None = None,
    preconditioner: Preconditioner | None = None,
) -> list[BlockFit]:
    """Minimise every block of an L2 batch, ignoring its l1, from `start` (B, q, D + 1); answers in order.

    A block has converged when its gap is at most the limit of `stop`; or, with l2 = 0, when |gradient| is at most
    tolerance |gradient at V = 0|. Conjugate gradients use `inner`, the same batch with cheaper products, and the
    preconditioner; gradients and tests use `batch`.
    """
    xp = array_namespace(start)
    n_blocks, n_columns = int(start.shape[0]), int(start.shape[1])
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
        flat_limit=xp.zeros((n_blocks,), dtype=xp.float64, device=start.device),
        gradient=at_zero,
        passes=np.zeros(n_blocks, np.int64),
    )
    has_start, has_no_l2 = to_host(xp.stack([xp.any(start != 0), xp.any(batch.l2 == 0)])).tolist()
    is_cold = not has_start
    if is_cold or has_no_l2:
        _take_gradient(state)
        state.flat_limit = stop.tolerance * _norms(state.gradient)
    if not is_cold:
        # The optimum has mean 0 over the classes: an equal change of all costs penalty and moves no probability.
        state.theta = batch.mask(start if n_columns == 1 else start - xp.mean(start, axis=1, keepdims=True))
        stop.check()
        state.logits = batch.logits(state.theta) + batch.offset
        state.passes += 1
        _take_gradient(state)
    state.first_norm = _norms(state.gradient) / (1.0 if is_cold else WARM_NORM)
    found: list[BlockFit | None] = [None] * n_blocks
    steps = 0
    stuck = np.zeros(n_blocks, bool)
    while True:
        here = _reached(state)
        met = here.is_flat | (here.gaps <= stop.limit)
        done = met | stuck | (steps >= stop.max_iterations)
        if stop.unwanted is not None:
            done = done | stop.unwanted()[state.positions]
        if done.any():
            _record(found, state, here, met, done, steps)
            stop.left(np.asarray([one is not None for one in found]))
            kept = np.flatnonzero(~done)
            if kept.size == 0:
                break
            _keep(state, kept)
        stop.check()
        direction = _directions(state, stop.check)
        stuck = _search(state, direction, xp.sum(state.gradient * direction, axis=(1, 2)))
        steps += 1
        _take_gradient(state)
    return [one for one in found if one is not None]


def _record(
    found: list[BlockFit | None],
    state: _State,
    here: "_Reached",
    met: NDArray[np.bool_],
    done: NDArray[np.bool_],
    steps: int,
) -> None:
    """Record the answers of the blocks that are done."""
    for index in np.flatnonzero(done):
        found[int(state.positions[index])] = BlockFit(
            theta=state.theta[int(index), :, :],
            gap=float(here.gaps[index]),
            gradient_norm=float(here.norms[index]),
            iterations=steps,
            passes=int(state.passes[index]),
            objective=float(here.objectives[index]),
            converged=bool(met[index]),
        )


def _keep(state: _State, kept: NDArray[np.int64]) -> None:
    """Drop the blocks that are done."""
    xp = array_namespace(state.theta)
    at = asarray_like(kept, state.theta)
    same = state.inner is state.batch
    state.batch = state.batch.take(kept)
    state.inner = state.batch if same else state.inner.take(kept)
    state.preconditioner = None if state.preconditioner is None else state.preconditioner.take(kept)
    state.positions, state.passes = state.positions[kept], state.passes[kept]
    state.logits = xp.take(state.logits, at, axis=1)
    for name in ("theta", "floor", "first_norm", "flat_limit", "gradient"):
        setattr(state, name, xp.take(getattr(state, name), at, axis=0))


def _take_gradient(state: _State) -> None:
    """Minimise over the free biases with V fixed, and take the gradient there: one pass."""
    state.theta, state.logits = minimize_intercept(state.batch, state.theta, state.logits)
    state.passes += 1
    state.gradient = state.batch.gradient(state.theta, state.logits)


def _directions(state: _State, check: Callable[[], None]) -> Array:
    """Solve H d = -gradient by preconditioned conjugate gradients, each block to its own forcing term."""
    gradient = state.gradient
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


def _search(state: _State, direction: Array, derivative: Array) -> NDArray[np.bool_]:
    """Move along the directions as far as the objectives decrease enough; True (B,) where no step was taken."""
    change = state.batch.logits(direction)
    state.passes += 1

    def objective(length: Array) -> Array:
        penalty = state.batch.smooth_penalty(state.theta + length[:, None, None] * direction)
        return state.batch.data_value(state.logits, change, length) + penalty

    length = backtrack(objective, value=_objective(state, state.theta, state.logits), derivative=derivative)
    state.theta = state.theta + length[:, None, None] * direction
    state.logits = state.logits + length[:, None] * change
    return to_host(length) == 0


def _objective(state: _State, theta: Array, logits: Array) -> Array:
    return state.batch.data_value(logits) + state.batch.smooth_penalty(theta)


@dataclass(frozen=True, slots=True, eq=False)
class _Reached:
    """What the host has to know of each block (B,)."""

    objectives: NDArray[np.float64]
    gaps: NDArray[np.float64]
    """Bounds on objective - optimum; strong convexity gives one where a free bias is at its minimum."""
    norms: NDArray[np.float64]
    """Lengths of the gradient in the penalised entries."""
    is_flat: NDArray[np.bool_]
    """Whether there is no l2, and the gradient is small enough."""


def _reached(state: _State) -> _Reached:
    """Where the blocks are, by one copy from the device."""
    xp = array_namespace(state.gradient)
    objective, norm = _objective(state, state.theta, state.logits), _penalised_norms(state.batch, state.gradient)
    above, l2 = objective - state.floor, state.batch.l2
    strong = norm**2 / (2 * xp.where(l2 > 0, l2, 1.0))
    free_bias = xp.sqrt(xp.sum(state.gradient[:, :, -1] ** 2, axis=1)) * state.batch.is_free
    holds = (l2 > 0) & (free_bias <= EXACT_INTERCEPT)
    gaps = xp.where(holds, xp.minimum(above, strong), above)
    is_flat = xp.astype((l2 == 0) & (_norms(state.gradient) <= state.flat_limit), xp.float64)
    objectives, gaps, norms, is_flat = to_host(xp.stack([objective, gaps, norm, is_flat]))
    return _Reached(objectives, gaps, norms, is_flat > 0)


def _penalised_norms(batch: Batch, gradient: Array) -> Array:
    """Norm (B,) of the gradient in the penalised entries; a penalised bias c is the weight c / intercept_scale."""
    xp = array_namespace(gradient)
    squares = xp.sum(gradient * gradient, axis=1)
    scale = xp.where(batch.bias_penalty > 0, 1.0 / xp.where(batch.bias_penalty > 0, batch.bias_penalty, 1.0), 0.0)
    return xp.sqrt(xp.sum(squares[:, :-1], axis=1) + scale**2 * squares[:, -1])


def _norms(gradient: Array) -> Array:
    xp = array_namespace(gradient)
    return xp.sqrt(xp.sum(gradient * gradient, axis=(1, 2)))
