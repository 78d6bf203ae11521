"""Candidates of a refit, fitted in rounds of work: all draws together, each candidate's averaged, and one chosen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.linear.blocks.content_ids import ContentIds
from penult_kernels.linear.certificate import Certificate
from penult_kernels.linear.problem import Link
from penult_kernels.linear.solve import Fit
from penult_kernels.metrics.head_scores import HeadScorer, SelectionMetric
from penult_kernels.trajectories.settings import Keep, Trajectory
from penult_proto.enums import name_of
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refits.problems import ProblemMaker, Subset, Task
from penult_server.compute.refits.robust import robust
from penult_server.compute.refits.rows import Detected
from penult_server.compute.refits.work import Descend, Logits, Rounds, Solve, Work, gather
from penult_server.errors import ServiceError
from penult_server.questions.refit_scalars import grid_values

NO_CERTIFICATE = Certificate(
    converged=False, gap=math.nan, gradient_norm=math.nan, iterations=0, passes=0, objective=math.nan
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandidateFit(Fit):
    """The mean head of a candidate's draws, with the worst of their certificates."""

    head_error: float
    """Bound on the distance of a draw's head from its optimum, in the space solved; NaN without an l2."""
    tasks: Sequence[Task]
    step: int
    """Step of the trajectory that was kept; 0 for an optimum."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The index of the chosen candidate, and the scores of all."""

    index: int
    candidates: Sequence[pb.Candidate]

    @property
    def n_failed(self) -> int:
        """Candidates that could not be fitted."""
        return sum(bool(one.failure) for one in self.candidates)


def fit_candidate(
    candidate: pb.RefitRequest, subset: Subset, maker: ProblemMaker, scorer: HeadScorer | None
) -> Rounds[CandidateFit]:
    """Fit one candidate. Raises why it is impossible."""
    (final,) = yield from fit_candidates([candidate], subset, maker, scorer)
    return possible(final)


def possible(one: CandidateFit | Exception) -> CandidateFit:
    """A candidate's fit. Raises why it is impossible."""
    if isinstance(one, Exception):
        raise one
    return one


def fit_candidates(
    candidates: Sequence[pb.RefitRequest], subset: Subset, maker: ProblemMaker, scorer: HeadScorer | None
) -> Rounds[list[CandidateFit | Exception]]:
    """Fit all draws of all candidates together. For an impossible candidate, the error is its answer."""
    detected = yield from _detect(candidates, subset, maker)
    made = [
        _tried(lambda candidate=candidate, found=found: maker.tasks(candidate, subset, found))
        for candidate, found in zip(candidates, detected, strict=True)
    ]
    fitted = [
        (candidate, tasks)
        for candidate, tasks in zip(candidates, made, strict=True)
        if not isinstance(tasks, Exception)
    ]  # fmt: skip
    averaged = iter((yield from _fit_possible(fitted, maker, scorer)) if fitted else [])
    return [tasks if isinstance(tasks, Exception) else next(averaged) for tasks in made]


def choose(
    request: pb.RefitRequest,
    tuned: Sequence[CandidateFit | Exception],
    scorer: HeadScorer,
    maker: ProblemMaker,
) -> Choice:
    """The first (or last) candidate with the best score. If all failed, raises the error of the first."""
    fitted = [one for one in tuned if not isinstance(one, Exception)]
    if not fitted:
        possible(tuned[0])
    weights = asarray_like(np.stack([one.weight for one in fitted]), scorer.like)
    accuracies = scorer.group_accuracies(weights, asarray_like(np.stack([one.bias for one in fitted]), scorer.like))
    metrics = (metric_of(request), SelectionMetric.WORST_GROUP, SelectionMetric.AVERAGE)
    scores = np.stack([scorer.scores(accuracies, metric) for metric in metrics], axis=1)
    places = np.flatnonzero([not isinstance(one, Exception) for one in tuned])
    best = places[scores[:, 0] == scores[:, 0].max()]
    of_fitted = iter(scores)
    candidates = [
        _failure(grid_values(request, index), maker.reason(one, request))
        if isinstance(one, Exception)
        else _success(grid_values(request, index), one, next(of_fitted))
        for index, one in enumerate(tuned)
    ]
    return Choice(index=int(best[-1] if request.select.last_of_equals else best[0]), candidates=candidates)


def metric_of(request: pb.RefitRequest) -> SelectionMetric:
    """The metric by which candidates are chosen."""
    return SelectionMetric(name_of(pb.SelectMetric.DESCRIPTOR, request.select.metric))


def _failure(values: Sequence[float], why: str) -> pb.Candidate:
    nan = math.nan
    return pb.Candidate(values=values, score=nan, worst_group_accuracy=nan, average_accuracy=nan, failure=why)


def _success(values: Sequence[float], fit: CandidateFit, scores: NDArray[np.float64]) -> pb.Candidate:
    score, worst, average = (float(one) for one in scores)
    return pb.Candidate(
        values=values,
        score=score,
        worst_group_accuracy=worst,
        average_accuracy=average,
        converged=fit.certificate.converged,
        step=fit.step,
    )


def _tried(make: Callable[[], T]) -> T | Exception:
    """The result, or the error by which the kernels or the service refuse a candidate; other errors are bugs."""
    try:
        return make()
    except (ValueError, ServiceError) as error:
        return error


def _fit_possible(
    fitted: Sequence[tuple[pb.RefitRequest, Sequence[Task]]], maker: ProblemMaker, scorer: HeadScorer | None
) -> Rounds[list[CandidateFit | Exception]]:
    first = fitted[0][0]
    everyone = [task for _, own in fitted for task in own]
    requests = [candidate for candidate, own in fitted for _ in own]
    fits: Sequence[Fit | Trajectory]
    if first.HasField("path"):
        fits = yield from _follow(first, everyone, scorer)
    elif first.risk.kind != pb.RISK_KIND_MEAN:
        pairs = zip(requests, everyone, strict=True)
        fits = yield from gather([robust(request, task, maker) for request, task in pairs])
    else:
        fits = yield from _solve(first, everyone)
    ends = np.cumsum([len(own) for _, own in fitted]).tolist()
    return [
        _average(fits[end - len(own) : end], own) for (_, own), end in zip(fitted, ends, strict=True)
    ]  # fmt: skip


def _detect(
    candidates: Sequence[pb.RefitRequest], subset: Subset, maker: ProblemMaker
) -> Rounds[list[Detected | None]]:
    """(N,) errors of each candidate's detector; equal detectors are fitted once."""
    if candidates[0].weights.kind != pb.WEIGHTS_KIND_DETECTED:
        return [None] * len(candidates)
    distinct = {candidate.weights.detector_l1: candidate for candidate in candidates}
    tasks = [maker.detector_task(candidate, subset) for candidate in distinct.values()]
    fits = yield from _follow(candidates[0], tasks, None)
    digest = candidates[0].feature_set
    (logits,) = yield [Logits(digest=digest, heads=fits)]
    errors = {l1: maker.errors(own) for l1, own in zip(distinct, logits, strict=True)}
    return [errors[candidate.weights.detector_l1] for candidate in candidates]


def _solve(request: pb.RefitRequest, tasks: Sequence[Task]) -> Rounds[list[Fit]]:
    """Optima of the tasks; equal draws of one candidate are solved once."""
    distinct: dict[tuple[object, ...], Task] = {}
    ids = ContentIds()
    keys = [_problem_key(task, ids) for task in tasks]
    for key, task in zip(keys, tasks, strict=True):
        distinct.setdefault(key, task)

    def work(own: Sequence[Task], features: Array | None) -> Solve:
        return Solve(
            digest=request.feature_set,
            problems=[task.problem for task in own],
            tolerance=request.tolerance,
            max_iterations=request.max_iterations,
            features=features,
        )

    fits = yield from _in_spaces(list(distinct.values()), work)
    found = dict(zip(distinct, fits, strict=True))
    return [found[key] for key in keys]


def _in_spaces(tasks: Sequence[Task], work: Callable[[Sequence[Task], Array | None], Work]) -> Rounds[list[Any]]:
    """Heads on all features of the tasks, in order: one round of work for those without a subspace and for each one.

    Subspaces of the same directions follow each other, so that the features in only one set of directions exist.
    """
    spaces: dict[int, dict[int, list[int]]] = {}
    for place, task in enumerate(tasks):
        leading = None if task.subspace is None else task.subspace.leading
        spaces.setdefault(id(leading), {}).setdefault(id(task.subspace), []).append(place)
    found: dict[int, Any] = {}
    for alike in spaces.values():
        features: Array | None = None
        for places in alike.values():
            own, subspace = [tasks[place] for place in places], tasks[places[0]].subspace
            if subspace is None:
                (fits,) = yield [work(own, None)]
            else:
                features = subspace.leading.features() if features is None else features
                (fits,) = yield [work(own, subspace.part_of(features))]
                fits = [subspace.raised(fit) for fit in fits]
            found.update(zip(places, fits, strict=True))
    return [found[place] for place in range(len(tasks))]


def _problem_key(task: Task, ids: ContentIds) -> tuple[object, ...]:
    problem, center = task.problem, task.problem.center
    centers = () if center is None else (ids.of(center.weight), ids.of(center.bias))
    return (task.draw.key, id(task.subspace), problem.l1, problem.l2, ids.of(problem.offset), *centers)


def _follow(request: pb.RefitRequest, tasks: Sequence[Task], scorer: HeadScorer | None) -> Rounds[list[Trajectory]]:
    watch = None
    if scorer is not None and any(task.settings is not None and task.settings.keep is Keep.BEST for task in tasks):
        watch = scorer.watch(metric_of(request))

    def work(own: Sequence[Task], features: Array | None) -> Descend:
        return Descend(
            digest=request.feature_set,
            problems=[task.problem for task in own],
            settings=[task.settings for task in own if task.settings is not None],
            watch=watch,
            features=features,
        )

    return (yield from _in_spaces(tasks, work))


def _average(fits: Sequence[Fit | Trajectory], tasks: Sequence[Task]) -> CandidateFit | Exception:
    """The mean head, and the worst certificate."""
    if any(isinstance(fit, Trajectory) and fit.diverged for fit in fits):
        return ValueError("the path left the finite numbers: lower learning_rate, or set clip_norm")
    hard = [task.problem.link is Link.HINGE and task.problem.l2 == 0 for task in tasks]
    found = [not isinstance(fit, Fit) or math.isfinite(fit.certificate.gap) for fit in fits]
    if any(is_hard and not is_found for is_hard, is_found in zip(hard, found, strict=True)):
        return ValueError(
            "no head of largest margin was found: without a bias nothing separates the classes of these rows, or "
            "max_iterations are too few; give l2= for a soft margin, intercept='penalized', or fewer rows"
        )
    step = next((fit.step for fit in fits if isinstance(fit, Trajectory)), 0)
    certificate = replace(NO_CERTIFICATE, iterations=step)
    if certificates := [fit.certificate for fit in fits if isinstance(fit, Fit)]:
        certificate = Certificate(
            converged=all(one.converged for one in certificates),
            # Rounding may leave a gap just below 0.
            gap=max(max(one.gap, 0.0) for one in certificates),
            gradient_norm=max(one.gradient_norm for one in certificates),
            iterations=max(one.iterations for one in certificates),
            passes=sum(one.passes for one in certificates),
            objective=sum(one.objective for one in certificates) / len(certificates),
        )
    return CandidateFit(
        weight=np.mean([fit.weight for fit in fits], axis=0),
        bias=np.mean([fit.bias for fit in fits], axis=0),
        certificate=certificate,
        head_error=_head_error(fits, tasks),
        tasks=tasks,
        step=step,
    )


def _head_error(fits: Sequence[Fit | Trajectory], tasks: Sequence[Task]) -> float:
    errors = [
        math.sqrt(2 * max(fit.certificate.gap, 0.0) / task.problem.l2)
        for fit, task in zip(fits, tasks, strict=True)
        if isinstance(fit, Fit) and task.problem.l2 > 0
    ]
    return max(errors, default=math.nan)
