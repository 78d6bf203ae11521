"""The matrix of a finetuning request: what each of its fields obeys, and with what it is refused.

Every field that the request's descriptor names has a row; `test_finetuning_matrix` runs them.
"""

from dataclasses import dataclass
from typing import Any, Literal

from penult_proto.v1 import groups_pb2, runs_pb2

Values = dict[str, Any]
"""Fields of a request by their path, such as "objective.mixup"."""
Data = Literal["images", "one group", "texts"]
SOME_CHECKPOINT = "checkpoint"
"""Stands for the digest of the starting point of the images' base run."""
SOME_GROUPING = "grouping"
"""Stands for the digest of a grouping of the training images."""


@dataclass(frozen=True, kw_only=True)
class Same:
    """Two requests that end with the same weights: bit for bit, or up to rounding."""

    one: Values
    other: Values
    exact: bool = True
    data: Data = "images"


@dataclass(frozen=True, kw_only=True)
class Differ:
    """Two requests that end with other weights: the field has an effect."""

    one: Values
    other: Values
    data: Data = "images"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A request that is refused, for the field's sake."""

    of: Values
    says: str
    data: Data = "images"


@dataclass(frozen=True)
class Elsewhere:
    """What needs more than a run in this process has a test of its own."""

    file: str
    test: str


Check = Same | Differ | Refused | Elsewhere


BALANCE = {name.removeprefix("BALANCE_METHOD_").lower(): n for name, n in groups_pb2.BalanceMethod.items()}
BY = {name.removeprefix("BALANCE_BY_").lower(): n for name, n in groups_pb2.BalanceBy.items()}
LOSS = {name.removeprefix("LOSS_NAME_").lower(): n for name, n in runs_pb2.LossName.items()}
OPTIMIZER = {name.removeprefix("OPTIMIZER_NAME_").lower(): n for name, n in runs_pb2.OptimizerName.items()}
PRECISION = {name.removeprefix("PRECISION_").lower(): n for name, n in runs_pb2.Precision.items()}
SCHEDULE = {name.removeprefix("SCHEDULE_NAME_").lower(): n for name, n in runs_pb2.ScheduleName.items()}
HEAD = {name.removeprefix("HEAD_NAME_").lower(): n for name, n in runs_pb2.HeadName.items()}
POOLING = {name.removeprefix("POOLING_NAME_").lower(): n for name, n in runs_pb2.PoolingName.items()}

SGD: Values = {"optimizer": OPTIMIZER["sgd"], "learning_rate": 0.05}
MIXTURE: Values = {"balance.method": BALANCE["mixture"], "balance.by": BY["group"]}
UPSAMPLING: Values = {"balance.method": BALANCE["upsampling"], "balance.by": BY["group"]}
UPWEIGHTING: Values = {"balance.method": BALANCE["upweighting"], "balance.by": BY["group"]}
DRO: Values = {"objective.loss": LOSS["group_dro"]}
CVAR: Values = {"objective.loss": LOSS["cvar_dro"]}
FROM_START: Values = {"start.checkpoint": SOME_CHECKPOINT, "pretrained": None}
WHOLE_CVAR: Values = CVAR | {"objective.cvar_fraction": 1.0}
EVEN: Values = {"warmup": 0.0}
TEXTS_ONLY = "goes with a dataset of texts"
GROUPS_ONLY = "has no effect .* over groups, or loss=GroupDRO"
IMAGES_ONLY = "goes with a dataset of images"

MATRIX: dict[str, list[Check]] = {
    "dataset": [Elsewhere("e2e/test_bad_input.py", "test_unknown_names_list_the_known_ones")],
    # The classes are of equal size, so that another attribute's groups are the only reason for other weights.
    "attribute": [
        Same(one=UPWEIGHTING, other=UPWEIGHTING | {"attribute": "hue"}),
        Differ(one=UPWEIGHTING, other=UPWEIGHTING | {"attribute": "turn"}),
    ],
    "backbone": [Differ(one={}, other={"backbone": "test_convnext"})],
    "pretrained": [
        Refused(of={"weights": "/weights.safetensors", "pretrained": False}, says="pretrained must be true with"),
        Refused(of=FROM_START | {"pretrained": False}, says="pretrained has no effect .* without start="),
        Same(one={"pretrained": None}, other={"pretrained": True}, data="texts"),
        Differ(one={"pretrained": None}, other={"pretrained": False}, data="texts"),
    ],
    "balance.method": [
        # Counts of classes are equal: every weight is exactly 1.
        Same(one={}, other={"balance.method": BALANCE["upweighting"], "balance.by": BY["class"]}),
        Same(one={}, other={"balance.method": BALANCE["none"]}),
        Differ(one={}, other=UPWEIGHTING),
        Differ(one=UPSAMPLING, other=UPWEIGHTING),
        Differ(one=CVAR, other=CVAR | UPWEIGHTING),
        Same(one=UPWEIGHTING | SGD, other=UPWEIGHTING | SGD | WHOLE_CVAR, exact=False),
        Refused(of=DRO | UPWEIGHTING, says="balance must be another than upweighting with loss=GroupDRO"),
    ],
    "balance.by": [
        Same(one={"balance.method": BALANCE["upsampling"]}, other=UPSAMPLING | {"balance.by": BY["class"]}),
        Differ(one=UPSAMPLING, other=UPSAMPLING | {"balance.by": BY["class"]}),
        Refused(of={"balance.by": BY["group"]}, says="by has no effect .* goes with a balance"),
    ],
    # Of the values of the attribute "turn".
    "grouping": [
        Same(one=UPWEIGHTING | {"attribute": "turn"}, other=UPWEIGHTING | {"grouping": SOME_GROUPING}),
        Same(one=DRO | {"attribute": "turn"}, other=DRO | {"grouping": SOME_GROUPING}),
        Differ(one=UPWEIGHTING, other=UPWEIGHTING | {"grouping": SOME_GROUPING}),
        Refused(of={"grouping": SOME_GROUPING}, says=f"by {GROUPS_ONLY}"),
        Refused(of=UPSAMPLING | {"balance.by": BY["class"], "grouping": SOME_GROUPING}, says=f"by {GROUPS_ONLY}"),
        Elsewhere("server/test_finetuning_balance.py", "test_a_grouping_stands_in_for_the_attribute"),
    ],
    "balance.missing_groups": [
        # No group is missing.
        Same(one=UPSAMPLING, other=UPSAMPLING | {"balance.missing_groups": 2}),
        Elsewhere("server/test_finetuning_balance.py", "test_groups_without_an_example_can_be_left_out"),
        Refused(of={"balance.missing_groups": 2}, says="missing_groups has no effect .* goes with a balance"),
        Refused(of=UPSAMPLING | {"balance.by": BY["class"], "balance.missing_groups": 2}, says="missing_groups has no"),
    ],
    "balance.ratio": [
        Same(one=UPSAMPLING, other=MIXTURE | {"balance.ratio": 100.0}),
        # The largest group over the smallest: 10 / 2.
        Same(one=MIXTURE | {"balance.ratio": 0.0}, other=MIXTURE | {"balance.ratio": 5.0}),
        Differ(one=MIXTURE | {"balance.ratio": 1.0}, other=MIXTURE | {"balance.ratio": 2.0}),
        Refused(of=UPSAMPLING | {"balance.ratio": 0.0}, says="ratio has no effect .* balance='mixture'"),
        Refused(of=MIXTURE, says="ratio must be given"),
    ],
    "balance.group_ratio": [
        Same(one=UPWEIGHTING, other=UPWEIGHTING | {"balance.group_ratio": 1.0}),
        Differ(one=UPWEIGHTING, other=UPWEIGHTING | {"balance.group_ratio": 0.25}),
        Refused(of=MIXTURE | {"balance.ratio": 2.0, "balance.group_ratio": 0.5}, says="group_ratio has no effect"),
        Refused(of=UPWEIGHTING | {"balance.group_ratio": 0.0}, says="group_ratio must be finite and in"),
        Elsewhere("server/test_finetuning_balance.py", "test_minorities_at_a_ratio"),
    ],
    "recipe": [Elsewhere("server/test_recipes.py", "test_a_recipe_is_its_table")],
    "epochs": [Same(one={"epochs": None}, other={"epochs": 2}), Differ(one={"epochs": 1}, other={"epochs": 2})],
    "seed": [Same(one={"seed": None}, other={"seed": 0}), Differ(one={}, other={"seed": 1})],
    "optimizer": [
        Same(one={}, other={"optimizer": OPTIMIZER["adamw"]}),
        Differ(one=SGD, other={"learning_rate": 0.05}),
    ],
    "learning_rate": [
        Same(one={"learning_rate": None}, other={"learning_rate": 1e-3}),
        Differ(one={}, other={"learning_rate": 2e-3}),
    ],
    "weight_decay": [
        Same(one={}, other={"weight_decay": 0.01}),
        Differ(one={}, other={"weight_decay": 0.0}),
    ],
    "momentum": [
        Same(one=SGD, other=SGD | {"momentum": 0.9}),
        Differ(one=SGD, other=SGD | {"momentum": 0.0}),
        Elsewhere("server/test_finetuning_step.py", "test_momentum_is_really_applied"),
        Refused(of={"momentum": 0.0}, says=r"optimizer=SGD\(momentum=...\) has no effect .* optimizer=SGD\(\)"),
    ],
    "schedule": [
        Same(one={}, other={"schedule": SCHEDULE["cosine"]}),
        Differ(one={}, other={"schedule": SCHEDULE["linear"]}),
        Differ(one={}, other={"schedule": SCHEDULE["constant"]}),
    ],
    "schedule_by_epoch": [
        # Within the first epoch nothing falls.
        Same(one=EVEN | {"schedule": SCHEDULE["constant"]}, other=EVEN | {"schedule_by_epoch": True}),
        Same(one={}, other={"schedule_by_epoch": False}),
        Refused(
            of={"schedule": SCHEDULE["constant"], "schedule_by_epoch": True},
            says=r"schedule=Schedule\(by_epoch=...\) has no effect .* schedule=Schedule\('cosine'\)",
        ),
    ],
    "warmup": [
        Same(one={"warmup": None}, other={"warmup": 0.1}),
        # A tenth of three steps rounds to none of them.
        Same(one={"warmup": 0.1}, other=EVEN),
        Differ(one={"warmup": 0.7}, other=EVEN),
    ],
    "batch_size": [
        Same(one={"batch_size": None}, other={"batch_size": 32}),
        # Whoever asks for more than there are gets them all.
        Same(one={"batch_size": 24}, other={"batch_size": 100}),
        Differ(one={}, other={"batch_size": 12}),
    ],
    "accumulate": [
        Same(one={}, other={"accumulate": 1}),
        Same(one=SGD, other=SGD | {"accumulate": 4}, exact=False),
        Same(one=SGD, other=SGD | {"accumulate": 8}, exact=False),
        Refused(of=CVAR | {"accumulate": 2}, says=r"compute=Compute\(accumulate=...\) must be 1 with loss=CVaRDRO"),
        Refused(of=DRO | {"accumulate": 2}, says=r"Compute\(accumulate=...\) must be 1 with loss=GroupDRO"),
        Elsewhere("server/test_finetuning_parts.py", "test_a_single_example_that_remains_is_joined"),
    ],
    "processes": [
        Same(one={}, other={"processes": 1}),
        Elsewhere("e2e/test_sweeps.py", "test_two_processes_train_as_one"),
    ],
    "flip": [
        Same(one={"flip": None}, other={"flip": True}),
        Differ(one={"flip": False}, other={"flip": True}),
        Refused(of={"flip": True}, says=IMAGES_ONLY, data="texts"),
    ],
    "crop_scale": [
        Same(one={}, other={"crop_scale": 0.0}),
        Differ(one={}, other={"crop_scale": 0.5}),
        Refused(of={"crop_scale": 0.5}, says=IMAGES_ONLY, data="texts"),
    ],
    "image_size": [
        Same(one={"image_size": 0}, other={"image_size": 32}),
        Differ(one={}, other={"image_size": 64}),
        Refused(of={"image_size": 32}, says=IMAGES_ONLY, data="texts"),
    ],
    "image_resize": [
        Same(one={"image_resize": 0}, other={"image_resize": 32}),
        Differ(one={}, other={"image_resize": 40}),
        Refused(of={"image_resize": 40}, says=IMAGES_ONLY, data="texts"),
    ],
    "max_tokens": [
        # Longer than any text.
        Same(one={"max_tokens": 12}, other={"max_tokens": 16}, data="texts"),
        Differ(one={"max_tokens": 3}, other={"max_tokens": 16}, data="texts"),
        Refused(of={"max_tokens": 16}, says=TEXTS_ONLY),
    ],
    "pad_to_max": [
        Same(one=SGD, other=SGD | {"pad_to_max": False}, data="texts"),
        Same(one=SGD, other=SGD | {"pad_to_max": True}, exact=False, data="texts"),
        Refused(of={"pad_to_max": True}, says=TEXTS_ONLY),
    ],
    "pooling": [
        Same(one={}, other={"pooling": POOLING["model"]}, data="texts"),
        Differ(one={}, other={"pooling": POOLING["mean"]}, data="texts"),
        Refused(of={"pooling": POOLING["mean"]}, says=TEXTS_ONLY),
    ],
    "evaluate": [
        Same(one={}, other={"evaluate": None}),
        Same(one={}, other={"evaluate": ["test", "train"]}),
        Refused(of={"evaluate": ["val", "val"]}, says="evaluate must be splits that differ"),
    ],
    "evaluate_every": [Same(one={}, other={"evaluate_every": 0.3}), Same(one={}, other={"evaluate_every": 1.0})],
    "checkpoint_every": [Same(one={}, other={"checkpoint_every": 0.3}), Same(one={}, other={"checkpoint_every": 1.0})],
    "early_steps": [Same(one={}, other={"early_steps": [1, 2]}), Same(one={}, other={"early_steps": [99]})],
    "keep": [
        Same(one={}, other={"keep": "all"}),
        Same(one={"checkpoint_every": 0.3}, other={"checkpoint_every": 0.3, "keep": "last"}),
        Same(one={"checkpoint_every": 0.3}, other={"checkpoint_every": 0.3, "keep": "2"}),
        Elsewhere("server/test_finetuning_keep.py", "test_the_best_is_kept"),
        Refused(of={"keep": "first"}, says=r"record=Record\(keep=...\) must be one of all, last"),
        Refused(of={"keep": "0"}, says=r"record=Record\(keep=...\) must be one of all, last"),
    ],
    "save_every": [
        Same(one={}, other={"save_every": 1}),
        Same(one={}, other={"save_every": 0}),
        Elsewhere("server/test_finetuning_resume.py", "test_every_kind_of_state_is_kept"),
    ],
    "decay_all": [
        Same(one={"weight_decay": 0.0}, other={"weight_decay": 0.0, "decay_all": True}),
        Same(one={}, other={"decay_all": False}),
        Differ(one={}, other={"decay_all": True}),
    ],
    "clip_norm": [
        Same(one={}, other={"clip_norm": 0.0}),
        Same(one={}, other={"clip_norm": 1e9}),
        Differ(one=SGD, other=SGD | {"clip_norm": 1e-3}),
    ],
    "precision": [
        # There is no GPU in these tests.
        Same(one={}, other={"precision": PRECISION["fp32"]}),
        Same(one={}, other={"precision": PRECISION["auto"]}),
        Differ(one={}, other={"precision": PRECISION["bf16"]}),
        Refused(
            of={"precision": PRECISION["fp16"], "objective.sam": 0.1},
            says=r"Compute\(precision=...\) must be another",
        ),
    ],
    "compile": [
        Same(one={}, other={"compile": False}),
        Elsewhere("server/test_finetuning_step.py", "test_a_compiled_step_is_nearly_the_same"),
    ],
    "weights": [
        Elsewhere("server/test_backbone_weights.py", "test_a_file_of_timm_weights"),
        Refused(of={"pretrained": None, "weights": "w.safetensors"}, says="weights must be an absolute path"),
        Refused(of=FROM_START | {"weights": "/w.safetensors"}, says="weights has no effect .* without start="),
    ],
    # The run whose starting point it is begins with the same body and head, and draws the same head.
    "start.checkpoint": [
        Same(one={}, other=FROM_START),
        Differ(one={"seed": 1}, other=FROM_START | {"seed": 1}),
    ],
    "start.refit": [Elsewhere("e2e/test_start.py", "test_a_refit_is_the_start")],
    "head": [
        Same(one=FROM_START, other=FROM_START | {"head": HEAD["keep"]}),
        Same(one={}, other=FROM_START | {"head": HEAD["new"]}),
        Differ(one=FROM_START | {"seed": 1}, other=FROM_START | {"seed": 1, "head": HEAD["new"]}),
        Elsewhere("server/test_foreign_files.py", "test_a_run_keeps_a_head_whose_classes_are_named_as_the_dataset_s"),
        Same(one={"pretrained": None}, other={"pretrained": None, "head": HEAD["keep"]}, data="texts"),
        Differ(one={"pretrained": None}, other={"pretrained": None, "head": HEAD["new"]}, data="texts"),
        Refused(
            of={"head": HEAD["new"]},
            says="head has no effect on this run: it goes with weights=, a directory as backbone, or start=",
        ),
    ],
    "objective.loss": [
        Same(one={}, other={"objective.loss": LOSS["mean"]}),
        Same(one={}, other=DRO, data="one group"),
        Same(one=SGD, other=SGD | WHOLE_CVAR, exact=False),
        Differ(one={}, other=DRO),
        Differ(one={}, other=CVAR),
        Refused(of=CVAR | {"objective.mixup": 0.2}, says=r"loss must be CrossEntropy.*Augment\(mixup=.*'CVaRDRO'"),
        Refused(of=DRO | {"objective.sam": 0.2}, says=r"loss must be CrossEntropy.* sam of optimizer=.*'GroupDRO'"),
    ],
    "objective.group_dro_rate": [
        Same(one=DRO, other=DRO | {"objective.group_dro_rate": 0.01}),
        Differ(one=DRO, other=DRO | {"objective.group_dro_rate": 0.0}),
        Elsewhere("server/test_finetuning_step.py", "test_group_dro_without_a_rate_is_the_mean_of_the_groups_means"),
        Refused(of={"objective.group_dro_rate": 0.1}, says=r"loss=GroupDRO\(rate=...\) has no effect .* loss=GroupDRO"),
        Refused(of=CVAR | {"objective.group_dro_rate": 0.1}, says=r"loss=GroupDRO\(\)"),
    ],
    "objective.group_dro_adjustment": [
        Same(one=DRO, other=DRO | {"objective.group_dro_adjustment": 0.0}),
        Differ(one=DRO, other=DRO | {"objective.group_dro_adjustment": 9.0}),
        # Equal adjustments of all groups cancel, and without a rate none has an effect.
        Same(
            one=DRO | {"objective.group_dro_rate": 0.0},
            other=DRO | {"objective.group_dro_rate": 0.0, "objective.group_dro_adjustment": 9.0},
        ),
        Refused(of={"objective.group_dro_adjustment": 0.0}, says=r"loss=GroupDRO\(adjustment=...\) has no effect"),
    ],
    "objective.cvar_fraction": [
        Same(one=CVAR, other=CVAR | {"objective.cvar_fraction": 0.2}),
        Differ(one=CVAR, other=WHOLE_CVAR),
        Refused(
            of=DRO | {"objective.cvar_fraction": 0.5},
            says=r"loss=CVaRDRO\(fraction=...\) has no effect",
        ),
    ],
    "objective.label_smoothing": [
        Same(one={}, other={"objective.label_smoothing": 0.0}),
        Differ(one={}, other={"objective.label_smoothing": 0.1}),
        Differ(one=DRO, other=DRO | {"objective.label_smoothing": 0.1}),
        Differ(one=CVAR, other=CVAR | {"objective.label_smoothing": 0.1}),
    ],
    "objective.mixup": [
        Same(one={}, other={"objective.mixup": 0.0}),
        Differ(one={}, other={"objective.mixup": 0.4}),
        Differ(one=UPWEIGHTING | {"objective.mixup": 0.4}, other={"objective.mixup": 0.4}),
        Refused(of={"objective.mixup": 0.4}, says=IMAGES_ONLY, data="texts"),
    ],
    "objective.sam": [
        Same(one={}, other={"objective.sam": 0.0}),
        Differ(one={}, other={"objective.sam": 0.05}),
        Differ(one=UPWEIGHTING | {"objective.sam": 0.05}, other={"objective.sam": 0.05}),
    ],
    "objective.repeat_errors_of": [
        Same(one={}, other={"objective.repeat_errors_of": SOME_CHECKPOINT, "objective.repeat_errors": 1}),
        Refused(of={"objective.repeat_errors_of": SOME_CHECKPOINT}, says=r"RepeatErrors\(times=...\) must be given"),
        Refused(
            of=UPWEIGHTING | {"objective.repeat_errors_of": SOME_CHECKPOINT, "objective.repeat_errors": 2},
            says="balance must be none with repeat=RepeatErrors",
        ),
    ],
    "objective.repeat_errors": [
        Differ(one={}, other={"objective.repeat_errors_of": SOME_CHECKPOINT, "objective.repeat_errors": 3}),
        Refused(
            of={"objective.repeat_errors": 1},
            says=r"RepeatErrors\(times=...\) has no effect .* repeat=Rep",
        ),
    ],
}
