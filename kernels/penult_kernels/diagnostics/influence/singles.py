"""What removing single rows really does: each optimum without the row, and the losses of the head that it gives.

`removal.influence` is one Newton step and a change of losses to first order, of every row at once. Both leave errors of
second order in how far the row moves the head: a tenth for rows that move it most, of few hundred. Here nothing is left
out, for as many rows as are asked about.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.influence.fitted import Fitted
from penult_kernels.diagnostics.influence.removal import of_classes
from penult_kernels.diagnostics.influence.resolved import moves_of
from penult_kernels.diagnostics.influence.without import without
from penult_kernels.linear.certificate import ConvergenceWarning
from penult_kernels.linear.problem import Problem
from penult_kernels.linear.solve import Fit, solve

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
BATCH_NUMBERS = 2**22
"""Weights of the heads that are moved at a time at most."""
STEPS = 6
"""Steps until an optimum without a row is found, about."""
MOST_SOLVES = 16
"""Solves of a problem for rows to whose optimum steps do not arrive."""
TOLERANCE = 1e-13
"""The tolerance of solves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadMoves:
    """How the mean head of some problems moves without each of R rows."""

    weight: Array
    """(R, K, D)"""
    bias: Array
    """(R, K)"""
    is_solved: NDArray[np.bool_]
    """(R,) whether every optimum without the row was found: steps may not arrive where a leverage is near 1, and the
    only row of a class cannot be left out."""

    def own(self, features: Array, rows: Integers) -> Floats:
        """(R, K) changes of the logits of the rows themselves, at their positions in the features (N, D)."""
        xp = array_namespace(self.weight)
        z = xp.astype(xp.take(features, asarray_like(rows, features), axis=0), xp.float64)
        return to_host(xp.sum(self.weight * z[:, None, :], axis=2) + self.bias)


Solver = Callable[[Sequence[Problem]], Sequence[Fit]]


def head_moves(fitted: Fitted, rows: Integers, solver: Solver | None = None) -> Iterator[tuple[slice, HeadMoves]]:
    """Moves without each of the rows at some positions, so many at a time as memory allows.

    Problems with an l1, whose active sets change, are solved by `solver` from their optima, which should be solved to
    TOLERANCE; the others by `resolved.moves_of`, and a few at which it does not arrive by `solver`, too.

    Raises
    ------
    FlatError
        When a Hessian is singular or too large.
    """
    step = max(1, BATCH_NUMBERS // (fitted.n_classes * int(fitted.features.shape[1])))
    for first in range(0, rows.size, step):
        batch = slice(first, min(first + step, rows.size))
        yield batch, _moves(fitted, rows[batch], solver or _solver(fitted))


def most_rows(fitted: Fitted, multiplications: float, solves: int) -> int:
    """How many rows may be removed one by one for so many multiplications, about; or solves, where there is an l1."""
    if any(problem.l1 > 0 for problem in fitted.problems):
        return max(1, solves // _count(fitted))
    d, k = int(fitted.features.shape[1]), fitted.n_classes
    unknowns = d * (1 if k == 2 else k)
    each = sum(STEPS * (2.0 * fitted.rows(place).size + 4.0 * unknowns) * unknowns for place in range(_count(fitted)))
    return int(multiplications / each)


def _count(fitted: Fitted) -> int:
    return len(fitted.problems)


def _moves(fitted: Fitted, rows: Integers, solver: Solver) -> HeadMoves:
    n, k, d = rows.size, fitted.n_classes, int(fitted.features.shape[1])
    total = _Sum(np.zeros((n, k, d)), np.zeros((n, k)), np.ones(n, np.bool_))
    for place, problem in enumerate(fitted.problems):
        is_alone = np.isin(rows, fitted.alone(place))
        total.is_solved[is_alone] = False
        inside = np.flatnonzero(np.isin(rows, fitted.weighed(place)) & ~is_alone)
        if inside.size and problem.l1 > 0:
            total.add(inside, *_by_solver(fitted, rows[inside], place, solver))
        elif inside.size:
            total.add(inside, *_by_steps(fitted, rows[inside], place, solver))
    count = _count(fitted)
    return HeadMoves(
        weight=asarray_like(total.weight / count, fitted.features),
        bias=asarray_like(total.bias / count, fitted.features),
        is_solved=total.is_solved,
    )


@dataclass(frozen=True, eq=False)
class _Sum:
    weight: Floats
    bias: Floats
    is_solved: NDArray[np.bool_]

    def add(self, inside: Integers, weight: Floats, bias: Floats, is_solved: NDArray[np.bool_]) -> None:
        self.weight[inside] += weight
        self.bias[inside] += bias
        self.is_solved[inside] &= is_solved


def _by_solver(fitted: Fitted, rows: Integers, place: int, solver: Solver) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    fits = solver([without(fitted, rows[[one]], [place])[0] for one in range(rows.size)])
    optimum = fitted.optima[place]
    weight = np.stack([to_host(one.weight) for one in fits]) - to_host(optimum.weight)
    bias = np.stack([to_host(one.bias) for one in fits]) - to_host(optimum.bias)
    return weight, bias, np.array([one.certificate.converged for one in fits])


def _by_steps(fitted: Fitted, rows: Integers, place: int, solver: Solver) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    n, k, d = rows.size, fitted.n_classes, int(fitted.features.shape[1])
    weight, bias, is_solved = np.zeros((n, k, d)), np.zeros((n, k)), np.ones(n, np.bool_)
    places = np.searchsorted(fitted.rows(place), rows)
    for curvature, columns in fitted.curvatures(place):
        found = moves_of(fitted.features, curvature, places, is_mean=fitted.is_mean, check=fitted.check)
        raw_weight, raw_bias = (to_host(one) for one in curvature.space.raised(found.theta, d))
        weight += of_classes(raw_weight, columns, k)
        bias += of_classes(raw_bias, columns, k)
        is_solved &= found.is_solved
    lost = np.flatnonzero(~is_solved)[:MOST_SOLVES]
    if lost.size:
        weight[lost], bias[lost], is_solved[lost] = _by_solver(fitted, rows[lost], place, solver)
    return weight, bias, is_solved


def _solver(fitted: Fitted) -> Solver:
    def solved(problems: Sequence[Problem]) -> Sequence[Fit]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return solve(
                fitted.features, fitted.y, fitted.n_classes, problems, tolerance=TOLERANCE, max_iterations=1000
            )

    return solved
