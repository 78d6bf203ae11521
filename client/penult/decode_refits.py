"""From messages of the wire to the records of refits."""

from typing import Any

from penult import refits
from penult.arrays import decode as array
from penult.decode import by_name, metrics
from penult.notes import decode_notes
from penult_proto.enums import name_or
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb


def scaling(message: pb.Scaling) -> str:
    """The name of what standardises, or the digest of the set that does."""
    return message.feature_set or name_or(pb.ScalingKind, message.kind, "rows")


def head_source(message: pb.HeadSource) -> str:
    """The name of a head, or the digest of the refit it is from."""
    if message.kind == pb.HEAD_KIND_EXPLICIT:
        return "explicit"
    return message.refit or name_or(pb.HeadKind, message.kind, "zero")


def _heard(message: Any, name: str, chosen: dict[str, float]) -> float | None:
    """A number that was chosen or given; None where it had nothing to say."""
    given = getattr(message, name) if message.HasField(name) else None
    return chosen.get(name, given)


def path(message: pb.Path, learning_rate: float | None = None) -> refits.PathSettings:
    """An early-stopped method; `learning_rate` is one that was chosen on a grid."""
    return refits.PathSettings(
        optimizer=name_or(pb.PathOptimizer, message.optimizer, "gd"),
        learning_rate=message.learning_rate if learning_rate is None else learning_rate,
        schedule=name_or(pb.PathSchedule, message.schedule, "constant"),
        steps=message.steps,
        epochs=message.epochs,
        momentum=message.momentum,
        weight_decay=message.weight_decay,
        clip_norm=message.clip_norm or None,
        batch_size=message.batch_size or None,
        keep=name_or(pb.PathKeep, message.keep, "last"),
        start=head_source(message.start),
    )


def select(message: pb.Select) -> refits.SelectSettings:
    """How a candidate was chosen."""
    return refits.SelectSettings(
        on=message.feature_set or "half",
        metric=name_or(pb.SelectMetric, message.metric, "worst_group"),
        ties="last" if message.last_of_equals else "first",
        final=name_or(pb.SelectFinal, message.final, "chosen"),
        repeats=message.repeats,
        standardize=scaling(message.scaling),
    )


def refit_settings(message: pb.RefitRequest, chosen: dict[str, float] | None = None) -> refits.RefitSettings:
    """The request that a refit answers, every preset expanded, with the numbers that were chosen."""
    found = chosen or {}
    weights, rows = message.weights, message.rows
    has_top = rows.kind in (pb.ROWS_KIND_TOP_LOSS, pb.ROWS_KIND_TOP_DISAGREEMENT)
    return refits.RefitSettings(
        feature_set=message.feature_set,
        preset=message.preset,
        balance=name_or(groups_pb2.BalanceMethod, message.balance.method, "none"),
        by=name_or(groups_pb2.BalanceBy, message.balance.by, "class"),
        ratio=_heard(message.balance, "ratio", found),
        missing_groups=name_or(groups_pb2.MissingGroups, message.balance.missing_groups, "refuse"),
        l1=found.get("l1", message.l1),
        l2=found.get("l2", message.l2),
        penalty=name_or(pb.PenaltyScale, message.penalty_scale, "mean"),
        center=head_source(message.center),
        intercept=name_or(pb.Intercept, message.intercept, "free"),
        link=name_or(pb.Link, message.link, "softmax"),
        standardize=scaling(message.scaling),
        repeats=message.repeats,
        weights="explicit"
        if weights.kind == pb.WEIGHTS_KIND_EXPLICIT
        else name_or(pb.WeightsKind, weights.kind, "uniform"),
        gamma=_heard(weights, "gamma", found),
        up=_heard(weights, "up", found),
        class_ratio=_heard(weights, "class_ratio", found),
        detector=path(weights.detector) if weights.HasField("detector") else None,
        detector_l1=_heard(weights, "detector_l1", found),
        rows=name_or(pb.RowsKind, rows.kind, "all"),
        top_k=int(found.get("top_k", rows.top_k)) if has_top else None,
        other=rows.other,
        offset=name_or(pb.OffsetKind, message.offset.kind, "none"),
        tau=_heard(message.offset, "tau", found),
        groups=name_or(pb.GroupSource, message.groups, "stored"),
        risk=name_or(pb.RiskKind, message.risk.kind, "mean"),
        alpha=_heard(message.risk, "alpha", found),
        path=path(message.path, found.get("learning_rate")) if message.HasField("path") else None,
        grid={axis.name: tuple(axis.values) for axis in message.grid},
        select=select(message.select) if message.HasField("select") else None,
        seed=message.seed,
        tolerance=_heard(message, "tolerance", found),
        max_iterations=message.max_iterations if message.HasField("max_iterations") else None,
        across_checkpoints=message.across_checkpoints,
    )


def selection(message: pb.Refit) -> refits.Selection | None:
    """All candidates and the one that was chosen; None where nothing was selected."""
    if not message.candidates:
        return None
    names = [axis.name for axis in message.request.grid]
    candidates = tuple(
        refits.Candidate(
            values=dict(zip(names, entry.values, strict=True)),
            score=entry.score,
            worst_group_accuracy=entry.worst_group_accuracy,
            average_accuracy=entry.average_accuracy,
            converged=entry.converged,
            step=entry.step,
            failure=entry.failure,
        )
        for entry in message.candidates
    )
    return refits.Selection(
        metric=name_or(pb.SelectMetric, message.request.select.metric, "worst_group"),
        candidates=candidates,
        chosen=candidates[message.chosen],
    )


def head(message: pb.Head) -> refits.Head:
    """A head with the names of its classes, if they have any."""
    return refits.Head(
        weight=array(message.weight),
        bias=array(message.bias),
        classes=tuple(message.classes) or None,
        checkpoint=message.checkpoint,
    )


def decode_plan(message: pb.Plan) -> refits.Plan:
    """Rows of the draws."""
    return refits.Plan(row_ids=array(message.row_ids), weights=array(message.weights))


def refit(message: pb.Refit) -> refits.Refit:
    """A refit."""
    certificate = message.certificate
    chosen = selection(message)
    return refits.Refit(
        digest=message.digest,
        settings=refit_settings(message.request, dict(chosen.chosen.values) if chosen else None),
        head=head(message.head),
        certificate=refits.Certificate(
            converged=certificate.converged,
            gap=certificate.gap,
            gradient_norm=certificate.gradient_norm,
            iterations=certificate.iterations,
            passes=certificate.passes,
            objective=certificate.objective,
            head_error=certificate.head_error,
        ),
        metrics={name: metrics(message.metrics[name]) for name in by_name(message.metrics)},
        selection=chosen,
        plan=decode_plan(message.plan) if message.HasField("plan") else None,
        n_rows=message.n_rows,
        reused=message.reused,
        notes=decode_notes(message.notes),
    )
