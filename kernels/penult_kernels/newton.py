"""Newton-CG for the penalised softmax loss, ending in a certificate.

Newton's equation is solved by preconditioned conjugate gradients from Hessian products (two passes over
the rows each), no more accurately than the outer step can use (Eisenstat & Walker 1996), and the step is
cut back until it decreases the objective enough (Armijo). Logits are linear in the head, so a line search
needs one pass however many steps it tries.

The certificate. h(W) = min_b F(W, b) is l2-strongly convex, and its gradient is grad_W F(W, b*(W)). So
once b is minimised exactly, h(W) - min h <= |grad_W F|^2 / (2 l2) (Boyd & Vandenberghe 2004, eq. 9.9).
Cross-entropy is never negative, so the objective itself is a bound too, the only one when l2 = 0.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.softmax_loss import SoftmaxLoss

EPSILON = 2.0**-52
MAX_PRODUCTS = 500
"""Hessian products of one Newton step at most; what CG has reached by then is a descent direction."""
MAX_HALVINGS = 40
MAX_BIAS_STEPS = 50
LOOSEST_FORCING = 0.25
SUFFICIENT_DECREASE = 1e-4
TINY_CURVATURE = 1e-14
EXACT_BIAS_GRADIENT = 1e-13
"""Where Newton's method in the bias stops: about the rounding of sums of total weight 1."""
SETTLED_BIAS_GRADIENT = 1e-10
"""Above this gradient norm the bias does not count as minimised, and the certificate does not hold."""


class ConvergenceWarning(UserWarning):
    """A solver stopped before its tolerance was met; what it reached is returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How close to the optimum a fit came, in float64, on the problem that was solved."""

    converged: bool
    gap: float
    """Bound on objective - optimum, nats."""
    gradient_norm: float
    """|grad_W| with the bias minimised exactly."""
    iterations: int
    """Newton steps."""
    passes: int
    """Products with the (N, D) features or their transpose."""
    objective: float


@dataclass(slots=True, eq=False)
class _Iterate:
    """A head with its logits, and the passes spent on the way to it."""

    theta: Array
    scores: Array
    passes: int = 0


@dataclass(frozen=True, slots=True)
class _Limit:
    """What is close enough: a gap, or with l2 = 0 a gradient norm."""

    gap: float
    gradient_norm: float


def minimize(
    loss: SoftmaxLoss, *, start: Array | None = None, tolerance: float, max_iterations: int
) -> tuple[Array, Certificate]:
    """Minimise the loss over the head.

    Order of the steps: bias minimised exactly, gradient, test; direction by CG, line search; again. So
    every test is made where the certificate's bound holds.

    Parameters
    ----------
    loss : SoftmaxLoss
        Every class needs a row of positive weight, or the bias has no minimum.
    start : array of shape (C, D + 1), optional
        Head [W, b] to start from; zero when left out.
    tolerance : float
        Converged when gap <= tolerance * log(C), log(C) being the loss of the zero head; or, with l2 = 0,
        when |gradient| <= tolerance * |gradient at W = 0|.
    max_iterations : int
        Newton steps at most.

    Returns
    -------
    theta : array of shape (C, D + 1)
        Columns of W and the bias have mean 0 over the classes.
    certificate : Certificate
        With `converged` False, after a ConvergenceWarning, when the tolerance was not met.
    """
    xp = array_namespace(loss.features)
    n_classes = int(loss.is_label.shape[1])
    zero = xp.zeros((n_classes, loss.features.shape[1] + 1), dtype=xp.float64, device=loss.features.device)
    at = _Iterate(theta=zero, scores=loss.scores(zero), passes=1)
    gradient = _settle(loss, at)
    limit = _Limit(gap=tolerance * math.log(n_classes), gradient_norm=tolerance * _norm(gradient))
    if start is not None:
        theta = start - xp.mean(start, axis=0)
        at = _Iterate(theta=theta, scores=loss.scores(theta), passes=at.passes + 1)
        gradient = _settle(loss, at)
    first_norm = _norm(gradient)
    iterations = 0
    while not _is_met(limit, loss, at, gradient) and iterations < max_iterations:
        # Superlinear convergence: the closer, the more accurate the step (Eisenstat & Walker 1996).
        forcing = min(LOOSEST_FORCING, math.sqrt(_norm(gradient) / first_norm))
        direction = _newton_direction(loss, at, gradient, forcing)
        if not _search_line(loss, at, direction, slope=float(xp.sum(gradient * direction))):
            break
        iterations += 1
        gradient = _settle(loss, at)
    certificate = Certificate(
        converged=_is_met(limit, loss, at, gradient),
        gap=_gap(loss, at, gradient),
        gradient_norm=_norm(gradient[:, :-1]),
        iterations=iterations,
        passes=at.passes,
        objective=_objective(loss, at),
    )
    if not certificate.converged:
        _warn(certificate, limit)
    return at.theta, certificate


def _settle(loss: SoftmaxLoss, at: _Iterate) -> Array:
    """Minimise over the bias with W fixed, and return the gradient there."""
    _minimize_bias(loss, at)
    at.passes += 1
    return loss.gradient(at.theta, loss.probabilities(at.scores))


def _minimize_bias(loss: SoftmaxLoss, at: _Iterate) -> None:
    """Newton's method in the C biases; no pass over the features."""
    xp = array_namespace(at.theta)
    n_classes = at.theta.shape[0]
    identity = xp.eye(n_classes, dtype=xp.float64, device=at.theta.device)
    for _ in range(MAX_BIAS_STEPS):
        probabilities = loss.probabilities(at.scores)
        gradient = xp.sum(loss.residuals(probabilities), axis=0)
        if _norm(gradient) <= EXACT_BIAS_GRADIENT:
            return
        hessian = loss.bias_hessian(probabilities)
        scale = float(xp.linalg.trace(hessian)) / n_classes
        # The Hessian is singular along equal biases; 1/C there leaves the other directions alone. The tiny
        # multiple of the identity keeps it invertible where all probabilities have saturated.
        regular = hessian + scale / n_classes + (EPSILON * scale + TINY_CURVATURE) * identity
        step = -xp.linalg.solve(regular, gradient[:, None])[:, 0]
        step = step - xp.mean(step)
        length = _backtrack(
            lambda t, step=step: loss.data_value(at.scores + t * step),
            value=loss.data_value(at.scores),
            slope=float(xp.sum(gradient * step)),
        )
        if length == 0.0:
            return
        at.scores = at.scores + length * step
        at.theta = xp.concat([at.theta[:, :-1], (at.theta[:, -1] + length * step)[:, None]], axis=1)


def _newton_direction(loss: SoftmaxLoss, at: _Iterate, gradient: Array, forcing: float) -> Array:
    """Solve H d = -gradient by conjugate gradients to a residual of forcing * |gradient|."""
    xp = array_namespace(gradient)
    probabilities = loss.probabilities(at.scores)
    direction = xp.zeros_like(gradient)
    residual = -gradient
    search = residual
    squared = float(xp.sum(residual * residual))
    enough = forcing**2 * squared
    for _ in range(MAX_PRODUCTS):
        product = loss.hessian_product(probabilities, search)
        at.passes += 2
        curvature = float(xp.sum(search * product))
        if curvature <= EPSILON * EPSILON * float(xp.sum(search * search)):
            break
        length = squared / curvature
        direction = direction + length * search
        residual = residual - length * product
        previous, squared = squared, float(xp.sum(residual * residual))
        if squared <= enough:
            break
        search = residual + (squared / previous) * search
    # Moving all classes alike changes no probability: what rounding has put there only adds to |W|.
    return direction - xp.mean(direction, axis=0)


def _search_line(loss: SoftmaxLoss, at: _Iterate, direction: Array, *, slope: float) -> bool:
    """Move along the direction as far as the objective decreases enough; False when nowhere."""
    at.passes += 1
    change = loss.scores(direction)

    def objective(length: float) -> float:
        return loss.data_value(at.scores + length * change) + loss.penalty(at.theta + length * direction)

    length = _backtrack(objective, value=_objective(loss, at), slope=slope)
    at.theta = at.theta + length * direction
    at.scores = at.scores + length * change
    return length > 0.0


def _backtrack(objective: Callable[[float], float], *, value: float, slope: float) -> float:
    """Largest of 1, 1/2, 1/4, ... that satisfies Armijo's rule; 0 when none does.

    Near the optimum the decrease drowns in the rounding of the objective, so that much is forgiven: a mean
    of logarithms of sums near 1 is rounded on the scale of 1 even where it is almost 0.
    """
    if not slope < 0:
        return 0.0
    rounding = 8 * EPSILON * max(1.0, abs(value))
    length = 1.0
    for _ in range(MAX_HALVINGS):
        if objective(length) <= value + SUFFICIENT_DECREASE * length * slope + rounding:
            return length
        length *= 0.5
    return 0.0


def _objective(loss: SoftmaxLoss, at: _Iterate) -> float:
    return loss.data_value(at.scores) + loss.penalty(at.theta)


def _gap(loss: SoftmaxLoss, at: _Iterate, gradient: Array) -> float:
    """Bound on objective - optimum; the strong-convexity bound needs a bias that is at its minimum."""
    objective = _objective(loss, at)
    if loss.l2 == 0 or _norm(gradient[:, -1]) > SETTLED_BIAS_GRADIENT:
        return objective
    return min(objective, _norm(gradient[:, :-1]) ** 2 / (2 * loss.l2))


def _is_met(limit: _Limit, loss: SoftmaxLoss, at: _Iterate, gradient: Array) -> bool:
    is_flat = loss.l2 == 0 and _norm(gradient) <= limit.gradient_norm
    return is_flat or _gap(loss, at, gradient) <= limit.gap


def _norm(values: Array) -> float:
    xp = array_namespace(values)
    return math.sqrt(float(xp.sum(values * values)))


def _warn(certificate: Certificate, limit: _Limit) -> None:
    warnings.warn(
        f"the fit stopped after {certificate.iterations} Newton steps with a gap of {certificate.gap:.3g}, "
        f"above the {limit.gap:.3g} asked for: raise max_iterations, l2 or tolerance",
        ConvergenceWarning,
        stacklevel=4,
    )
