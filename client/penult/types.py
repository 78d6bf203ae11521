"""The names that requests may use. Made by ``python -m penult_proto.generate``."""

from typing import Literal

BalanceMethod = Literal["none", "subsetting", "upsampling", "upweighting", "mixture"]
BatchNormRule = Literal["reestimate", "average", "first"]
BatchNormStream = Literal["natural", "class", "group"]
By = Literal["class", "group"]
ExportFormat = Literal["timm", "transformers", "safetensors"]
FeatureKind = Literal["pooled", "flat"]
FileHead = Literal["keep", "new"]
ForeignObjects = Literal["refuse", "ignore"]
GridName = Literal[
    "l1",
    "l2",
    "ratio",
    "group_ratio",
    "gamma",
    "up",
    "class_ratio",
    "detector_l1",
    "tau",
    "alpha",
    "top_k",
    "learning_rate",
    "subspace",
]
GroupSource = Literal["stored", "errors", "eiil"]
HeadChoice = Literal["zero", "stored", "random"]
HeadSoupRule = Literal["uniform", "learned", "greedy", "fisher", "moments"]
ImbalanceInference = Literal["asymptotic", "resampled"]
Intercept = Literal["free", "penalized", "none"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "cancelling"]
Layout = Literal["table", "waterbirds", "celeba", "civilcomments", "multinli", "imagefolder", "huggingface"]
Link = Literal["softmax", "ovr", "hinge"]
MergeHeads = Literal["first", "merged", "refit"]
MergeMethodName = Literal[
    "uniform",
    "greedy",
    "wise",
    "trajectory",
    "task_arithmetic",
    "ties",
    "ties_per_tensor",
    "dare",
    "breadcrumbs",
    "model_stock",
    "slerp",
    "variance_corrected",
    "fisher",
    "regmean",
]
MergeScope = Literal["body", "full", "head", "blocks"]
MissingGroups = Literal["refuse", "skip"]
NeighbourMethod = Literal["exact", "ivf", "hnsw", "pq"]
NeighbourMetric = Literal["cosine", "l2", "inner"]
NeighbourWithin = Literal["all", "class", "other_class", "group", "other_group", "attribute", "other_attribute"]
OffsetChoice = Literal["none", "class_prior", "prediction_prior"]
PathKeep = Literal["last", "best"]
PathOptimizer = Literal["gd", "sgd", "adamw"]
PathSchedule = Literal["constant", "cosine"]
PenaltyScale = Literal["mean", "sum"]
PoolingName = Literal["model", "mean"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
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
    "leia",
    "lfr",
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
RecipeName = Literal[
    "labonte2024-waterbirds",
    "labonte2024-celeba",
    "labonte2024-civilcomments",
    "labonte2024-multinli",
    "sagawa2020-waterbirds",
    "sagawa2020-celeba",
    "sagawa2020-multinli",
    "liu2021-waterbirds",
    "liu2021-celeba",
]
ResultKind = Literal[
    "refit",
    "spectra",
    "descriptors",
    "principal_angles",
    "neighbour_metrics",
    "duplicates",
    "label_noise",
    "neighbour_rates",
    "diagnosis",
    "influence",
]
Risk = Literal["mean", "group_dro", "cvar"]
RowsChoice = Literal["all", "top_loss", "top_disagreement", "loss_ends"]
Scaling = Literal["none", "rows", "all"]
ScheduleName = Literal["constant", "cosine", "linear"]
SelectFinal = Literal["chosen", "refit"]
SelectMetric = Literal["worst_group", "worst_class", "average", "mean_group"]
SpectraWeights = Literal["uniform", "errors"]
StorageType = Literal["float32", "float16"]
StoredKind = Literal["run", "checkpoint", "dataset", "features", "job", "result", "grouping"]
Ties = Literal["first", "last"]
WeightsChoice = Literal["uniform", "confidence", "errors", "detected"]
