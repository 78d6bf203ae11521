"""From messages of the wire to the records of refits."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from penult import refits
from penult.arrays import decode as array
from penult.decode import by_name, metrics
from penult.notes import decode_notes
from penult.refit_settings import PathSettings, RefitSettings, SelectSettings
from penult_proto.enums import choices_of, name_or
from penult_proto.refit_fields import ARGUMENTS
from penult_proto.v1 import refits_pb2 as pb

SETTINGS = {field.name for field in fields(RefitSettings)}
_ALWAYS_SAID = ("l1", "l2", "repeats")
"""Numbers that go with every method: 0 where an older server left them out."""


def scaling(message: pb.Scaling) -> str:
    """The name of what standardises, or the digest of the set that does."""
    if message.kind == pb.SCALING_KIND_SET:
        return message.feature_set
    return name_or(pb.ScalingKind, message.kind, "rows")


def head_source(message: pb.HeadSource) -> str:
    """The name of a head, or the digest of the refit it is from."""
    return message.refit or name_or(pb.HeadKind, message.kind, "zero")


def path(message: pb.Path, chosen: Mapping[str, float] | None = None) -> PathSettings:
    """An early-stopped method, with a learning rate that was chosen on a grid."""
    values: dict[str, Any] = {field.name: _read(message, field) for field in message.DESCRIPTOR.fields}
    for name in ("clip_norm", "batch_size"):
        values[name] = values[name] or None
    values["learning_rate"] = (chosen or {}).get("learning_rate", message.learning_rate)
    return PathSettings(**values)


def select(message: pb.Select) -> SelectSettings:
    """How a candidate was chosen."""
    return SelectSettings(
        on=message.feature_set or "half",
        metric=name_or(pb.SelectMetric, message.metric, "worst_group"),
        ties="last" if message.last_of_equals else "first",
        final=name_or(pb.SelectFinal, message.final, "chosen"),
        repeats=message.repeats,
        standardize=scaling(message.scaling),
    )


def refit_settings(message: pb.RefitRequest, chosen: Mapping[str, float] | None = None) -> RefitSettings:
    """The request that a refit answers, every preset expanded, with the numbers that were chosen."""
    found: dict[str, Any] = {
        name: _setting(place.owner(message), place.field, chosen or {})
        for name, place in ARGUMENTS.items()
        if name in SETTINGS
    }
    return RefitSettings(feature_set=message.feature_set, **found)


def _setting(owner: Any, field: FieldDescriptor, chosen: Mapping[str, float]) -> Any:
    """One argument; None for a number or a part that had nothing to say."""
    if field.name == "grid":
        return {axis.name: tuple(axis.values) for axis in owner.grid}
    if field.name in ("path", "detector"):
        part, of_grid = getattr(owner, field.name), field.name == "path"
        return path(part, chosen if of_grid else None) if owner.HasField(field.name) else None
    if field.name == "select":
        return select(owner.select) if owner.HasField("select") else None
    if field.name in chosen:
        return type(getattr(owner, field.name))(chosen[field.name])
    is_missing = field.has_presence and field.message_type is None and not owner.HasField(field.name)
    return None if is_missing and field.name not in _ALWAYS_SAID else _read(owner, field)


def _read(owner: Any, field: FieldDescriptor) -> Any:
    """The value of a field as users write it."""
    value = getattr(owner, field.name)
    if field.enum_type is not None:
        enum: Any = field.enum_type
        return name_or(enum, value, next(iter(choices_of(enum))))
    if field.message_type is not None:
        return scaling(value) if isinstance(value, pb.Scaling) else head_source(value)
    return value


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
