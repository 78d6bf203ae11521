"""The small problem inside a proximal Newton step: a quadratic with an l1 penalty, on the host.

    minimise over u (k,)    g^T (u - v) + (u - v)^T H (u - v) / 2 + sum_j l1_j |u_j|

First, guess the signs: solve the linear system of the present support and signs, drop the entries that came out with
the other sign, add those whose gradient exceeds l1, and repeat (primal-dual active sets, Hintermüller, Ito & Kunisch
2002). When nothing changes this is the optimum, usually after a handful of solves, but it may cycle. Then sweeps of
coordinate descent find the signs; between them, the solution of the system of the present signs is approached until the
first entry changes sign (feature-sign search, Lee et al. 2006). Both only descend.
"""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
MAX_GUESSES = 15
"""Linear systems that are solved for guessed signs before coordinate descent takes over."""
MAX_SWEEPS = 200
"""Sweeps of coordinate descent at most."""
SLACK = 1e-10
"""Relative excess of |gradient| over l1 at a zero entry that still counts as optimal."""
RELATIVE_RIDGE = 1e-13
"""Ridge as a fraction of the mean diagonal, which keeps systems of dependent columns solvable."""


def minimize_quadratic(hessian: Vector, gradient: Vector, start: Vector, l1: Vector) -> Vector:
    """Minimiser u (k,) of the module's problem with v = `start`.

    Parameters
    ----------
    hessian : array of shape (k, k)
        Positive semidefinite.
    gradient, start, l1 : arrays of shape (k,)
        g and v; l1 at least 0.
    """
    size = start.size
    ridge = RELATIVE_RIDGE * float(np.trace(hessian)) / size + np.finfo(np.float64).tiny
    regular = hessian.copy()
    regular.flat[:: size + 1] += ridge
    guessed = _guess_signs(regular, regular @ start - gradient, start, l1)
    return _descend(regular, gradient, start, l1) if guessed is None else guessed


def _guess_signs(hessian: Vector, right: Vector, start: Vector, l1: Vector) -> Vector | None:
    """Minimiser of u^T H u / 2 - right^T u + l1 |u| by active sets; None if they do not converge."""
    gradient = hessian @ start - right
    signs = np.where(start != 0, np.sign(start), np.where(np.abs(gradient) > l1, -np.sign(gradient), 0.0))
    is_free = l1 == 0
    for _ in range(MAX_GUESSES):
        support = np.flatnonzero(is_free | (signs != 0))
        u = np.zeros_like(start)
        u[support] = np.linalg.solve(hessian[support[:, None], support], right[support] - l1[support] * signs[support])
        gradient = hessian @ u - right
        wrong = (signs != 0) & ~is_free & (np.sign(u) != signs)
        joins = (signs == 0) & ~is_free & (np.abs(gradient) > l1 * (1 + SLACK))
        if not (wrong.any() or joins.any()):
            return u
        signs = np.where(wrong, 0.0, np.where(joins, -np.sign(gradient), signs))
    return None


def _descend(regular: Vector, gradient: Vector, start: Vector, l1: Vector) -> Vector:
    """Coordinate descent and feature-sign steps in turn."""
    u = start.copy()
    at_u = gradient.copy()
    for _ in range(MAX_SWEEPS):
        moved = _sweep(regular, u, at_u, l1)
        if moved == 0.0:
            break
        if _follow_signs(regular, u, at_u, l1) and _is_optimal(u, at_u, l1):
            break
        # Many small updates accumulate rounding, so the gradient is recomputed before it is tested.
        at_u = gradient + regular @ (u - start)
    return u


def _sweep(hessian: Vector, u: Vector, gradient: Vector, l1: Vector) -> float:
    """One pass of coordinate descent, in place; the largest move."""
    largest = 0.0
    diagonal = hessian.diagonal().tolist()
    penalties = l1.tolist()
    for j in range(u.size):
        old = u[j]
        towards = diagonal[j] * old - gradient[j]
        penalty = penalties[j]
        if towards > penalty:
            new = (towards - penalty) / diagonal[j]
        elif towards < -penalty:
            new = (towards + penalty) / diagonal[j]
        else:
            new = 0.0
        if new != old:
            gradient += (new - old) * hessian[j]
            u[j] = new
            largest = max(largest, abs(new - old))
    return largest


def _follow_signs(hessian: Vector, u: Vector, gradient: Vector, l1: Vector) -> bool:
    """Go towards the optimum of the present signs, in place; False when one changed on the way."""
    free = np.flatnonzero((u != 0) | (l1 == 0))
    if free.size == 0:
        return True
    signs = np.sign(u[free]) * (l1[free] > 0)
    step = -np.linalg.solve(hessian[np.ix_(free, free)], gradient[free] + l1[free] * signs)
    end = u[free] + step
    crosses = (signs != 0) & (np.sign(end) != signs)
    if not crosses.any():
        u[free] = end
        gradient += hessian[:, free] @ step
        return True
    lengths = np.where(crosses, -u[free] / np.where(crosses, step, 1.0), 1.0)
    length = float(lengths.min())
    u[free] += length * step
    u[free[lengths == length]] = 0.0
    return False


def _is_optimal(u: Vector, gradient: Vector, l1: Vector) -> bool:
    """Whether |gradient| <= l1 at every zero entry; the others are optimal already."""
    return bool((np.abs(gradient[u == 0]) <= l1[u == 0] * (1 + SLACK)).all())
