"""From messages of the wire to the records that users see."""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from penult.results import records
from penult.results.diagnosis.panels import Panel, PanelDefinition, PanelValue
from penult.results.finetune_spec import FinetuneSpec
from penult.results.metrics import EpochMetrics, MaskMetrics, Metrics
from penult.results.notes import Note, Notes
from penult.results.used_grouping import UsedGrouping
from penult.wire.arrays import sent_by_server
from penult.wire.merge_origin import merge_origin
from penult.wire.recipes import arguments_of
from penult_proto.arrays import numpy_dtype
from penult_proto.v1 import cards_pb2, datasets_pb2, features_pb2, groups_pb2, info_pb2, notes_pb2, runs_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

Record = TypeVar("Record")


def record(kind: type[Record], message: "Message", **others: Any) -> Record:
    """A record: `others`, and for every other field what the message has under the same name, lists as tuples."""
    names = [name for name in _field_names(kind) if name not in others]
    return kind(**others, **{name: _plain(getattr(message, name)) for name in names})


@cache
def _field_names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else tuple(value)


def decode_notes(messages: Iterable[notes_pb2.Note]) -> Notes:
    """Notes in their order."""
    return tuple(Note(message.text, message.id) for message in messages)


def time(message: "Timestamp") -> datetime | None:
    """A time in UTC, or None when it was not set."""
    return message.ToDatetime(tzinfo=UTC) if message.seconds else None


def card(message: cards_pb2.Card) -> dict[str, Any]:
    """What is said of a thing, by the fields of its record; `created` has a place of its own."""
    return {"name": message.name, "tags": tuple(message.tags), "note": message.note, "user": message.user}


def info(message: info_pb2.Info) -> records.Info:
    """What a server says about itself."""
    backbones = tuple(record(records.Backbone, one) for one in message.packaged_backbones)
    workers = tuple(record(records.ComputeWorker, one) for one in message.compute_workers)
    return record(records.Info, message, packaged_backbones=backbones, compute_workers=workers)


def groups(messages: Iterable[groups_pb2.Group]) -> tuple[records.Group, ...]:
    """Groups in their order."""
    return tuple(record(records.Group, message) for message in messages)


def used_grouping(message: Any) -> UsedGrouping | None:
    """The grouping that an answer is by; None for the stored groups."""
    return record(UsedGrouping, message.grouping) if message.HasField("grouping") else None


def metrics(message: groups_pb2.Metrics) -> Metrics:
    """Accuracies; the worst group as a record instead of an index."""
    decoded = groups(message.groups)
    masks = tuple(record(MaskMetrics, one) for one in message.masks)
    return record(
        Metrics,
        message,
        groups=decoded,
        correct=np.array(message.correct, dtype=np.int64),
        group_accuracy=np.array(message.group_accuracy, dtype=np.float64),
        group_low=_ends(message.group_low, len(decoded)),
        group_high=_ends(message.group_high, len(decoded)),
        confusion=np.array(message.confusion, dtype=np.int64).reshape(len(decoded), -1),
        worst_group=next(entry for entry in decoded if entry.index == message.worst_group),
        average_weights=np.array(message.average_weights, dtype=np.float64),
        masks=masks,
        worst_mask=masks[message.worst_mask] if masks and message.worst_mask >= 0 else None,
        worst_mask_accuracy=message.worst_mask_accuracy if masks else float("nan"),
        grouping=used_grouping(message),
        notes=decode_notes(message.notes),
        panels=_panels(message),
    )


def _panels(message: groups_pb2.Metrics) -> dict[str, Panel]:
    """Panels by their names, in the order of the answer."""
    return {
        one.name: Panel(
            name=one.name,
            definitions={each.id: record(PanelDefinition, each) for each in one.definitions},
            values=tuple(record(PanelValue, each, p=each.p if each.HasField("p") else math.nan) for each in one.values),
        )
        for one in message.panels
    }


def _ends(values: Sequence[float], n_groups: int) -> NDArray[np.float64]:
    """(G,) ends of intervals; NaN for metrics that were stored before there were any."""
    return np.array(values or [np.nan] * n_groups, dtype=np.float64)


def attributes(messages: Iterable[groups_pb2.Attribute]) -> tuple[records.Attribute, ...]:
    """Attribute columns with the names of their values."""
    return tuple(record(records.Attribute, one) for one in messages)


def dataset(message: datasets_pb2.Dataset) -> records.Dataset:
    """A dataset."""
    return record(
        records.Dataset,
        message,
        modality="text" if message.modality == datasets_pb2.MODALITY_TEXT else "image",
        attributes=attributes(message.attributes),
        splits=tuple(record(records.Split, one, groups=groups(one.groups)) for one in message.splits),
        notes=decode_notes(message.notes),
        created=time(message.card.created),
        **card(message.card) | {"name": message.name},
    )


def checkpoint(message: runs_pb2.Checkpoint) -> records.Checkpoint:
    """A checkpoint."""
    epoch, created, notes = _epoch(message.epoch), time(message.created), decode_notes(message.notes)
    merge = merge_origin(message.merge) if message.HasField("merge") else None
    said = card(message.card)
    return record(records.Checkpoint, message, epoch=epoch, created=created, notes=notes, merge=merge, **said)


def epoch_metrics(message: runs_pb2.EpochMetrics) -> EpochMetrics:
    """Metrics of a split after an epoch."""
    return record(EpochMetrics, message, epoch=_epoch(message.epoch), metrics=metrics(message.metrics))


def _epoch(value: float) -> float:
    """Whole epochs as an int, which prints as people write it."""
    return int(value) if value.is_integer() else value


def balance_ratio(message: groups_pb2.Balance) -> float | None:
    """The ratio of a mixture; None for the other methods."""
    return message.ratio if message.method == groups_pb2.BALANCE_METHOD_MIXTURE else None


def finetune_spec(message: runs_pb2.FinetuneSpec) -> FinetuneSpec:
    """A finetuning recipe."""
    return FinetuneSpec(**arguments_of(message))


def run_manifest(message: runs_pb2.RunManifest) -> records.RunManifest:
    """What is needed to run a run again."""
    return record(
        records.RunManifest,
        message,
        spec=finetune_spec(message.spec),
        kept_row_ids=np.array(message.kept_row_ids, dtype=np.uint64),
        versions=dict(message.versions),
        created=time(message.created),
    )


def run(message: runs_pb2.Run) -> records.Run:
    """A finetuning run."""
    return record(
        records.Run,
        message,
        spec=finetune_spec(message.spec),
        checkpoints=tuple(checkpoint(entry) for entry in message.checkpoints),
        history=tuple(epoch_metrics(entry) for entry in message.history),
        created=time(message.created),
        notes=decode_notes(message.notes),
        **card(message.card),
    )


@sent_by_server()
def feature_set(message: features_pb2.FeatureSet) -> records.FeatureSet:
    """A feature set."""
    return record(
        records.FeatureSet,
        message,
        dtype=numpy_dtype(message.dtype, "a feature set").name,
        labels=record(records.Labels, message.labels),
        groups=groups(message.groups),
        created=time(message.created),
        train_shares=np.array(message.train_shares, dtype=np.float64),
        attributes=attributes(message.attributes),
        notes=decode_notes(message.notes),
        **card(message.card),
    )
