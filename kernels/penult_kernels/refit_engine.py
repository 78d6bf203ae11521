"""Many refits of the last layer over one set of features: which of them are solved together, and how.

`solve` goes to the optimum of `refit_problem.Problem`s with a certificate; `descent.descend` follows the exact path of
an early-stopped method; `closed_forms` answers from moments alone.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.active_sets import active_sets
from penult_kernels.arrays import Array
from penult_kernels.batch_lasso import lasso
from penult_kernels.batch_newton import Solved, newton
from penult_kernels.certificate import Certificate, ConvergenceWarning
from penult_kernels.closed_forms import lda, nearest_mean, ridge
from penult_kernels.descent import Keep, Optimizer, PathFit, PathSettings, Watch, descend
from penult_kernels.moments import Moments
from penult_kernels.preconditioner import is_worthwhile, make_preconditioner
from penult_kernels.refit_batch import Batch, make_batch, narrowed, starting_point
from penult_kernels.refit_blocks import Block, Preparation
from penult_kernels.refit_problem import Head, Intercept, Link, Problem, Scaler, Standardize
from penult_kernels.shared_columns import shared_groups

__all__ = [
    "Certificate",
    "ConvergenceWarning",
    "Fit",
    "Head",
    "Intercept",
    "Keep",
    "Link",
    "Optimizer",
    "PathFit",
    "PathSettings",
    "Problem",
    "Scaler",
    "Standardize",
    "Watch",
    "descend",
    "lda",
    "nearest_mean",
    "ridge",
    "solve",
]

WORKSPACE = 256 * 2**20
"""Bytes that the (n, B, q) arrays of one batch may take beside the heads."""
ARRAYS_PER_BATCH = 10
NARROW_SHARE = 0.5
"""Of the tolerance: what the float32 part of a solve goes down to."""
LARGEST_COPY = 64 * 2**20
"""Bytes of float64 rows that a batch may keep; more are widened in every pass, a tile at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A head that acts on raw features, and how close it is to the optimum of its problem."""

    weight: Array
    """(C, D) float64, beside the features."""
    bias: Array
    """(C,) float64."""
    certificate: Certificate
    """Of the problem as it was solved: about V, on standardised features where they are. Of one-vs-rest, sums
    over the classes of gap and objective, and the most iterations and passes."""


def solve(
    features: Array,
    y: Array | None,
    n_classes: int,
    problems: Sequence[Problem],
    *,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
    check: Callable[[], None] | None = None,
    is_wanted: Callable[[int], bool] | None = None,
    moments: Moments | None = None,
) -> list[Fit]:
    """Minimise every problem over its head.

    Parameters
    ----------
    features : array of shape (N, D)
        Any real floating type; never copied as a whole.
    y : array of shape (N,) or (N, C), optional
        Classes or soft targets of the rows, for the problems that bring none.
    n_classes : int
        C, at least 2.
    problems : sequence of Problem
    tolerance : float
        A fit has converged when its duality gap is at most tolerance * log(C), the loss of the zero head; with
        neither penalty, when its gradient has shrunk by `tolerance`. Of one-vs-rest, every class by log(2).
    max_iterations : int
        Newton steps at most.
    check : callable, optional
        Called between passes over the rows; what it raises ends the solve (cancellation).
    is_wanted : callable, optional
        Asked between steps whether the problem at a position is still wanted. One that is not leaves what is solved
        together at once, and its fit is where it stood: it has not converged, and nothing warns of that.
    moments : Moments, optional
        Of the features by group, where they are at hand: they precondition, and never change the answer.

    Returns
    -------
    list of Fit
        In the order of the problems. A fit does not depend on what else was asked beyond its tolerance: two
        answers of one problem each have an objective within `gap` of the optimum, and with l2 > 0 heads within
        sqrt(2 gap / l2) of it.

    Raises
    ------
    EmptyLabelError
        When a class has no row of positive weight and the intercept is free.
    ValueError
        When shapes, labels, weights or numbers are not as described.

    Warns
    -----
    ConvergenceWarning
        Once for each fit with certificate.converged False.
    """
    preparation = Preparation(features, y, n_classes, check=check)
    blocks = [block for index, problem in enumerate(problems) for block in preparation.blocks_of(index, problem)]
    solved: dict[int, Solved] = {}
    for indices in _batches(blocks, features.shape[0]):
        members = [blocks[index] for index in indices]
        unwanted = None if is_wanted is None else partial(_unwanted, members, is_wanted)
        if unwanted is not None and unwanted().all():
            start = starting_point(features, members)
            solved.update((index, _unsolved(start[k, :, :])) for k, index in enumerate(indices))
            continue
        control = Control(tolerance=tolerance, max_iterations=max_iterations, check=check, unwanted=unwanted)
        answers = _answers(features, members, control, moments)
        solved.update(zip(indices, answers, strict=True))
    per_problem: list[list[int]] = [[] for _ in problems]
    for index, block in enumerate(blocks):
        per_problem[block.problem].append(index)
    fits = [
        _fit(preparation, problem, [solved[index] for index in own])
        for problem, own in zip(problems, per_problem, strict=True)
    ]
    for position, fit in enumerate(fits):
        if not fit.certificate.converged and (is_wanted is None or is_wanted(position)):
            _warn(fit.certificate)
    return fits


def _unwanted(members: Sequence[Block], is_wanted: Callable[[int], bool]) -> NDArray[np.bool_]:
    return np.asarray([not is_wanted(block.problem) for block in members])


def _unsolved(theta: Array) -> Solved:
    """A block that nobody wanted any more when its turn came."""
    return Solved(
        theta=theta, gap=math.inf, gradient_norm=math.inf, iterations=0, passes=0, objective=math.inf, converged=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """When a solver stops."""

    tolerance: float
    max_iterations: int
    check: Callable[[], None] | None
    unwanted: Callable[[], NDArray[np.bool_]] | None


def _answers(features: Array, members: Sequence[Block], control: Control, moments: Moments | None) -> Sequence[Solved]:
    first = members[0]
    if first.l1 > 0 and first.n_columns == 1:
        return _solve_binary_l1(features, members, control)
    batch = make_batch(features, members, dense=_fits(first, features))
    start = starting_point(features, members)
    if first.l1 > 0:
        return lasso(
            batch,
            start,
            tolerance=control.tolerance,
            max_iterations=control.max_iterations,
            check=control.check,
            unwanted=control.unwanted,
        )
    return _solve_l2(batch, start, control, moments)


def _solve_binary_l1(features: Array, members: Sequence[Block], control: Control) -> list[Solved]:
    """By active sets; a block that stalled goes on by descent from where it was."""
    found = active_sets(
        features,
        members,
        tolerance=control.tolerance,
        max_iterations=control.max_iterations,
        check=control.check,
        unwanted=control.unwanted,
    )
    for index, (block, one) in enumerate(zip(members, found, strict=True)):
        left = control.max_iterations - one.iterations
        is_wanted = control.unwanted is None or not bool(control.unwanted()[index])
        if not one.converged and left > 0 and is_wanted:
            found[index] = _descended(features, block, one, replace(control, max_iterations=left, unwanted=None))
    return found


def _descended(features: Array, block: Block, before: Solved, control: Control) -> Solved:
    batch = make_batch(features, [block], dense=_fits(block, features))
    after = lasso(
        batch,
        before.theta[None, :, :],
        tolerance=control.tolerance,
        max_iterations=control.max_iterations,
        check=control.check,
    )[0]
    iterations, passes = after.iterations + before.iterations, after.passes + before.passes
    return replace(after, iterations=iterations, passes=passes)


def _solve_l2(batch: Batch, start: Array, control: Control, moments: Moments | None) -> list[Solved]:
    """Newton's method with float32 products where the features are no wider, then from there with float64 gradients.

    The second part proves the answer; it takes a step more where float32 has not been enough.
    """
    preconditioner = make_preconditioner(batch, moments) if is_worthwhile(batch) else None
    xp = array_namespace(start)
    if batch.features.dtype == xp.float64:
        return newton(
            batch,
            start,
            tolerance=control.tolerance,
            max_iterations=control.max_iterations,
            check=control.check,
            unwanted=control.unwanted,
            preconditioner=preconditioner,
        )
    inner = narrowed(batch)
    first = newton(
        inner,
        start,
        tolerance=NARROW_SHARE * control.tolerance,
        max_iterations=control.max_iterations,
        check=control.check,
        unwanted=control.unwanted,
        preconditioner=preconditioner,
    )
    second = newton(
        batch,
        xp.stack([one.theta for one in first]),
        tolerance=control.tolerance,
        max_iterations=control.max_iterations,
        check=control.check,
        unwanted=control.unwanted,
        inner=inner,
        preconditioner=preconditioner,
    )
    return [
        replace(one, iterations=one.iterations + before.iterations, passes=one.passes + before.passes)
        for one, before in zip(second, first, strict=True)
    ]


def _fits(block: Block, features: Array) -> bool:
    """Whether the rows of a block may be kept in float64."""
    n_used = features.shape[0] if block.rows is None else block.rows.size
    return 8 * n_used * features.shape[1] <= LARGEST_COPY


def _batches(blocks: Sequence[Block], n_rows: int) -> list[list[int]]:
    """Positions of the blocks that can share their passes, cut to the workspace."""
    cut = shared_groups(blocks, n_rows)
    elsewhere = {index for group in cut for index in group}
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, block in enumerate(blocks):
        if index in elsewhere:
            continue
        rows = None if block.rows is None else block.rows.tobytes()
        alike.setdefault((rows, id(block.scaling), block.n_columns, block.l1 > 0), []).append(index)
    for members in alike.values():
        first = blocks[members[0]]
        n_used = n_rows if first.rows is None else first.rows.size
        most = max(1, WORKSPACE // (8 * ARRAYS_PER_BATCH * n_used * first.n_columns))
        cut.extend(members[begin : begin + most] for begin in range(0, len(members), most))
    return cut


def _fit(preparation: Preparation, problem: Problem, parts: list[Solved]) -> Fit:
    xp = array_namespace(parts[0].theta)
    head = preparation.head(problem, xp.concat([part.theta for part in parts], axis=0))
    # A softmax of two classes was solved in the difference of its rows; its own gradient is sqrt(2) times as long.
    is_difference = preparation.n_classes == 2 and problem.link is Link.SOFTMAX
    certificate = Certificate(
        converged=all(part.converged for part in parts),
        gap=sum(part.gap for part in parts),
        gradient_norm=math.sqrt((2 if is_difference else 1) * sum(part.gradient_norm**2 for part in parts)),
        iterations=max(part.iterations for part in parts),
        passes=max(part.passes for part in parts),
        objective=sum(part.objective for part in parts),
    )
    return Fit(weight=head.weight, bias=head.bias, certificate=certificate)


def _warn(certificate: Certificate) -> None:
    warnings.warn(
        f"the fit stopped after {certificate.iterations} steps with a gap of {certificate.gap:.3g}: raise "
        "max_iterations, the penalty or tolerance",
        ConvergenceWarning,
        stacklevel=3,
    )
