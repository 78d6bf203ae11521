"""From a request on the wire to the configuration of a run."""

from penult_proto.v1 import runs_pb2
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


def config_from_proto(spec: runs_pb2.FinetuneSpec) -> FinetuneConfig:
    """The configuration that a request names; the dataset stands apart.

    Raises ServiceError as FinetuneConfig does, also for choices of a newer protocol.
    """
    return FinetuneConfig(
        backbone=spec.backbone,
        epochs=spec.epochs,
        attribute=spec.attribute,
        pretrained=spec.pretrained,
        method=from_wire("balance.method", spec.balance.method, BALANCE_METHODS),
        by=from_wire("balance.by", spec.balance.by, BALANCE_BY),
        ratio=spec.balance.ratio,
        seed=spec.seed,
        optimizer=from_wire("optimizer", spec.optimizer, _OPTIMIZERS),
        learning_rate=spec.learning_rate,
        weight_decay=spec.weight_decay,
        momentum=spec.momentum,
        schedule=from_wire("schedule", spec.schedule, _SCHEDULES),
        warmup=spec.warmup,
        batch_size=spec.batch_size,
        flip=spec.flip,
        image_size=spec.image_size,
        max_tokens=spec.max_tokens,
        evaluate=tuple(spec.evaluate),
        evaluate_every=spec.evaluate_every,
        checkpoint_every=spec.checkpoint_every,
        early_steps=tuple(spec.early_steps),
        save_every=spec.save_every,
        objective=objective_from_proto(spec.objective) if spec.HasField("objective") else Objective(),
        decay_all=spec.decay_all,
        schedule_by_epoch=spec.schedule_by_epoch,
        clip_norm=spec.clip_norm,
        precision=from_wire("precision", spec.precision, _PRECISIONS),
        compile=spec.compile,
        accumulate=spec.accumulate,
        crop_scale=spec.crop_scale,
        pad_to_max=spec.pad_to_max,
        processes=spec.processes,
        image_resize=spec.image_resize,
        weights=spec.weights,
        pooling=from_wire("pooling", spec.pooling, _POOLINGS),
    )


def objective_from_proto(message: runs_pb2.Objective) -> Objective:
    """What is minimised. Raises ServiceError as Objective does."""
    return Objective(
        loss=from_wire("objective.loss", message.loss, _LOSSES),
        group_dro_rate=message.group_dro_rate,
        group_dro_adjustment=message.group_dro_adjustment,
        cvar_fraction=message.cvar_fraction,
        label_smoothing=message.label_smoothing,
        mixup=message.mixup,
        sam=message.sam,
        repeat_errors_of=message.repeat_errors_of,
        repeat_errors=message.repeat_errors,
    )
