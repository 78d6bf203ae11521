"""The arguments of a finetuning as a dictionary. Made by ``python -m penult_proto.generate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from penult.results.records import Checkpoint, Dataset
from penult.types import (
    BalanceMethod,
    By,
    FileHead,
    LossName,
    MissingGroups,
    OptimizerName,
    PoolingName,
    PrecisionName,
    ScheduleName,
)


class FinetuneArguments(TypedDict, total=False):
    """The arguments of `Client.finetune`, as one request of `Client.finetunes`; None leaves one out."""

    dataset: Dataset | str
    backbone: str | Path
    attribute: str | None
    pretrained: bool | None
    weights: str | Path | None
    head: FileHead | None
    pooling: PoolingName | None
    balance: BalanceMethod | None
    by: By | None
    ratio: float | Literal["dataset"] | None
    missing_groups: MissingGroups | None
    epochs: int | None
    seed: int | None
    optimizer: OptimizerName | None
    learning_rate: float | None
    weight_decay: float | None
    decay_all: bool | None
    momentum: float | None
    schedule: ScheduleName | None
    schedule_by_epoch: bool | None
    warmup: float | None
    clip_norm: float | None
    batch_size: int | None
    accumulate: int | None
    processes: int | None
    precision: PrecisionName | None
    compile: bool | None
    loss: LossName | None
    group_dro_rate: float | None
    group_dro_adjustment: float | None
    cvar_fraction: float | None
    label_smoothing: float | None
    mixup: float | None
    sam: float | None
    repeat_errors_of: Checkpoint | str | None
    repeat_errors: int | None
    flip: bool | None
    crop_scale: float | None
    image_size: int | None
    image_resize: int | None
    max_tokens: int | None
    pad_to_max: bool | None
    evaluate: Sequence[str] | None
    evaluate_every: float | None
    checkpoint_every: float | None
    early_steps: Sequence[int] | None
    save_every: int | None
