"""Many refits of the last layer over one set of features to their optima: which are solved together, and how."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.linear.block_fit import BlockFit
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.certificate import Certificate, ConvergenceWarning
from penult_kernels.linear.control import Control
from penult_kernels.linear.l1.solver import solve_l1
from penult_kernels.linear.l2.eigenbasis import Eigenbases
from penult_kernels.linear.l2.solver import solve_l2
from penult_kernels.linear.problem import Head, Intercept, Link, Problem, Scaler, Standardize

__all__ = [
    "Certificate",
    "ConvergenceWarning",
    "Eigenbases",
    "Fit",
    "Head",
    "Intercept",
    "Link",
    "Problem",
    "Scaler",
    "Standardize",
    "solve",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit(Head):
    """A head that acts on raw features, beside the features, and how close it is to the optimum of its problem."""

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
    bases: Eigenbases | None = None,
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
    bases : Eigenbases, optional
        What earlier solves over these features have found out about them, to be used and added to: it changes the
        time, and of an answer no more than its tolerance leaves open.

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
    preparation.fit_scalings(problems)
    blocks = [block for index, problem in enumerate(problems) for block in preparation.blocks_of(index, problem)]
    solved: dict[int, BlockFit] = {}
    control = Control(tolerance=tolerance, max_iterations=max_iterations, check=check, is_wanted=is_wanted)
    with_l1 = [index for index, block in enumerate(blocks) if block.l1 > 0]
    without = [index for index, block in enumerate(blocks) if not block.l1 > 0]
    solved.update(zip(with_l1, solve_l1(features, [blocks[index] for index in with_l1], control), strict=True))
    kept = Eigenbases() if bases is None else bases
    solved.update(zip(without, solve_l2(features, [blocks[index] for index in without], control, kept), strict=True))
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


def _fit(preparation: Preparation, problem: Problem, parts: list[BlockFit]) -> Fit:
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
