"""What a finetuning was asked for. Made by ``python -m penult_proto.generate``."""

from dataclasses import dataclass, fields
from typing import Any, Literal

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSpec:
    """A finetuning recipe; the fields are the arguments of `Client.finetune`.

    A field that was left out has the server's default; one without an effect, such as the momentum of AdamW, is None.
    """

    dataset: str
    backbone: str
    attribute: str
    pretrained: bool
    weights: str | None
    head: FileHead | None
    pooling: PoolingName | None
    balance: BalanceMethod
    by: By | None
    ratio: float | Literal["dataset"] | None
    missing_groups: MissingGroups | None
    epochs: int
    seed: int
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
    repeat_errors_of: str | None
    """Digest of a checkpoint."""
    repeat_errors: int | None
    flip: bool | None
    crop_scale: float | None
    image_size: int | None
    image_resize: int | None
    max_tokens: int | None
    pad_to_max: bool | None
    evaluate: tuple[str, ...]
    """Empty for all."""
    evaluate_every: float | None
    checkpoint_every: float | None
    early_steps: tuple[int, ...]
    save_every: int | None

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Client.finetune` that ask for this again: ``client.finetune(**spec.arguments())``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value != ()}
