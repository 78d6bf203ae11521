"""The choices that refits offer: their names here, their numbers on the wire."""

from typing import Literal, get_args

from penult_proto.v1 import refits_pb2 as pb

Preset = Literal[
    "erm",
    "class_balanced",
    "dfr",
    "dfr_2022",
    "dfr_2023",
    "dfr_l2",
    "dfr_train",
    "afr",
    "afr_celeba",
    "afr_multinli",
    "self",
    "self_disagreement",
    "rad",
    "rad_celeba",
    "llr",
    "crt",
    "reweight_crt",
    "group_dro",
    "cvar_dro",
    "jtt",
    "eiil",
    "logit_adjusted",
    "la_prior",
]
PenaltyScale = Literal["mean", "sum"]
Intercept = Literal["free", "penalized", "none"]
Link = Literal["softmax", "ovr"]
Scaling = Literal["none", "rows", "all"]
HeadChoice = Literal["zero", "stored", "random"]
RowsChoice = Literal["all", "top_loss", "top_disagreement"]
WeightsChoice = Literal["uniform", "confidence", "errors", "detected"]
OffsetChoice = Literal["none", "class_prior", "prediction_prior"]
GroupSource = Literal["stored", "errors", "eiil"]
Risk = Literal["mean", "group_dro", "cvar"]
PathOptimizer = Literal["gd", "sgd", "adamw"]
PathKeep = Literal["last", "best"]
PathSchedule = Literal["constant", "cosine"]
SelectMetric = Literal["worst_group", "worst_class", "average", "mean_group"]
SelectFinal = Literal["chosen", "refit"]
Ties = Literal["first", "last"]
GridName = Literal[
    "l1", "l2", "ratio", "gamma", "up", "class_ratio", "detector_l1", "tau", "alpha", "top_k", "learning_rate"
]

PRESETS: tuple[Preset, ...] = get_args(Preset)
GRID_NAMES: tuple[GridName, ...] = get_args(GridName)
PENALTY_SCALES: dict[PenaltyScale, pb.PenaltyScale.ValueType] = {
    "mean": pb.PENALTY_SCALE_MEAN,
    "sum": pb.PENALTY_SCALE_SUM,
}
INTERCEPTS: dict[Intercept, pb.Intercept.ValueType] = {
    "free": pb.INTERCEPT_FREE,
    "penalized": pb.INTERCEPT_PENALIZED,
    "none": pb.INTERCEPT_NONE,
}
LINKS: dict[Link, pb.Link.ValueType] = {"softmax": pb.LINK_SOFTMAX, "ovr": pb.LINK_OVR}
SCALINGS: dict[Scaling, pb.ScalingKind.ValueType] = {
    "none": pb.SCALING_KIND_NONE,
    "rows": pb.SCALING_KIND_ROWS,
    "all": pb.SCALING_KIND_ALL,
}
HEADS: dict[HeadChoice, pb.HeadKind.ValueType] = {
    "zero": pb.HEAD_KIND_ZERO,
    "stored": pb.HEAD_KIND_STORED,
    "random": pb.HEAD_KIND_RANDOM,
}
ROWS: dict[RowsChoice, pb.RowsKind.ValueType] = {
    "all": pb.ROWS_KIND_ALL,
    "top_loss": pb.ROWS_KIND_TOP_LOSS,
    "top_disagreement": pb.ROWS_KIND_TOP_DISAGREEMENT,
}
WEIGHTS: dict[WeightsChoice, pb.WeightsKind.ValueType] = {
    "uniform": pb.WEIGHTS_KIND_UNIFORM,
    "confidence": pb.WEIGHTS_KIND_CONFIDENCE,
    "errors": pb.WEIGHTS_KIND_ERRORS,
    "detected": pb.WEIGHTS_KIND_DETECTED,
}
OFFSETS: dict[OffsetChoice, pb.OffsetKind.ValueType] = {
    "none": pb.OFFSET_KIND_NONE,
    "class_prior": pb.OFFSET_KIND_CLASS_PRIOR,
    "prediction_prior": pb.OFFSET_KIND_PREDICTION_PRIOR,
}
GROUP_SOURCES: dict[GroupSource, pb.GroupSource.ValueType] = {
    "stored": pb.GROUP_SOURCE_STORED,
    "errors": pb.GROUP_SOURCE_ERRORS,
    "eiil": pb.GROUP_SOURCE_EIIL,
}
RISKS: dict[Risk, pb.RiskKind.ValueType] = {
    "mean": pb.RISK_KIND_MEAN,
    "group_dro": pb.RISK_KIND_GROUP_DRO,
    "cvar": pb.RISK_KIND_CVAR,
}
PATH_OPTIMIZERS: dict[PathOptimizer, pb.PathOptimizer.ValueType] = {
    "gd": pb.PATH_OPTIMIZER_GD,
    "sgd": pb.PATH_OPTIMIZER_SGD,
    "adamw": pb.PATH_OPTIMIZER_ADAMW,
}
PATH_SCHEDULES: dict[PathSchedule, pb.PathSchedule.ValueType] = {
    "constant": pb.PATH_SCHEDULE_CONSTANT,
    "cosine": pb.PATH_SCHEDULE_COSINE,
}
PATH_KEEPS: dict[PathKeep, pb.PathKeep.ValueType] = {"last": pb.PATH_KEEP_LAST, "best": pb.PATH_KEEP_BEST}
SELECT_METRICS: dict[SelectMetric, pb.SelectMetric.ValueType] = {
    "worst_group": pb.SELECT_METRIC_WORST_GROUP,
    "worst_class": pb.SELECT_METRIC_WORST_CLASS,
    "average": pb.SELECT_METRIC_AVERAGE,
    "mean_group": pb.SELECT_METRIC_MEAN_GROUP,
}
SELECT_FINALS: dict[SelectFinal, pb.SelectFinal.ValueType] = {
    "chosen": pb.SELECT_FINAL_CHOSEN,
    "refit": pb.SELECT_FINAL_REFIT,
}
