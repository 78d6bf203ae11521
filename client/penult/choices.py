"""The choices that requests offer: their names here, their numbers on the wire."""

from collections.abc import Iterable
from typing import Literal, TypeVar

from penult.errors import invalid, shown
from penult_proto.v1 import datasets_pb2, groups_pb2, jobs_pb2, runs_pb2, spectra_pb2

BalanceMethod = Literal["none", "subsetting", "upsampling", "upweighting", "mixture"]
By = Literal["class", "group"]
MissingGroups = Literal["refuse", "skip"]
OptimizerName = Literal["adamw", "sgd"]
ScheduleName = Literal["constant", "cosine", "linear"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
Layout = Literal["table", "waterbirds", "celeba", "civilcomments", "multinli"]
PoolingName = Literal["model", "mean"]
LossName = Literal["mean", "group_dro", "cvar_dro"]
StorageType = Literal["float32", "float16"]
FeatureKind = Literal["pooled", "flat"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

BALANCE_METHODS: dict[BalanceMethod, groups_pb2.BalanceMethod.ValueType] = {
    "none": groups_pb2.BALANCE_METHOD_NONE,
    "subsetting": groups_pb2.BALANCE_METHOD_SUBSETTING,
    "upsampling": groups_pb2.BALANCE_METHOD_UPSAMPLING,
    "upweighting": groups_pb2.BALANCE_METHOD_UPWEIGHTING,
    "mixture": groups_pb2.BALANCE_METHOD_MIXTURE,
}
BALANCE_BY: dict[By, groups_pb2.BalanceBy.ValueType] = {
    "class": groups_pb2.BALANCE_BY_CLASS,
    "group": groups_pb2.BALANCE_BY_GROUP,
}
MISSING_GROUPS: dict[MissingGroups, groups_pb2.MissingGroups.ValueType] = {
    "refuse": groups_pb2.MISSING_GROUPS_REFUSE,
    "skip": groups_pb2.MISSING_GROUPS_SKIP,
}
SPECTRA_BY: dict[By, spectra_pb2.SpectraBy.ValueType] = {
    "group": spectra_pb2.SPECTRA_BY_GROUP,
    "class": spectra_pb2.SPECTRA_BY_CLASS,
}
OPTIMIZERS: dict[OptimizerName, runs_pb2.OptimizerName.ValueType] = {
    "adamw": runs_pb2.OPTIMIZER_NAME_ADAMW,
    "sgd": runs_pb2.OPTIMIZER_NAME_SGD,
}
SCHEDULES: dict[ScheduleName, runs_pb2.ScheduleName.ValueType] = {
    "constant": runs_pb2.SCHEDULE_NAME_CONSTANT,
    "cosine": runs_pb2.SCHEDULE_NAME_COSINE,
    "linear": runs_pb2.SCHEDULE_NAME_LINEAR,
}
FEATURE_KINDS: tuple[FeatureKind, ...] = ("pooled", "flat")
PRECISIONS: dict[PrecisionName, runs_pb2.Precision.ValueType] = {
    "auto": runs_pb2.PRECISION_AUTO,
    "fp32": runs_pb2.PRECISION_FP32,
    "bf16": runs_pb2.PRECISION_BF16,
    "fp16": runs_pb2.PRECISION_FP16,
}
POOLINGS: dict[PoolingName, runs_pb2.PoolingName.ValueType] = {
    "model": runs_pb2.POOLING_NAME_MODEL,
    "mean": runs_pb2.POOLING_NAME_MEAN,
}
LOSSES: dict[LossName, runs_pb2.LossName.ValueType] = {
    "mean": runs_pb2.LOSS_NAME_MEAN,
    "group_dro": runs_pb2.LOSS_NAME_GROUP_DRO,
    "cvar_dro": runs_pb2.LOSS_NAME_CVAR_DRO,
}
LAYOUTS: dict[Layout, datasets_pb2.DatasetLayout.ValueType] = {
    "table": datasets_pb2.DATASET_LAYOUT_TABLE,
    "waterbirds": datasets_pb2.DATASET_LAYOUT_WATERBIRDS,
    "celeba": datasets_pb2.DATASET_LAYOUT_CELEBA,
    "civilcomments": datasets_pb2.DATASET_LAYOUT_CIVILCOMMENTS,
    "multinli": datasets_pb2.DATASET_LAYOUT_MULTINLI,
}
STORAGE_TYPES: tuple[StorageType, ...] = ("float32", "float16")
JOB_STATES: dict[JobState, jobs_pb2.JobState.ValueType] = {
    "queued": jobs_pb2.JOB_STATE_QUEUED,
    "running": jobs_pb2.JOB_STATE_RUNNING,
    "succeeded": jobs_pb2.JOB_STATE_SUCCEEDED,
    "failed": jobs_pb2.JOB_STATE_FAILED,
    "cancelled": jobs_pb2.JOB_STATE_CANCELLED,
}

_Name = TypeVar("_Name", bound=str)
_Number = TypeVar("_Number", bound=int)


def check_choice(argument: str, value: object, legal: Iterable[str]) -> None:
    """Raise `InvalidRequest`, listing the legal names, unless `value` is one of them."""
    names = list(legal)
    if not isinstance(value, str) or value not in names:
        listed = ", ".join(repr(name) for name in names)
        raise invalid(f"{argument} must be one of {listed}; got {shown(value)}", argument=argument, legal=listed)


def name_of(table: dict[_Name, _Number], number: int, unspecified: _Name) -> _Name:
    """The name of a number on the wire; `unspecified` for 0."""
    return {int(value): name for name, value in table.items()}.get(number, unspecified)
