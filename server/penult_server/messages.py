"""Conversions between the records of the packages and the messages of the protocol."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import numpy as np
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from penult_kernels.metrics.accuracy import GroupMetrics
from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_proto.arrays import DTYPES, AnyArray, decode, encode
from penult_proto.enums import names_of
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import (
    arrays_pb2,
    datasets_pb2,
    features_pb2,
    groups_pb2,
    jobs_pb2,
    merges_pb2,
    refits_pb2,
    runs_pb2,
)
from penult_proto.v1.cards_pb2 import Card
from penult_server.clock import timestamp
from penult_server.datasets.model import DatasetInfo
from penult_server.errors import ServiceError, sent_by_client
from penult_server.notes import Note, notes_to_proto
from penult_server.progress import MetricsRecord
from penult_server.records import Attribute, LabelNames
from penult_server.stores.checkpoints import CheckpointManifest
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.runs import RunManifest

M = TypeVar("M", bound=Message)

BALANCE_METHODS: "dict[groups_pb2.BalanceMethod.ValueType, BalanceMethod]" = {
    groups_pb2.BALANCE_METHOD_UNSPECIFIED: BalanceMethod.NONE,
    **{number: BalanceMethod(name) for name, number in names_of(groups_pb2.BalanceMethod).items()},
}
BALANCE_BY: "dict[groups_pb2.BalanceBy.ValueType, BalanceBy]" = {
    groups_pb2.BALANCE_BY_UNSPECIFIED: BalanceBy.CLASS,
    **{number: BalanceBy(name) for name, number in names_of(groups_pb2.BalanceBy).items()},
}

array_to_proto = encode


@sent_by_client()
def array_from_proto(array: arrays_pb2.Array, name: str) -> AnyArray:
    """The array that a request holds. Raises ServiceError (WRONG_DTYPE, WRONG_SHAPE)."""
    return decode(array, name)


def message_of(kind: type[M], record: object, **others: Any) -> M:
    """A message: `others`, and for every other field what the record has under the same name; cards are the registry's.

    Raises AttributeError for a field that neither has.
    """
    names = [name for name in _field_names(kind) if name not in others]
    return kind(**others, **{name: _plain(getattr(record, name)) for name in names})


@cache
def _field_names(kind: type[Message]) -> tuple[str, ...]:
    return tuple(field.name for field in kind.DESCRIPTOR.fields if field.message_type is not Card.DESCRIPTOR)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def groups_to_proto(labels: LabelNames, counts: Sequence[int]) -> list[groups_pb2.Group]:
    """All groups in the order of their index, with their counts."""
    values = labels.attribute_values
    return [
        groups_pb2.Group(
            index=index,
            name=", ".join([class_name, *values[a : a + 1]]),
            y=y,
            a=a,
            class_name=class_name,
            attribute_value=values[a] if values else "",
            count=counts[index],
        )
        for y, class_name in enumerate(labels.classes)
        for a in range(labels.n_attributes)
        for index in [y * labels.n_attributes + a]
    ]


def classes_to_proto(labels: LabelNames, counts: Sequence[int]) -> list[groups_pb2.Group]:
    """The classes as pooled groups: attribute -1."""
    step = labels.n_attributes
    return [
        groups_pb2.Group(index=y, name=name, y=y, a=-1, class_name=name, count=sum(counts[y * step : (y + 1) * step]))
        for y, name in enumerate(labels.classes)
    ]


def labels_to_proto(labels: LabelNames) -> groups_pb2.Labels:
    """How classes and attribute values are named."""
    return message_of(groups_pb2.Labels, labels)


def metrics_to_proto(
    metrics: GroupMetrics, labels: LabelNames, grouping: groups_pb2.UsedGrouping | None = None
) -> groups_pb2.Metrics:
    """Metrics with the names of their groups and masks; `grouping` is what made the groups if these are not stored."""
    counts = (metrics.mask_count.tolist(), metrics.mask_correct.tolist(), metrics.mask_accuracy.tolist())
    scores = metrics.probabilities
    return message_of(
        groups_pb2.Metrics,
        metrics,
        groups=groups_to_proto(labels, metrics.count.tolist()),
        masks=[
            groups_pb2.MaskMetrics(name=name, count=count, correct=correct, accuracy=accuracy)
            for name, count, correct, accuracy in zip(labels.masks, *counts, strict=True)
        ],
        group_low=metrics.group_interval[:, 0].tolist(),
        group_high=metrics.group_interval[:, 1].tolist(),
        confusion=metrics.confusion.ravel().tolist(),
        auroc=scores.auroc,
        ece=scores.ece,
        ece_bins=scores.ece_bins,
        brier=scores.brier,
        notes=notes_to_proto(_prediction_notes(metrics, labels)),
        grouping=grouping,
        panels=(),
    )


def _prediction_notes(metrics: GroupMetrics, labels: LabelNames) -> list[Note]:
    """That one class is predicted for every row, unless it is the class of every row."""
    predicted = np.flatnonzero(metrics.confusion.sum(axis=0))
    total = int(metrics.count.sum())
    if predicted.size != 1 or int(metrics.correct.sum()) == total:
        return []
    text = f"class {labels.classes[int(predicted[0])]!r} is predicted for all {total} rows"
    return [Note(NoteId.PREDICTS_ONE_CLASS, text)]


def feature_set_to_proto(manifest: FeatureManifest) -> features_pb2.FeatureSet:
    """What the protocol says of a stored feature set. Names belong to the registry."""
    return message_of(
        features_pb2.FeatureSet,
        manifest,
        names=(),
        dtype=DTYPES[manifest.dtype],
        labels=labels_to_proto(manifest.labels),
        groups=groups_to_proto(manifest.labels, manifest.group_counts),
        has_logits=manifest.n_logits > 0,
        created=timestamp(manifest.created),
        attributes=attributes_to_proto(manifest.attributes),
        notes=notes_to_proto(manifest.notes),
    )


def attributes_to_proto(attributes: Sequence[Attribute]) -> list[groups_pb2.Attribute]:
    """Columns of attributes with the names of their values."""
    return [message_of(groups_pb2.Attribute, one) for one in attributes]


def dataset_labels(info: DatasetInfo, attribute: str) -> LabelNames:
    """Names of the groups that the attribute (empty for the first) makes of a dataset."""
    chosen = info.attributes[info.attribute_column(attribute)]
    return LabelNames(classes=info.classes, attribute=chosen.name, attribute_values=chosen.values, masks=info.masks)


def dataset_to_proto(info: DatasetInfo) -> datasets_pb2.Dataset:
    """What the protocol says of a dataset; groups are those of its first attribute."""
    labels = dataset_labels(info, "")
    splits: list[datasets_pb2.Split] = []
    for name, split in info.splits.items():
        g = split.y * labels.n_attributes + split.a[:, 0]
        groups = groups_to_proto(labels, np.bincount(g, minlength=labels.n_groups).tolist())
        in_masks = split.masks.sum(axis=0)
        splits.append(datasets_pb2.Split(name=name, n_examples=len(g), groups=groups, mask_counts=in_masks))
    return message_of(
        datasets_pb2.Dataset,
        info,
        modality=names_of(datasets_pb2.Modality)[info.modality],
        attributes=attributes_to_proto(info.attributes),
        splits=splits,
        notes=notes_to_proto(info.notes),
    )


def record_to_proto(record: MetricsRecord, labels: LabelNames) -> runs_pb2.EpochMetrics:
    """Metrics of a split at one point of a run."""
    return message_of(runs_pb2.EpochMetrics, record, metrics=metrics_to_proto(record.metrics, labels))


def run_manifest_to_proto(manifest: RunManifest, spec: runs_pb2.FinetuneSpec) -> runs_pb2.RunManifest:
    """What is needed to run a run again; the configuration as it was asked for."""
    return message_of(runs_pb2.RunManifest, manifest, spec=spec, created=timestamp(manifest.created))


def error_to_proto(error: ServiceError) -> jobs_pb2.Error:
    """Why a job failed."""
    return message_of(jobs_pb2.Error, error)


def failure_to_proto(error: ServiceError) -> refits_pb2.RefitOutcome:
    """Why a refit failed, in the place of its answer."""
    return refits_pb2.RefitOutcome(failure=message_of(refits_pb2.RefitFailure, error))


def error_from_proto(error: jobs_pb2.Error) -> ServiceError:
    """The exception back."""
    return ServiceError(ErrorKind(error.kind), error.message, **dict(error.metadata))


def checkpoint_to_proto(manifest: CheckpointManifest) -> runs_pb2.Checkpoint:
    """What the protocol says of a stored checkpoint."""
    created = timestamp(datetime.fromisoformat(manifest.created).timestamp())
    merge = ParseDict(manifest.merge, merges_pb2.MergeOrigin(), ignore_unknown_fields=True) if manifest.merge else None
    return message_of(runs_pb2.Checkpoint, manifest, created=created, notes=notes_to_proto(manifest.notes), merge=merge)
