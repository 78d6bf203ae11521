"""One refit in rounds of work: match names, fit the candidates, choose one, fit again, score."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.problem import Head
from penult_kernels.metrics.head_scores import HeadScorer, logits_of_heads
from penult_kernels.rows import ArrayRows, RowSource
from penult_kernels.sampling.plans import halves
from penult_proto.notes import NoteId
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refits.candidates import (
    CandidateFit,
    Choice,
    choose,
    fit_candidate,
    fit_candidates,
    possible,
)
from penult_server.compute.refits.checks import Matched, check_sizes, match_names
from penult_server.compute.refits.evaluation import average_weights, metrics_of
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.named_heads import head_to_proto
from penult_server.compute.refits.problems import ProblemMaker, Subset, Task
from penult_server.compute.refits.work import Logits, Rounds
from penult_server.compute.rows.grouped import Grouped
from penult_server.messages import array_to_proto
from penult_server.notes import Note, notes_to_proto
from penult_server.questions.refit_scalars import candidates_of

SAMPLED = 1024
"""Rows whose predictions are computed first: if they are of two classes, all rows need not be."""


def refit(request: pb.RefitRequest, material: RefitMaterial) -> Rounds[pb.Refit]:
    """Answer a request in which every field is set.

    Raises EmptyLabelError, ValueError and ServiceError for a request that is impossible.
    """
    matched = match_names(request, material)
    maker = ProblemMaker(matched.request, material)
    check_sizes(request, maker.rows)
    train = material.manifest(request.train) if request.train else None
    for name in matched.evaluate:
        # Refused before the work, not after it.
        average_weights(material.manifest(request.evaluate[name]), train)
    final, choice = yield from _fit(matched, maker, material)
    answers = yield [Logits(digest=request.evaluate[name], heads=[final]) for name in matched.evaluate]
    metrics = {
        name: metrics_of(match.columns(logits), material.labels(request.evaluate[name]), train)
        for (name, match), (logits,) in zip(matched.evaluate.items(), answers, strict=True)
    }
    certificate = final.certificate
    fitted, chosen = _used_groupings(request, material)
    notes = _grouping_notes(request, fitted, chosen) + _fit_notes(request, maker, final, choice, material)
    notes += yield from _prediction_notes(request, final, maker, material, metrics)
    for name, match in matched.evaluate.items():
        metrics[name].notes.extend(notes_to_proto(match.notes))
    return pb.Refit(
        request=request,
        head=head_to_proto(final, material.manifest(request.feature_set)),
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
        grouping=None if fitted is None else fitted.to_proto(),
        select_grouping=None if chosen is None else chosen.to_proto(),
    )


def _fit(matched: Matched, maker: ProblemMaker, material: RefitMaterial) -> Rounds[tuple[CandidateFit, Choice | None]]:
    request = matched.request
    everything = maker.universe
    whole = Subset(among=everything, repeats=request.repeats, scaling=request.scaling)
    if not request.HasField("select"):
        final = yield from fit_candidate(next(candidates_of(request)), whole, maker, None)
        return final, None
    select = request.select
    scoring, fitted = None, everything
    score_on = select.feature_set or request.feature_set
    if select.WhichOneof("on") == "half":
        scoring, fitted = (everything[half] for half in halves(everything.size, seed=request.seed))
    part = Subset(among=fitted, repeats=select.repeats, scaling=select.scaling)
    labelled = material.seen(score_on, select.grouping)
    y, g = labelled.y, labelled.g
    if matched.select is not None and not matched.select.is_same:
        # Heads keep the order of the set that is fitted: the labels that they are scored by are put in it.
        y = matched.select.order[labelled.y]
        g = g + (y - labelled.y) * labelled.manifest.labels.n_attributes
    if select.grouping:
        scoring = _in_a_group(scoring, material.grouped(score_on, select.grouping))
    scorer = HeadScorer(
        _scored_rows(request, score_on, scoring, material),
        y,
        g,
        maker.n_classes,
        labelled.manifest.labels.n_groups,
        rows=scoring,
    )
    candidates = list(candidates_of(request))
    tuned = yield from fit_candidates(candidates, part, maker, scorer)
    choice = choose(request, tuned, scorer, maker)
    if select.final == pb.SELECT_FINAL_REFIT:
        final = yield from fit_candidate(candidates[choice.index], whole, maker, scorer)
        return final, choice
    return possible(tuned[choice.index]), choice


def _scored_rows(
    request: pb.RefitRequest, digest: str, rows: NDArray[np.int64] | None, material: RefitMaterial
) -> RowSource:
    """The rows that choose; in memory for paths whose best iterate is kept, which look at them in every step."""
    if material.fits(digest) or not request.HasField("path") or request.path.keep != pb.PATH_KEEP_BEST:
        return material.row_source(digest, rows)
    return ArrayRows((material.resident(digest) if rows is None else material.gathered(digest, rows)).features)


def _in_a_group(rows: NDArray[np.int64] | None, grouped: Grouped) -> NDArray[np.int64] | None:
    """The rows that are in a group; None stands for all."""
    kept = grouped.kept
    return rows if kept is None else kept if rows is None else rows[grouped.a[rows] >= 0]


def _used_groupings(request: pb.RefitRequest, material: RefitMaterial) -> tuple[Grouped | None, Grouped | None]:
    """The groupings of the rows that are fitted, and of those that choose."""
    digest, select = request.feature_set, request.select
    fitted = material.grouped(digest, request.grouping) if request.grouping else None
    chosen = material.grouped(select.feature_set or digest, select.grouping) if select.grouping else None
    return fitted, chosen


def _grouping_notes(request: pb.RefitRequest, fitted: Grouped | None, chosen: Grouped | None) -> list[Note]:
    """Which groups the fit, the choice and the metrics used, where any of them are a grouping's."""
    if fitted is None and chosen is None:
        return []
    said: list[str] = []
    if fitted is not None:
        said.append(f"the rows that are fitted have the groups of {fitted.called}")
    if request.HasField("select"):
        said.append(f"the choice is by {'the stored groups' if chosen is None else f'those of {chosen.called}'}")
    if request.evaluate:
        said.append("metrics are of the stored groups")
    notes = [Note(NoteId.GROUPS_USED, "; ".join(said))]
    for what, grouped in (("to be fitted", fitted), ("that choose", chosen)):
        if grouped is not None and grouped.n_left_out:
            text = f"of the rows {what}, {grouped.n_left_out} of {grouped.a.size} are in no group and were left out"
            notes.append(Note(NoteId.ROWS_WITHOUT_GROUP, text))
    return notes


def _fit_notes(
    request: pb.RefitRequest, maker: ProblemMaker, fit: CandidateFit, choice: Choice | None, material: RefitMaterial
) -> list[Note]:
    """Notes on the fit: rows, candidates, intercept, certificate."""
    found = [note for task in fit.tasks for note in maker.rows.notes(request, task.draw)]
    if choice is not None and choice.n_failed:
        text = f"{choice.n_failed} candidates of the grid could not be fitted; the selection says why of each"
        found.append(Note(NoteId.FAILED_CANDIDATES, text))
    if request.intercept == pb.INTERCEPT_NONE and request.center.kind != pb.HEAD_KIND_ZERO:
        text = "no intercept is fitted, so the bias is that of the center in the space that is solved"
        found.append(Note(NoteId.INTERCEPT_OF_CENTER, text))
    by_group = (pb.SELECT_METRIC_WORST_GROUP, pb.SELECT_METRIC_MEAN_GROUP)
    chooses_on = material.manifest(request.select.feature_set or request.feature_set)
    if (
        choice is not None
        and not request.select.grouping
        and not chooses_on.labels.attribute_values
        and request.select.metric in by_group
    ):
        text = "the set that chooses has no attribute, so its groups are the classes"
        found.append(Note(NoteId.GROUPS_ARE_CLASSES, text))
    if not request.HasField("path") and not fit.certificate.converged:
        text = (
            f"the solver stopped {fit.certificate.gap:.2g} above the optimum at most, which is more than the tolerance "
            "asked for: allow more max_iterations"
        )
        found.append(Note(NoteId.NOT_CONVERGED, text))
    return found


def _prediction_notes(
    request: pb.RefitRequest,
    head: Head,
    maker: ProblemMaker,
    material: RefitMaterial,
    metrics: Mapping[str, groups_pb2.Metrics],
) -> Rounds[list[Note]]:
    """Notes if one class is predicted for every row of the set that was fitted or of one that scores."""
    notes = [Note(NoteId(note.id), f"on {name!r}, {note.text}") for name, one in metrics.items() for note in one.notes]
    few, are_all = _sampled(request.feature_set, material)
    classes = _predicted(logits_of_heads(few, [head])[0], material)
    if classes.size == 1 and not are_all:
        ((logits,),) = yield [Logits(digest=request.feature_set, heads=[head])]
        classes = _predicted(logits, material)
    if classes.size == 1:
        name = maker.rows.labels.classes[int(classes[0])]
        text = f"the head predicts class {name!r} for every row of the set that was fitted"
        notes.append(Note(NoteId.PREDICTS_ONE_CLASS, text))
    return notes


def _sampled(digest: str, material: RefitMaterial) -> tuple[Any, bool]:
    """Some rows of a set, from all over it or, where it does not fit in memory, its first; whether these are all."""
    n_rows = material.manifest(digest).n_examples
    if not material.fits(digest):
        return material.row_source(digest).block(slice(0, min(SAMPLED, n_rows))), n_rows <= SAMPLED
    step = max(1, n_rows // SAMPLED)
    return material.resident(digest).features[::step, :], step == 1


def _predicted(logits: Any, material: RefitMaterial) -> NDArray[np.int64]:
    return np.unique(material.backend.to_host(logits).argmax(axis=1))


def _plan(tasks: Sequence[Task], row_ids: NDArray[np.uint64]) -> pb.Plan:
    return pb.Plan(
        row_ids=array_to_proto(np.stack([row_ids[task.draw.rows] for task in tasks]).astype(np.uint64)),
        weights=array_to_proto(np.stack([task.draw.weight for task in tasks])),
    )
