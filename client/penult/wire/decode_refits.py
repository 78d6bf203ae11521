"""From messages of the wire to the records of refits."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from penult.display.names import in_usual_order
from penult.results import refits
from penult.results.heads import Head
from penult.results.lists.stored import ResultSummary, Score
from penult.results.refit_settings import PathSettings, RefitSettings, SelectSettings
from penult.results.used_grouping import UsedGrouping
from penult.wire.arrays import decode as array
from penult.wire.decode import card, decode_notes, metrics, record, time, used_grouping
from penult_proto.enums import name_or, names_of
from penult_proto.fields.refit import ARGUMENTS
from penult_proto.v1 import catalog_pb2
from penult_proto.v1 import refits_pb2 as pb

_ALWAYS_SAID = ("l1", "l2", "repeats", "center", "standardize")
"""Arguments that go with every method: what an older server left out is read as 0 or as the default."""


def scaling(message: pb.Scaling) -> str:
    """The name of what standardises, or the digest of the set that does."""
    if message.kind == pb.SCALING_KIND_SET:
        return message.feature_set
    return name_or(pb.ScalingKind, message.kind, "rows")


def head_source(message: pb.HeadSource) -> str:
    """The name of a head, or the digest of the refit it is from."""
    return message.refit or name_or(pb.HeadKind, message.kind, "zero")


def grid(axes: Iterable[pb.GridAxis]) -> dict[str, tuple[float, ...]]:
    """The values of the grid, by the name of the number."""
    return {axis.name: tuple(axis.values) for axis in axes}


def path(message: pb.Path) -> PathSettings:
    """An early-stopped method."""
    values: dict[str, Any] = {name: read(getattr(message, name)) for name, read in _PATH.items()}
    for name in ("clip_norm", "batch_size"):
        values[name] = values[name] or None
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
        groups=message.grouping,
    )


def refit_settings(message: pb.RefitRequest, chosen: Mapping[str, float] | None = None) -> RefitSettings:
    """The request that a refit answers, every preset expanded, with the numbers that were chosen."""
    found: dict[str, Any] = {}
    for argument, (place, is_optional, read) in _SETTINGS.items():
        owner, name = place.owner(message), place.field.name
        found[argument] = None if is_optional and not owner.HasField(name) else read(getattr(owner, name))
    found["by"] = message.grouping or found["by"]
    for name, value in (chosen or {}).items():
        if name == "learning_rate":
            found["path"] = replace(found["path"], learning_rate=value)
        else:
            found[name] = int(value) if name in ("top_k", "subspace") else value
    return RefitSettings(feature_set=message.feature_set, **found)


def arguments_of(message: pb.RefitRequest) -> dict[str, Any]:
    """The arguments of `Client.refit` that ask for a request, without those that it leaves out."""
    found = {name: (place.field, place.value(message)) for name, place in ARGUMENTS.items()}
    said = {name: _reader(field, _SAID)(value) for name, (field, value) in found.items() if value is not None}
    if grouping := said.pop("grouping", ""):
        said["by"] = grouping
    return {name: value for name, value in said.items() if value != ""}


def _path_arguments(message: pb.Path) -> dict[str, Any]:
    return {field.name: _reader(field, _SAID)(value) for field, value in message.ListFields()}


def _select_arguments(message: pb.Select) -> dict[str, Any]:
    """What ``select=`` says."""
    said = {field.name: _reader(field, _SAID)(value) for field, value in message.ListFields()}
    names = {
        "half": "on",
        "feature_set": "on",
        "last_of_equals": "ties",
        "scaling": "standardize",
        "grouping": "groups",
    }
    words = {"half": "half", "last_of_equals": "last" if message.last_of_equals else "first"}
    return {names.get(name, name): words.get(name, value) for name, value in said.items()}


Reader = Callable[[Any], Any]
"""A function from the value of a field to what users read."""
_SAID: Mapping[str, Reader] = {
    "GridAxis": grid,
    "HeadSource": head_source,
    "Path": _path_arguments,
    "Scaling": scaling,
    "Select": _select_arguments,
}
"""Readers of messages as arguments, by the name of the message."""
_RECORDS: Mapping[str, Reader] = {**_SAID, "Path": path, "Select": select}
"""Readers of messages as records, by the name of the message."""


def _reader(field: FieldDescriptor, messages: Mapping[str, Reader]) -> Reader:
    enum: Any = field.enum_type
    if enum is not None:
        names = {number: name for name, number in names_of(enum).items()}
        first = next(iter(names.values()))
        return lambda number: names.get(number, first)
    return (lambda value: value) if field.message_type is None else messages[field.message_type.name]


_PATH = {field.name: _reader(field, _RECORDS) for field in pb.Path.DESCRIPTOR.fields}
_SETTINGS = {
    name: (place, place.field.has_presence and name not in _ALWAYS_SAID, _reader(place.field, _RECORDS))
    for name, place in ARGUMENTS.items()
    if name in {field.name for field in fields(RefitSettings)}
}
"""Place of each setting, whether it may be without a value, and its reader."""


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


def head(message: pb.Head) -> Head:
    """A head with the names of its classes, if they have any."""
    return Head(
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
        metrics={name: metrics(message.metrics[name]) for name in in_usual_order(message.metrics)},
        selection=chosen,
        plan=decode_plan(message.plan) if message.HasField("plan") else None,
        n_rows=message.n_rows,
        reused=message.reused,
        grouping=used_grouping(message),
        select_grouping=record(UsedGrouping, message.select_grouping) if message.HasField("select_grouping") else None,
        notes=decode_notes(message.notes),
        created=time(message.card.created),
        **card(message.card),
    )


def result_summary(message: catalog_pb2.ResultSummary) -> ResultSummary:
    """A stored answer in a line."""
    return ResultSummary(
        digest=message.digest,
        kind=name_or(catalog_pb2.ResultKind, message.kind, "refit"),
        feature_sets=tuple(message.feature_sets),
        title=message.title,
        preset=message.preset,
        scores=tuple(record(Score, one) for one in message.scores),
        created=time(message.card.created),
        **card(message.card),
    )
