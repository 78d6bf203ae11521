"""The linear support vector machine, soft or hard, to a certificate: an augmented Lagrangian with Newton steps.

    minimise over w (q, D):  |w|^2 / 2 + sum_j C_j max(0, b_j - u_j . (w z_i(j)))
    its dual over 0 <= a_j <= C_j:  sum_j a_j b_j - |sum_j a_j u_j z_i(j)^T|^2 / 2,   w = sum_j a_j u_j z_i(j)^T

A constraint j is a row i and a class c that is not its own: u_j = B^T (e_y - e_c), B (K, q) an orthonormal basis of the
vectors that sum to 0, q = K - 1. So V = B w, |V| = |w|, and the margin is l_y - l_c. C_j = inf is the hard margin.
The sum over c is the machine of Weston & Watkins 1999; two classes are the usual one.

Steps (Rockafellar 1976; for machines Yin & Li 2019): minimise over w the augmented Lagrangian at the multipliers a, by
Newton's method with a line search; put a to clip(a + rho (b - margin), 0, C); raise rho. Few of the constraints have a
multiplier strictly between the bounds, and a Newton system is of their number or of q D, whichever is less.
Host alone, float64; the rows are copied.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NEWTON_STEPS = 50
GROWTH = 4.0
"""Factor on rho between rounds."""
LARGEST_RHO = 1e7
"""Bound of rho times the mean square length of the rows: beyond it Newton's systems are rounding."""
LARGEST_SYSTEM = 8192
"""Unknowns of a Newton system that is solved; with more the solver says that it is too large."""
MOST_CONSTRAINTS = 2**25
"""Rows by other classes at most: five arrays of each (1.3 GB)."""
NO_MARGIN = 1e-6
"""Largest margin, over the root mean square length of the rows, below which rows are called inseparable."""


class TooLargeError(ValueError):
    """A Newton system has too many unknowns."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Machine:
    """A solution; `primal` - `dual` bounds how far its objective is from the optimum."""

    w: Floats
    """(q, D)."""
    multipliers: Floats
    """(m,) a of the constraints, row by row."""
    primal: float
    dual: float
    margin: float
    """Least of margin_j - b_j + 1 over |w|: with b = 1 the margin of w, a lower bound of the largest there is."""
    margin_bound: float
    """sum a / |sum a u z|: no head has a larger margin (with b = 1), whatever the penalty."""
    iterations: int

    @property
    def gap(self) -> float:
        """Bound on objective - optimum."""
        return self.primal - self.dual


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constraints:
    """m = n (K - 1) margins that are wanted to reach b."""

    z: Floats
    """(n, D)."""
    row: Integers
    """(m,) row of each."""
    own: Integers
    """(m,) class of the row."""
    rest: Integers
    """(m,) the other class."""
    basis: Floats
    """(K, q) B."""
    b: Floats
    """(m,)."""
    most: Floats
    """(m,) C; infinite for hard margins."""

    @property
    def mean_square(self) -> float:
        """Mean over the rows of their squared length."""
        return float(np.vdot(self.z, self.z)) / self.z.shape[0]

    def margins(self, w: Floats) -> Floats:
        """(m,)."""
        logits = self.z @ (self.basis @ w).T
        return logits[self.row, self.own] - logits[self.row, self.rest]

    def combined(self, a: Floats) -> Floats:
        """(q, D) sum_j a_j u_j z_i(j)^T."""
        by_class = np.zeros((self.z.shape[0], self.basis.shape[0]))
        by_class[self.row, self.rest] = -a
        by_class[self.row, self.own] = np.bincount(self.row, weights=a, minlength=self.z.shape[0])[self.row]
        return self.basis.T @ (by_class.T @ self.z)

    def u(self, which: Integers) -> Floats:
        """(s, q) u of some."""
        return self.basis[self.own[which]] - self.basis[self.rest[which]]


def constraints_of(z: Floats, y: Integers, n_classes: int, most: Floats, offset: Floats | None = None) -> Constraints:
    """Margins of rows (n, D) of classes (n,) over every other class, each wanted to be 1.

    Parameters
    ----------
    most : array of shape (n,)
        Largest multiplier of the constraints of a row: its weight over l2, or infinity.
    offset : array of shape (n, K), optional
        Added to the logits.

    Raises TooLargeError as `check_size` does.
    """
    check_size(z.shape[0], z.shape[1], n_classes, has_offset=offset is not None)
    others = np.arange(n_classes - 1)
    row = np.repeat(np.arange(y.size), n_classes - 1)
    own, rest = np.repeat(y, n_classes - 1), (others + (others >= y[:, None])).ravel()
    b = np.ones(row.size) if offset is None else 1.0 - (offset[row, own] - offset[row, rest])
    return Constraints(z=z, row=row, own=own, rest=rest, basis=class_basis(n_classes), b=b, most=most[row])


def check_size(n: int, d: int, n_classes: int, *, has_offset: bool = False) -> None:
    """Raise TooLargeError for rows (n, d) whose machine cannot be solved, before anything is made of them.

    Without an offset every constraint is missed at w = 0, so that the first Newton system is of all of them.
    """
    n_constraints, n_weights = n * (n_classes - 1), (n_classes - 1) * d
    if n_constraints > MOST_CONSTRAINTS or (not has_offset and min(n_constraints, n_weights) > LARGEST_SYSTEM):
        raise _too_large(n_constraints, n_weights)


def _too_large(n_constraints: int, n_weights: int) -> TooLargeError:
    return TooLargeError(
        f"a machine of {n_constraints} support vectors and {n_weights} weights is too large for this solver (at most "
        f"{LARGEST_SYSTEM} of either, and {MOST_CONSTRAINTS} rows by other classes): fit fewer rows, or link='softmax' "
        "with a small l2"
    )


def class_basis(n_classes: int) -> Floats:
    """(K, K - 1) orthonormal columns that sum to 0 (Helmert's)."""
    found = np.zeros((n_classes, n_classes - 1))
    for k in range(1, n_classes):
        found[:k, k - 1] = -1.0
        found[k, k - 1] = k
    return found / np.linalg.norm(found, axis=0)


def solve_machine(
    given: Constraints, *, tolerance: float = 1e-8, max_rounds: int = 60, check: Callable[[], None] = lambda: None
) -> Machine:
    """Solve until primal - dual <= tolerance * primal, or the rounds are spent; hard margins also until none is left.

    Raises TooLargeError when a Newton system has more than `LARGEST_SYSTEM` unknowns.
    """
    a = np.zeros(given.b.size)
    check()
    w = np.zeros((given.basis.shape[1], given.z.shape[1]))
    size = given.mean_square
    rho, steps = 1.0 / (size or 1.0), 0
    found = _described(given, w, a, steps)
    for _ in range(max_rounds):
        w, a, taken = _round(given, w, a, rho, check)
        steps += taken
        now = _described(given, given.combined(a), a, steps)
        found = now if not found.gap < now.gap else replace(found, iterations=steps)
        hopeless = found.margin_bound <= NO_MARGIN * math.sqrt(size) and bool(np.isinf(given.most).all())
        if hopeless or (math.isfinite(found.primal) and found.gap <= tolerance * abs(found.primal)):
            return found
        rho = min(rho * GROWTH, LARGEST_RHO / size) if size else rho
    return found


def _described(given: Constraints, w: Floats, a: Floats, steps: int) -> Machine:
    """Both bounds at w, or at w lengthened until it reaches every b where that is better."""
    margins, norm = given.margins(w), float(np.linalg.norm(w))
    combined = float(np.linalg.norm(given.combined(a)))
    dual = float(a @ given.b) - combined**2 / 2
    wanted = given.b > 0
    factors = [1.0]
    if wanted.any() and bool((margins[wanted] > 0).all()):
        factors.append(float(np.max(given.b[wanted] / margins[wanted])))
    primal, factor = min((_primal(given, margins, norm, one), one) for one in factors)
    least = float(np.min(margins - given.b + 1.0, initial=math.inf))
    return Machine(
        w=w * factor,
        multipliers=a,
        primal=primal,
        dual=dual,
        margin=least / norm if norm > 0 else 0.0,
        margin_bound=combined / float(a.sum()) if a.any() else math.inf,
        iterations=steps,
    )


def _primal(given: Constraints, margins: Floats, norm: float, factor: float) -> float:
    """The objective at `factor` w; infinite where a hard margin is not reached."""
    missing = np.maximum(given.b - factor * margins, 0.0)
    hard = np.isinf(given.most)
    if bool((missing[hard] > 1e-12 * np.maximum(1.0, np.abs(given.b[hard]))).any()):
        return math.inf
    return (factor * norm) ** 2 / 2 + float(given.most[~hard] @ missing[~hard])


def _round(
    given: Constraints, w: Floats, a: Floats, rho: float, check: Callable[[], None]
) -> tuple[Floats, Floats, int]:
    """Minimise the augmented Lagrangian over w; w, the new multipliers and the Newton steps taken."""
    value, new = _lagrangian(given, w, given.margins(w), a, rho)
    for step in range(NEWTON_STEPS):
        check()
        gradient = w - given.combined(new)
        if np.linalg.norm(gradient) <= 1e-10 * max(np.linalg.norm(w), 1e-300):
            return w, new, step
        inside = (a + rho * (given.b - given.margins(w)) > 0) & (new < given.most)
        direction = _direction(given, np.flatnonzero(inside), gradient, rho)
        along, before = given.margins(direction), given.margins(w)
        gain, length = float(np.sum(gradient * direction)), 1.0
        while length > 1e-10:
            moved = w + length * direction
            found, new_found = _lagrangian(given, moved, before + length * along, a, rho)
            if found <= value + 1e-4 * length * gain:
                break
            length /= 2
        else:
            return w, new, step
        w, value, new = moved, found, new_found
    return w, new, NEWTON_STEPS


def _lagrangian(given: Constraints, w: Floats, margins: Floats, a: Floats, rho: float) -> tuple[float, Floats]:
    """The augmented Lagrangian at w, and the multipliers that it leads to."""
    missing = given.b - margins
    new = np.clip(a + rho * missing, 0.0, given.most)
    change = new - a
    return float(np.sum(w * w)) / 2 + float(new @ missing) - float(change @ change) / (2 * rho), new


def _direction(given: Constraints, inside: Integers, gradient: Floats, rho: float) -> Floats:
    """-(I + rho A^T A)^-1 gradient, A the constraints inside their bounds."""
    q, d = gradient.shape
    if not inside.size:
        return -gradient
    if min(inside.size, q * d) > LARGEST_SYSTEM:
        raise _too_large(inside.size, q * d)
    z, u = given.z[given.row[inside]], given.u(inside)
    if inside.size <= q * d:
        gram = (z @ z.T) * (u @ u.T)
        gram[np.diag_indices_from(gram)] += 1.0 / rho
        along = np.sum((z @ gradient.T) * u, axis=1)
        solved: Floats = np.asarray(np.linalg.solve(gram, along), dtype=np.float64)
        return -gradient + (u * solved[:, None]).T @ z
    hessian = np.zeros((q, d, q, d))
    for p in range(q):
        for other in range(p, q):
            part = rho * (z * (u[:, p] * u[:, other])[:, None]).T @ z
            hessian[p, :, other, :] = part
            hessian[other, :, p, :] = part.T
    whole = hessian.reshape(q * d, q * d)
    whole[np.diag_indices_from(whole)] += 1.0
    return -np.linalg.solve(whole, gradient.ravel()).astype(np.float64).reshape(q, d)
