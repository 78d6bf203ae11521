"""From messages of the wire to the records that users see."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from penult import records, results
from penult.arrays import numpy_dtype
from penult.finetune_spec import FinetuneSpec
from penult.notes import decode_notes
from penult.recipes import arguments_of
from penult_proto.v1 import (
    datasets_pb2,
    features_pb2,
    groups_pb2,
    info_pb2,
    runs_pb2,
)

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp


def time(message: "Timestamp") -> datetime | None:
    """A time in UTC, or None when it was not set."""
    return message.ToDatetime(tzinfo=UTC) if message.seconds else None


def by_name(names: Iterable[str]) -> list[str]:
    """Names in the order that people expect of splits; maps on the wire have none."""
    usual = ("train", "val", "test")
    return sorted(names, key=lambda name: (usual.index(name) if name in usual else len(usual), name))


def info(message: info_pb2.Info) -> records.Info:
    """What a server says about itself."""
    return records.Info(
        version=message.version,
        protocol=message.protocol,
        device=message.device,
        array_backend=message.array_backend,
        max_message_bytes=message.max_message_bytes,
        chunk_bytes=message.chunk_bytes,
        max_queued_jobs=message.max_queued_jobs,
        max_running_jobs=message.max_running_jobs,
        packaged_backbones=tuple(
            records.Backbone(name=backbone.name, library=backbone.library, weights=backbone.weights)
            for backbone in message.packaged_backbones
        ),
        n_feature_sets=message.n_feature_sets,
        n_checkpoints=message.n_checkpoints,
        n_results=message.n_results,
        root=message.root,
    )


def group(message: groups_pb2.Group) -> records.Group:
    """A group or a class."""
    return records.Group(
        index=message.index,
        name=message.name,
        y=message.y,
        a=message.a,
        class_name=message.class_name,
        attribute_value=message.attribute_value,
        count=message.count,
    )


def groups(messages: Iterable[groups_pb2.Group]) -> tuple[records.Group, ...]:
    """Groups in their order."""
    return tuple(group(message) for message in messages)


def metrics(message: groups_pb2.Metrics) -> results.Metrics:
    """Accuracies; the worst group as a record instead of an index."""
    decoded = groups(message.groups)
    masks = tuple(
        results.MaskMetrics(name=entry.name, count=entry.count, correct=entry.correct, accuracy=entry.accuracy)
        for entry in message.masks
    )
    return results.Metrics(
        groups=decoded,
        correct=np.array(message.correct, dtype=np.int64),
        group_accuracy=np.array(message.group_accuracy, dtype=np.float64),
        group_low=_ends(message.group_low, len(decoded)),
        group_high=_ends(message.group_high, len(decoded)),
        confusion=np.array(message.confusion, dtype=np.int64).reshape(len(decoded), -1),
        average_accuracy=message.average_accuracy,
        weighted_average_accuracy=message.weighted_average_accuracy,
        worst_group_accuracy=message.worst_group_accuracy,
        worst_group=next(entry for entry in decoded if entry.index == message.worst_group),
        worst_class_accuracy=message.worst_class_accuracy,
        balanced_accuracy=message.balanced_accuracy,
        mean_group_accuracy=message.mean_group_accuracy,
        loss=message.loss,
        brier=message.brier,
        ece=message.ece,
        ece_bins=message.ece_bins,
        auroc=message.auroc,
        average_weights=np.array(message.average_weights, dtype=np.float64),
        masks=masks,
        worst_mask=masks[message.worst_mask] if masks and message.worst_mask >= 0 else None,
        worst_mask_accuracy=message.worst_mask_accuracy if masks else float("nan"),
        notes=decode_notes(message.notes),
    )


def _ends(values: Sequence[float], n_groups: int) -> NDArray[np.float64]:
    """(G,) ends of intervals; NaN for metrics that were stored before there were any."""
    return np.array(values or [np.nan] * n_groups, dtype=np.float64)


def attributes(messages: Iterable[groups_pb2.Attribute]) -> tuple[records.Attribute, ...]:
    """Attribute columns with the names of their values."""
    return tuple(records.Attribute(name=entry.name, values=tuple(entry.values)) for entry in messages)


def dataset(message: datasets_pb2.Dataset) -> records.Dataset:
    """A dataset."""
    modality: Literal["image", "text"] = "text" if message.modality == datasets_pb2.MODALITY_TEXT else "image"
    return records.Dataset(
        name=message.name,
        digest=message.digest,
        modality=modality,
        classes=tuple(message.classes),
        attributes=attributes(message.attributes),
        masks=tuple(message.masks),
        splits=tuple(
            records.Split(
                name=split.name,
                n_examples=split.n_examples,
                groups=groups(split.groups),
                mask_counts=tuple(split.mask_counts),
            )
            for split in message.splits
        ),
        description=message.description,
        notes=decode_notes(message.notes),
    )


def checkpoint(message: runs_pb2.Checkpoint) -> records.Checkpoint:
    """A checkpoint."""
    return records.Checkpoint(
        digest=message.digest,
        run_id=message.run_id,
        epoch=_epoch(message.epoch),
        step=message.step,
        backbone=message.backbone,
        dataset=message.dataset,
        dataset_digest=message.dataset_digest,
        n_features=message.n_features,
        n_classes=message.n_classes,
        head_error=message.head_error,
        created=time(message.created),
        classes=tuple(message.classes),
        model=message.model,
    )


def epoch_metrics(message: runs_pb2.EpochMetrics) -> results.EpochMetrics:
    """Metrics of a split after an epoch."""
    return results.EpochMetrics(
        epoch=_epoch(message.epoch), step=message.step, split=message.split, metrics=metrics(message.metrics)
    )


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
    return records.RunManifest(
        run_id=message.run_id,
        spec=finetune_spec(message.spec),
        dataset_digest=message.dataset_digest,
        weights=message.weights,
        kept_row_ids=np.array(message.kept_row_ids, dtype=np.uint64),
        versions=dict(message.versions),
        device=message.device,
        threads=message.threads,
        resumed_at=tuple(message.resumed_at),
        created=time(message.created),
    )


def run(message: runs_pb2.Run) -> records.Run:
    """A finetuning run."""
    return records.Run(
        id=message.id,
        spec=finetune_spec(message.spec),
        dataset_digest=message.dataset_digest,
        n_train_examples=message.n_train_examples,
        checkpoints=tuple(checkpoint(entry) for entry in message.checkpoints),
        history=tuple(epoch_metrics(entry) for entry in message.history),
        created=time(message.created),
        train_seconds=message.train_seconds,
        steps_per_epoch=message.steps_per_epoch,
        notes=decode_notes(message.notes),
    )


def feature_set(message: features_pb2.FeatureSet) -> records.FeatureSet:
    """A feature set."""
    return records.FeatureSet(
        digest=message.digest,
        names=tuple(message.names),
        n_examples=message.n_examples,
        n_features=message.n_features,
        dtype=numpy_dtype(message.dtype).name,
        labels=records.Labels(
            classes=tuple(message.labels.classes),
            attribute=message.labels.attribute,
            attribute_values=tuple(message.labels.attribute_values),
            masks=tuple(message.labels.masks),
            classes_by_index=message.labels.classes_by_index,
        ),
        groups=groups(message.groups),
        has_logits=message.has_logits,
        has_head=message.has_head,
        feature_kind=message.feature_kind,
        checkpoint=message.checkpoint,
        dataset=message.dataset,
        dataset_digest=message.dataset_digest,
        split=message.split,
        created=time(message.created),
        stored_bytes=message.stored_bytes,
        train_shares=np.array(message.train_shares, dtype=np.float64),
        extract_rate=message.extract_rate,
        attributes=attributes(message.attributes),
        notes=decode_notes(message.notes),
    )
