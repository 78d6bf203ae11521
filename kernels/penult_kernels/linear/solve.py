"""The entry to the solvers: many refits of the last layer over one set of features, each to its optimum."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.linear.block_fit import BlockFit
from penult_kernels.linear.blocks.blocks import Block, Preparation
from penult_kernels.linear.certificate import Certificate, ConvergenceWarning
from penult_kernels.linear.control import Control, Tally
from penult_kernels.linear.hinge.solver import solve_hinge
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
    """A head that acts on raw features, on their device, with a bound on its distance from the optimum."""

    certificate: Certificate
    """Certificate of the problem as it was solved: in V, on standardised features if it is standardised. With
    one-vs-rest, gap and objective are sums over the classes, iterations and passes those of the class with the most."""


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
    report: Callable[[float, float], None] | None = None,
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
        A fit has converged when its duality gap is at most tolerance * log(C), where log(C) is the loss of the zero
        head; without penalties, when its gradient has shrunk by `tolerance`. With one-vs-rest, each class is
        measured against log(2).
    max_iterations : int
        Newton steps at most; of hinge losses rounds of them.
    check : callable, optional
        Called between passes over the rows; what it raises ends the solve (cancellation).
    is_wanted : callable, optional
        Called between steps: whether the problem at a position is still wanted. One that is not stops at once; its fit
        is its last iterate, with `converged` False and without a warning.
    report : callable, optional
        Called now and then with how much is solved and of how much, in binary or softmax problems: a warm start
        counts half. The first number never falls.
    bases : Eigenbases, optional
        Eigenvectors kept from earlier solves over these features, to be used and added to. They change the time, and
        an answer only within its tolerance.

    Returns
    -------
    list of Fit
        In the order of the problems. The other problems of a call change a fit only within its tolerance: the
        objective is within `gap` of the optimum, and with l2 > 0 the head within sqrt(2 gap / l2) of the optimal one.

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
    blocks = [replace(block, place=place) for place, block in enumerate(_blocks(preparation, problems, check))]
    solved: dict[int, BlockFit] = {}
    control = Control(
        tolerance=tolerance,
        max_iterations=max_iterations,
        check=check,
        is_wanted=is_wanted,
        tally=None if report is None else Tally(len(blocks), report),
    )
    hinge = [index for index, block in enumerate(blocks) if problems[block.problem].link is Link.HINGE]
    others = [index for index in range(len(blocks)) if index not in set(hinge)]
    with_l1 = [index for index in others if blocks[index].l1 > 0]
    without = [index for index in others if not blocks[index].l1 > 0]
    solved.update(zip(hinge, solve_hinge(features, [blocks[index] for index in hinge], control), strict=True))
    solved.update(zip(with_l1, solve_l1(features, [blocks[index] for index in with_l1], control), strict=True))
    kept = Eigenbases() if bases is None else bases
    solved.update(zip(without, solve_l2(features, [blocks[index] for index in without], control, kept), strict=True))
    per_problem: list[list[int]] = [[] for _ in problems]
    for index, block in enumerate(blocks):
        per_problem[block.problem].append(index)
    parts = [[solved[index] for index in own] for own in per_problem]
    heads = preparation.heads(problems, [_joined(own) for own in parts])
    fits = [_fit(preparation, problem, head, own) for problem, head, own in zip(problems, heads, parts, strict=True)]
    for position, fit in enumerate(fits):
        if not fit.certificate.converged and (is_wanted is None or is_wanted(position)):
            _warn(fit.certificate)
    return fits


def _blocks(preparation: Preparation, problems: Sequence[Problem], check: Callable[[], None] | None) -> Iterator[Block]:
    for index, problem in enumerate(problems):
        if check is not None:
            check()
        yield from preparation.blocks_of(index, problem)


def _joined(parts: Sequence[BlockFit]) -> Array:
    """(M, D + 1) columns of all blocks of a problem."""
    if len(parts) == 1:
        return parts[0].theta
    return array_namespace(parts[0].theta).concat([part.theta for part in parts], axis=0)


def _fit(preparation: Preparation, problem: Problem, head: Head, parts: list[BlockFit]) -> Fit:
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
