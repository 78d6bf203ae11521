"""Between the records of the rooms and the messages of the protocol. Conversions only."""

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from penult_kernels.metrics import GroupMetrics
from penult_kernels.selection import BalanceBy, BalanceMethod
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import arrays_pb2, datasets_pb2, features_pb2, groups_pb2, jobs_pb2, runs_pb2
from penult_server.clock import timestamp
from penult_server.datasets.model import Attribute, DatasetInfo
from penult_server.errors import ServiceError
from penult_server.notes import Note, notes_to_proto
from penult_server.progress import MetricsRecord
from penult_server.stores.checkpoints import CheckpointManifest
from penult_server.stores.manifest import FeatureManifest, LabelNames
from penult_server.stores.runs import RunManifest

DTYPES: "dict[str, arrays_pb2.DType.ValueType]" = {
    "float16": arrays_pb2.DTYPE_FLOAT16,
    "float32": arrays_pb2.DTYPE_FLOAT32,
    "float64": arrays_pb2.DTYPE_FLOAT64,
    "int64": arrays_pb2.DTYPE_INT64,
    "uint64": arrays_pb2.DTYPE_UINT64,
    "bool": arrays_pb2.DTYPE_BOOL,
}
DTYPE_NAMES = {number: name for name, number in DTYPES.items()}

MOST_SIDES = 32
"""Of the shape of an array."""

BALANCE_METHODS: "dict[groups_pb2.BalanceMethod.ValueType, BalanceMethod]" = {
    groups_pb2.BALANCE_METHOD_UNSPECIFIED: BalanceMethod.NONE,
    groups_pb2.BALANCE_METHOD_NONE: BalanceMethod.NONE,
    groups_pb2.BALANCE_METHOD_SUBSETTING: BalanceMethod.SUBSETTING,
    groups_pb2.BALANCE_METHOD_UPSAMPLING: BalanceMethod.UPSAMPLING,
    groups_pb2.BALANCE_METHOD_UPWEIGHTING: BalanceMethod.UPWEIGHTING,
    groups_pb2.BALANCE_METHOD_MIXTURE: BalanceMethod.MIXTURE,
}
BALANCE_BY: "dict[groups_pb2.BalanceBy.ValueType, BalanceBy]" = {
    groups_pb2.BALANCE_BY_UNSPECIFIED: BalanceBy.CLASS,
    groups_pb2.BALANCE_BY_CLASS: BalanceBy.CLASS,
    groups_pb2.BALANCE_BY_GROUP: BalanceBy.GROUP,
}


def array_to_proto(array: NDArray[np.generic]) -> arrays_pb2.Array:
    """A small array as raw little-endian bytes in C order."""
    plain = np.ascontiguousarray(array)
    little = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
    return arrays_pb2.Array(dtype=DTYPES[plain.dtype.name], shape=plain.shape, data=little.tobytes())


def array_from_proto(array: arrays_pb2.Array, name: str) -> NDArray[np.generic]:
    """The array back. Raises what `array_from_bytes` raises."""
    return array_from_bytes(array.data, array.dtype, array.shape, name)


def array_from_bytes(
    content: bytes, dtype: "arrays_pb2.DType.ValueType", shape: Sequence[int], name: str
) -> NDArray[np.generic]:
    """An array that came as bytes.

    Raises ServiceError: WRONG_DTYPE for an unknown type and for booleans other than 0 and 1, WRONG_SHAPE for a shape
    that no array has or that takes other bytes.
    """
    numpy_dtype = np.dtype(dtype_name(dtype, name)).newbyteorder("<")
    expected = bytes_of_shape(shape, numpy_dtype.itemsize)
    if expected != len(content):
        needed = f"needs {expected} bytes" if expected is not None else "is that of no array"
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"{name}: shape {shape_text(shape)} of {numpy_dtype.name} {needed}, got {len(content)} bytes",
            array=name,
        )
    if numpy_dtype == np.bool_ and content.strip(b"\0\1"):
        raise ServiceError(ErrorKind.WRONG_DTYPE, f"{name} holds bytes other than 0 and 1", array=name)
    return np.frombuffer(content, dtype=numpy_dtype).reshape(tuple(shape))


def bytes_of_shape(shape: Sequence[int], itemsize: int) -> int | None:
    """Bytes of an array; None where no array has that shape."""
    longest = math.prod(max(side, 1) for side in shape) * itemsize
    if len(shape) > MOST_SIDES or min(shape, default=0) < 0 or longest >= 2**63:
        return None
    return math.prod(shape) * itemsize


def shape_text(shape: Sequence[int]) -> str:
    """A shape as it is said to people, who need no more than its beginning."""
    return str(tuple(shape)) if len(shape) <= MOST_SIDES else f"of {len(shape)} sides"


def dtype_name(dtype: "arrays_pb2.DType.ValueType", name: str) -> str:
    """NumPy's name of the type. Raises ServiceError (WRONG_DTYPE), listing the legal ones."""
    if dtype not in DTYPE_NAMES:
        raise ServiceError(
            ErrorKind.WRONG_DTYPE,
            f"{name} has no known dtype ({dtype}); one of {', '.join(DTYPES)}",
            array=name,
        )
    return DTYPE_NAMES[dtype]


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
    return groups_pb2.Labels(
        classes=labels.classes,
        attribute=labels.attribute,
        attribute_values=labels.attribute_values,
        masks=labels.masks,
        classes_by_index=labels.classes_by_index,
    )


def metrics_to_proto(metrics: GroupMetrics, labels: LabelNames) -> groups_pb2.Metrics:
    """Metrics with the names of their groups and masks."""
    scores = metrics.probabilities
    return groups_pb2.Metrics(
        groups=groups_to_proto(labels, [int(count) for count in metrics.count]),
        correct=[int(count) for count in metrics.correct],
        group_accuracy=[float(value) for value in metrics.group_accuracy],
        average_accuracy=metrics.average_accuracy,
        weighted_average_accuracy=metrics.weighted_average_accuracy,
        worst_group_accuracy=metrics.worst_group_accuracy,
        worst_group=metrics.worst_group,
        worst_class_accuracy=metrics.worst_class_accuracy,
        loss=metrics.loss,
        average_weights=[float(value) for value in metrics.average_weights],
        masks=[
            groups_pb2.MaskMetrics(name=name, count=int(count), correct=int(correct), accuracy=float(accuracy))
            for name, count, correct, accuracy in zip(
                labels.masks, metrics.mask_count, metrics.mask_correct, metrics.mask_accuracy, strict=True
            )
        ],
        worst_mask=metrics.worst_mask,
        worst_mask_accuracy=metrics.worst_mask_accuracy,
        group_low=[float(value) for value in metrics.group_interval[:, 0]],
        group_high=[float(value) for value in metrics.group_interval[:, 1]],
        confusion=[int(count) for count in metrics.confusion.ravel()],
        balanced_accuracy=metrics.balanced_accuracy,
        mean_group_accuracy=metrics.mean_group_accuracy,
        auroc=scores.auroc,
        ece=scores.ece,
        ece_bins=scores.ece_bins,
        brier=scores.brier,
        notes=notes_to_proto(_prediction_notes(metrics, labels)),
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
    return features_pb2.FeatureSet(
        digest=manifest.digest,
        n_examples=manifest.n_examples,
        n_features=manifest.n_features,
        dtype=DTYPES[manifest.dtype],
        labels=labels_to_proto(manifest.labels),
        groups=groups_to_proto(manifest.labels, manifest.group_counts),
        has_logits=manifest.n_logits > 0,
        has_head=manifest.has_head,
        feature_kind=manifest.feature_kind,
        checkpoint=manifest.checkpoint,
        dataset=manifest.dataset,
        dataset_digest=manifest.dataset_digest,
        split=manifest.split,
        created=timestamp(manifest.created),
        stored_bytes=manifest.stored_bytes,
        train_shares=manifest.train_shares,
        extract_rate=manifest.extract_rate,
        attributes=attributes_to_proto(manifest.attributes),
        notes=notes_to_proto(manifest.notes),
    )


def attributes_to_proto(attributes: Sequence[Attribute]) -> list[groups_pb2.Attribute]:
    """Columns of attributes with the names of their values."""
    return [groups_pb2.Attribute(name=one.name, values=one.values) for one in attributes]


def dataset_labels(info: DatasetInfo, attribute: str) -> LabelNames:
    """Names of the groups that the attribute (empty for the first) makes of a dataset."""
    chosen = info.attributes[info.attribute_column(attribute)]
    return LabelNames(classes=info.classes, attribute=chosen.name, attribute_values=chosen.values, masks=info.masks)


def dataset_to_proto(info: DatasetInfo) -> datasets_pb2.Dataset:
    """What the protocol says of a dataset; groups are those of its first attribute."""
    labels = dataset_labels(info, "")
    modality = datasets_pb2.MODALITY_IMAGE if info.modality == "image" else datasets_pb2.MODALITY_TEXT
    splits: list[datasets_pb2.Split] = []
    for name, split in info.splits.items():
        g = split.y * labels.n_attributes + split.a[:, 0]
        counts = np.bincount(g, minlength=labels.n_groups)
        groups = groups_to_proto(labels, [int(count) for count in counts])
        in_masks = [int(count) for count in split.masks.sum(axis=0)]
        splits.append(datasets_pb2.Split(name=name, n_examples=len(g), groups=groups, mask_counts=in_masks))
    return datasets_pb2.Dataset(
        name=info.name,
        digest=info.digest,
        modality=modality,
        classes=info.classes,
        attributes=attributes_to_proto(info.attributes),
        masks=info.masks,
        splits=splits,
        description=info.description,
        notes=notes_to_proto(info.notes),
    )


def record_to_proto(record: MetricsRecord, labels: LabelNames) -> runs_pb2.EpochMetrics:
    """Metrics of a split at one point of a run."""
    metrics = metrics_to_proto(record.metrics, labels)
    return runs_pb2.EpochMetrics(epoch=record.epoch, step=record.step, split=record.split, metrics=metrics)


def run_manifest_to_proto(manifest: RunManifest, spec: runs_pb2.FinetuneSpec) -> runs_pb2.RunManifest:
    """What is needed to run a run again; the configuration as it was asked for."""
    return runs_pb2.RunManifest(
        run_id=manifest.run_id,
        spec=spec,
        dataset_digest=manifest.dataset_digest,
        weights=manifest.weights,
        kept_row_ids=manifest.kept_row_ids,
        versions=manifest.versions,
        device=manifest.device,
        threads=manifest.threads,
        resumed_at=manifest.resumed_at,
        created=timestamp(manifest.created),
    )


def error_to_proto(error: ServiceError) -> jobs_pb2.Error:
    """Why a job failed."""
    return jobs_pb2.Error(kind=error.kind, message=error.message, metadata=error.metadata)


def error_from_proto(error: jobs_pb2.Error) -> ServiceError:
    """The exception back."""
    return ServiceError(ErrorKind(error.kind), error.message, **dict(error.metadata))


def checkpoint_to_proto(manifest: CheckpointManifest) -> runs_pb2.Checkpoint:
    """What the protocol says of a stored checkpoint."""
    return runs_pb2.Checkpoint(
        digest=manifest.digest,
        run_id=manifest.run_id,
        epoch=manifest.epoch,
        step=manifest.step,
        backbone=manifest.backbone,
        dataset=manifest.dataset,
        dataset_digest=manifest.dataset_digest,
        n_features=manifest.n_features,
        n_classes=manifest.n_classes,
        head_error=manifest.head_error,
        created=timestamp(datetime.fromisoformat(manifest.created).timestamp()),
        classes=manifest.classes,
        model=manifest.model,
    )
