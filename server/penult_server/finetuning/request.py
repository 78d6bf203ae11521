"""From a request on the wire to the configuration of a run."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from penult_proto.v1 import groups_pb2, runs_pb2
from penult_server.backbones.catalog import Pooling
from penult_server.finetuning.checks import from_wire
from penult_server.finetuning.config import FinetuneConfig, Optimizer, Precision, Schedule
from penult_server.finetuning.objective import Loss, Objective
from penult_server.messages import BALANCE_BY, BALANCE_METHODS

_OPTIMIZERS: dict[int, Optimizer] = {
    runs_pb2.OPTIMIZER_NAME_UNSPECIFIED: "adamw",
    runs_pb2.OPTIMIZER_NAME_ADAMW: "adamw",
    runs_pb2.OPTIMIZER_NAME_SGD: "sgd",
}
_SCHEDULES: dict[int, Schedule] = {
    runs_pb2.SCHEDULE_NAME_UNSPECIFIED: "cosine",
    runs_pb2.SCHEDULE_NAME_CONSTANT: "constant",
    runs_pb2.SCHEDULE_NAME_COSINE: "cosine",
    runs_pb2.SCHEDULE_NAME_LINEAR: "linear",
}
_PRECISIONS: dict[int, Precision] = {
    runs_pb2.PRECISION_UNSPECIFIED: "auto",
    runs_pb2.PRECISION_AUTO: "auto",
    runs_pb2.PRECISION_FP32: "fp32",
    runs_pb2.PRECISION_BF16: "bf16",
    runs_pb2.PRECISION_FP16: "fp16",
}
_POOLINGS: dict[int, Pooling] = {
    runs_pb2.POOLING_NAME_UNSPECIFIED: "model",
    runs_pb2.POOLING_NAME_MODEL: "model",
    runs_pb2.POOLING_NAME_MEAN: "mean",
}
_LOSSES: dict[int, Loss] = {
    runs_pb2.LOSS_NAME_UNSPECIFIED: "mean",
    runs_pb2.LOSS_NAME_MEAN: "mean",
    runs_pb2.LOSS_NAME_GROUP_DRO: "group_dro",
    runs_pb2.LOSS_NAME_CVAR_DRO: "cvar_dro",
}
CHOICES: Mapping[str, Mapping[int, str]] = {
    "optimizer": _OPTIMIZERS,
    "schedule": _SCHEDULES,
    "precision": _PRECISIONS,
    "pooling": _POOLINGS,
    "balance.method": {int(number): method for number, method in BALANCE_METHODS.items()},
    "balance.missing_groups": {
        groups_pb2.MISSING_GROUPS_UNSPECIFIED: "refuse",
        groups_pb2.MISSING_GROUPS_REFUSE: "refuse",
        groups_pb2.MISSING_GROUPS_SKIP: "skip",
    },
    "balance.by": {int(number): by for number, by in BALANCE_BY.items()},
    "objective.loss": _LOSSES,
}
"""What the numbers of a field mean, by the field's path in the request."""
NESTED = ("balance", "objective")
"""Messages within the request."""


def config_from_proto(spec: runs_pb2.FinetuneSpec) -> FinetuneConfig:
    """The configuration that a request names, with the defaults of what it leaves out; the dataset stands apart.

    Raises ServiceError as FinetuneConfig does, also for choices of a newer protocol.
    """
    given = _given(spec, "", apart=("dataset", "backbone", *NESTED)) | _given(spec.balance, "balance.")
    objective = Objective(**_given(spec.objective, "objective."))
    return FinetuneConfig(backbone=spec.backbone, objective=objective, **given)


def _given(message: Message, prefix: str, apart: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields that were given, by their names, as the configuration holds them."""
    given: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name in apart:
            continue
        path = prefix + field.name
        if path in CHOICES:
            given[field.name] = from_wire(path, value, CHOICES[path])
        else:
            given[field.name] = value if isinstance(value, bool | int | float | str) else tuple(value)
    return given
