"""What one refit does, in rounds of work: fit the candidates, choose one, fit again, average, score."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import beside
from penult_kernels.certificate import Certificate
from penult_kernels.content_ids import ContentIds
from penult_kernels.heads import HeadScorer, SelectionMetric
from penult_kernels.refit_engine import Head
from penult_kernels.row_plans import halves
from penult_kernels.trajectory_settings import Keep
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.evaluation import average_weights, metrics_of
from penult_server.compute.named_heads import head_to_proto
from penult_server.compute.refit_material import RefitMaterial
from penult_server.compute.refit_names import Matched, match_names
from penult_server.compute.refit_notes import fit_notes, prediction_notes
from penult_server.compute.refit_problems import Detected, Part, ProblemMaker, Task
from penult_server.compute.refit_robust import robust
from penult_server.compute.refit_sizes import check_sizes
from penult_server.compute.refit_work import Descend, Fitted, Logits, Rounds, Solve, gather
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto
from penult_server.notes import notes_to_proto
from penult_server.refit_scalars import candidates_of

METRICS = {
    pb.SELECT_METRIC_WORST_GROUP: SelectionMetric.WORST_GROUP,
    pb.SELECT_METRIC_WORST_CLASS: SelectionMetric.WORST_CLASS,
    pb.SELECT_METRIC_AVERAGE: SelectionMetric.AVERAGE,
    pb.SELECT_METRIC_MEAN_GROUP: SelectionMetric.MEAN_GROUP,
}
NO_CERTIFICATE = Certificate(
    converged=False, gap=math.nan, gradient_norm=math.nan, iterations=0, passes=0, objective=math.nan
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Averaged:
    """The mean head of a candidate's draws."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    certificate: Certificate
    head_error: float
    """Bound on the distance of a draw's head from its optimum, in the space solved; NaN without an l2."""
    tasks: Sequence[Task]
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """A candidate that cannot be fitted."""

    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """Which candidate was chosen, and how all of them did."""

    index: int
    candidates: Sequence[pb.Candidate]

    @property
    def n_failed(self) -> int:
        """Candidates that could not be fitted."""
        return sum(bool(one.failure) for one in self.candidates)


Chosen: TypeAlias = tuple[Averaged, Choice | None]
T = TypeVar("T")


def refit(request: pb.RefitRequest, material: RefitMaterial) -> Rounds[pb.Refit]:
    """Answer a request in which every field is set.

    Raises EmptyLabelError, ValueError and ServiceError for what it asks in vain.
    """
    matched = match_names(request, material)
    maker = ProblemMaker(matched.request, material)
    check_sizes(request, maker)
    train = material.manifest(request.train) if request.train else None
    for name in matched.evaluate:
        # Refused before the work, not after it.
        average_weights(material.manifest(request.evaluate[name]), train)
    final, choice = yield from _fit(matched, maker, material)
    head = Head(weight=final.weight, bias=final.bias)
    answers = yield [Logits(digest=request.evaluate[name], heads=[head]) for name in matched.evaluate]
    metrics = {
        name: metrics_of(match.columns(logits), material.resident(request.evaluate[name]), train)
        for (name, match), (logits,) in zip(matched.evaluate.items(), answers, strict=True)
    }
    certificate = final.certificate
    chooses_on = request.select.feature_set or request.feature_set
    notes = fit_notes(
        request,
        maker,
        final.tasks,
        certificate,
        choice.n_failed if choice else 0,
        choice_has_no_groups=choice is not None and not material.manifest(chooses_on).labels.attribute_values,
    )
    notes += yield from prediction_notes(request, head, maker, material, metrics)
    for name, match in matched.evaluate.items():
        metrics[name].notes.extend(notes_to_proto(match.notes))
    return pb.Refit(
        request=request,
        head=head_to_proto(final.weight, final.bias, material.manifest(request.feature_set)),
        certificate=pb.Certificate(
            converged=certificate.converged,
            gap=certificate.gap,
            gradient_norm=certificate.gradient_norm,
            iterations=certificate.iterations,
            passes=certificate.passes,
            objective=certificate.objective,
            head_error=final.head_error,
        ),
        metrics=metrics,
        n_rows=final.tasks[0].draw.rows.size,
        candidates=choice.candidates if choice else [],
        chosen=choice.index if choice else 0,
        plan=_plan(final.tasks, material.row_ids(request.feature_set)) if request.plan else None,
        notes=notes_to_proto([*matched.notes, *notes]),
    )


def _fit(matched: Matched, maker: ProblemMaker, material: RefitMaterial) -> Rounds[Chosen]:
    request = matched.request
    everything = maker.universe
    whole = Part(among=everything, repeats=request.repeats, scaling=request.scaling)
    if not request.HasField("select"):
        final = yield from _fit_one(next(candidates_of(request)), whole, maker, None)
        return final, None
    select = request.select
    scoring, fitted = None, everything
    score_on = select.feature_set or request.feature_set
    if select.WhichOneof("on") == "half":
        scoring, fitted = (everything[half] for half in halves(everything.size, seed=request.seed))
    part = Part(among=fitted, repeats=select.repeats, scaling=select.scaling)
    resident = material.resident(score_on)
    y, g = resident.y, resident.g
    if matched.select is not None and not matched.select.is_same:
        # Heads keep the order of the set that is fitted: the labels that they are scored by are put in it.
        y = matched.select.order[resident.y]
        g = g + (y - resident.y) * resident.manifest.labels.n_attributes
    scorer = HeadScorer(resident.features, y, g, maker.n_classes, resident.manifest.labels.n_groups, rows=scoring)
    candidates = list(candidates_of(request))
    tuned = yield from _fit_all(candidates, part, maker, scorer)
    choice = _choose(request, tuned, scorer, resident.features, maker)
    if select.final == pb.SELECT_FINAL_REFIT:
        final = yield from _fit_one(candidates[choice.index], whole, maker, scorer)
        return final, choice
    return _fitted(tuned[choice.index]), choice


def _fitted(one: Averaged | Failed) -> Averaged:
    """Raises why it could not be fitted."""
    if isinstance(one, Failed):
        raise one.error
    return one


def _fit_one(
    candidate: pb.RefitRequest, part: Part, maker: ProblemMaker, scorer: HeadScorer | None
) -> Rounds[Averaged]:
    (final,) = yield from _fit_all([candidate], part, maker, scorer)
    return _fitted(final)


def _choose(
    request: pb.RefitRequest,
    tuned: Sequence[Averaged | Failed],
    scorer: HeadScorer,
    reference: Any,
    maker: ProblemMaker,
) -> Choice:
    """The first (or last) candidate with the best score; raises why the first failed where all did."""
    fitted = [one for one in tuned if isinstance(one, Averaged)]
    if not fitted:
        raise next(one.error for one in tuned if isinstance(one, Failed))
    weights = beside(np.stack([one.weight for one in fitted]), reference)
    accuracies = scorer.group_accuracies(weights, beside(np.stack([one.bias for one in fitted]), reference))
    scores = scorer.scores(accuracies, METRICS[request.select.metric])
    worst = scorer.scores(accuracies, SelectionMetric.WORST_GROUP)
    average = scorer.scores(accuracies, SelectionMetric.AVERAGE)
    places = np.flatnonzero([isinstance(one, Averaged) for one in tuned])
    best = places[scores == scores.max()]
    candidates: list[pb.Candidate] = []
    for index, one in enumerate(tuned):
        values = _values(request, index)
        if isinstance(one, Failed):
            failure = maker.reason(one.error, request)
            candidates.append(
                pb.Candidate(
                    values=values,
                    score=math.nan,
                    worst_group_accuracy=math.nan,
                    average_accuracy=math.nan,
                    failure=failure,
                )
            )
            continue
        place = int(np.searchsorted(places, index))
        candidates.append(
            pb.Candidate(
                values=values,
                score=float(scores[place]),
                worst_group_accuracy=float(worst[place]),
                average_accuracy=float(average[place]),
                converged=one.certificate.converged,
                step=one.step,
            )
        )
    return Choice(index=int(best[-1] if request.select.last_of_equals else best[0]), candidates=candidates)


def _values(request: pb.RefitRequest, index: int) -> list[float]:
    """Numbers of the index-th combination of the grid, the last axis fastest."""
    values: list[float] = []
    for axis in reversed(request.grid):
        index, own = divmod(index, len(axis.values))
        values.append(axis.values[own])
    return values[::-1]


def _fit_all(
    candidates: Sequence[pb.RefitRequest], part: Part, maker: ProblemMaker, scorer: HeadScorer | None
) -> Rounds[list[Averaged | Failed]]:
    """All draws of all candidates together; one that is impossible does not fail the others."""
    detected = yield from _detect(candidates, part, maker)
    made = [
        _tried(lambda candidate=candidate, found=found: maker.tasks(candidate, part, found))
        for candidate, found in zip(candidates, detected, strict=True)
    ]
    possible = [
        (candidate, tasks)
        for candidate, tasks in zip(candidates, made, strict=True)
        if not isinstance(tasks, Failed)
    ]  # fmt: skip
    averaged = iter((yield from _fit_possible(possible, maker, scorer)) if possible else [])
    return [tasks if isinstance(tasks, Failed) else next(averaged) for tasks in made]


def _tried(make: Callable[[], T]) -> T | Failed:
    """What the kernels or the service refuse is why a candidate is impossible; anything else is a fault."""
    try:
        return make()
    except (ValueError, ServiceError) as error:
        return Failed(error)


def _fit_possible(
    possible: Sequence[tuple[pb.RefitRequest, Sequence[Task]]], maker: ProblemMaker, scorer: HeadScorer | None
) -> Rounds[list[Averaged | Failed]]:
    first = possible[0][0]
    everyone = [task for _, own in possible for task in own]
    requests = [candidate for candidate, own in possible for _ in own]
    if first.HasField("path"):
        fits = yield from _follow(first, everyone, scorer)
    elif first.risk.kind != pb.RISK_KIND_MEAN:
        pairs = zip(requests, everyone, strict=True)
        fits = yield from gather([robust(request, task, maker) for request, task in pairs])
    else:
        fits = yield from _solve(first, everyone)
    ends = np.cumsum([len(own) for _, own in possible]).tolist()
    return [
        _average(fits[end - len(own) : end], own) for (_, own), end in zip(possible, ends, strict=True)
    ]  # fmt: skip


def _detect(candidates: Sequence[pb.RefitRequest], part: Part, maker: ProblemMaker) -> Rounds[list[Detected | None]]:
    """(N,) errors of each candidate's detector; equal detectors are fitted once."""
    if candidates[0].weights.kind != pb.WEIGHTS_KIND_DETECTED:
        return [None] * len(candidates)
    distinct = {candidate.weights.detector_l1: candidate for candidate in candidates}
    tasks = [maker.detector_task(candidate, part) for candidate in distinct.values()]
    fits = yield from _follow(candidates[0], tasks, None)
    digest = candidates[0].feature_set
    (logits,) = yield [Logits(digest=digest, heads=[fit.head for fit in fits])]
    errors = {l1: maker.errors(own) for l1, own in zip(distinct, logits, strict=True)}
    return [errors[candidate.weights.detector_l1] for candidate in candidates]


def _solve(request: pb.RefitRequest, tasks: Sequence[Task]) -> Rounds[list[Fitted]]:
    """To the optimum; equal draws of one candidate are solved once."""
    distinct: dict[tuple[object, ...], int] = {}
    ids = ContentIds()
    places = [distinct.setdefault(_problem_key(task, ids), len(distinct)) for task in tasks]
    problems = {place: task.problem for place, task in zip(places, tasks, strict=True)}
    work = Solve(
        digest=request.feature_set,
        problems=[problems[place] for place in range(len(distinct))],
        tolerance=request.tolerance,
        max_iterations=request.max_iterations,
    )
    (fits,) = yield [work]
    return [fits[place] for place in places]


def _problem_key(task: Task, ids: ContentIds) -> tuple[object, ...]:
    problem, center = task.problem, task.problem.center
    centers = () if center is None else (ids.of(center.weight), ids.of(center.bias))
    return (task.draw.key, problem.l1, problem.l2, ids.of(problem.offset), *centers)


def _follow(request: pb.RefitRequest, tasks: Sequence[Task], scorer: HeadScorer | None) -> Rounds[list[Fitted]]:
    settings = [task.settings for task in tasks if task.settings is not None]
    watch = None
    if scorer is not None and any(one.keep is Keep.BEST for one in settings):
        watch = scorer.watch(METRICS[request.select.metric])
    (fits,) = yield [
        Descend(
            digest=request.feature_set,
            problems=[task.problem for task in tasks],
            settings=settings,
            watch=watch,
        )
    ]
    return fits


def _average(fits: Sequence[Fitted], tasks: Sequence[Task]) -> Averaged | Failed:
    """The mean head, and the worst certificate."""
    if any(fit.diverged for fit in fits):
        return Failed(ValueError("the path left the finite numbers: lower learning_rate, or set clip_norm"))
    certificates = [fit.certificate for fit in fits if fit.certificate is not None]
    certificate = replace(NO_CERTIFICATE, iterations=fits[0].step)
    if certificates:
        certificate = Certificate(
            converged=all(one.converged for one in certificates),
            # Rounding may leave a gap just below 0.
            gap=max(max(one.gap, 0.0) for one in certificates),
            gradient_norm=max(one.gradient_norm for one in certificates),
            iterations=max(one.iterations for one in certificates),
            passes=sum(one.passes for one in certificates),
            objective=sum(one.objective for one in certificates) / len(certificates),
        )
    return Averaged(
        weight=np.mean([fit.weight for fit in fits], axis=0),
        bias=np.mean([fit.bias for fit in fits], axis=0),
        certificate=certificate,
        head_error=_head_error(fits, tasks),
        tasks=tasks,
        step=fits[0].step,
    )


def _head_error(fits: Sequence[Fitted], tasks: Sequence[Task]) -> float:
    errors = [
        math.sqrt(2 * max(fit.certificate.gap, 0.0) / task.problem.l2)
        for fit, task in zip(fits, tasks, strict=True)
        if fit.certificate is not None and task.problem.l2 > 0
    ]
    return max(errors, default=math.nan)


def _plan(tasks: Sequence[Task], row_ids: NDArray[np.uint64]) -> pb.Plan:
    return pb.Plan(
        row_ids=array_to_proto(np.stack([row_ids[task.draw.rows] for task in tasks]).astype(np.uint64)),
        weights=array_to_proto(np.stack([task.draw.weight for task in tasks])),
    )
