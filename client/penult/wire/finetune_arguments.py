"""The arguments of a finetuning as a dictionary. Made by ``python -m penult_proto.generate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from penult.options import (
    SGD,
    AdamW,
    Augment,
    Compute,
    CrossEntropy,
    CVaRDRO,
    GroupDRO,
    Images,
    Record,
    RepeatErrors,
    Schedule,
    Texts,
)
from penult.results.records import Checkpoint, Dataset
from penult.results.refits import Refit
from penult.types import BalanceMethod, FileHead, MissingGroups, RecipeName
from penult.wire.references import ByLike


class FinetuneArguments(TypedDict, total=False):
    """The arguments of `Client.finetune`, as one request of `Client.finetunes`; None leaves one out."""

    dataset: Dataset | str | None
    backbone: str | Path | None
    start: Checkpoint | Refit | str | None
    recipe: RecipeName | None
    attribute: str | None
    pretrained: bool | None
    weights: str | Path | None
    head: FileHead | None
    balance: BalanceMethod | None
    by: ByLike | None
    ratio: float | Literal["dataset"] | None
    group_ratio: float | None
    missing_groups: MissingGroups | None
    epochs: int | None
    batch_size: int | None
    seed: int | None
    evaluate: Sequence[str] | None
    optimizer: AdamW | SGD | None
    schedule: Schedule | None
    loss: CrossEntropy | GroupDRO | CVaRDRO | None
    augment: Augment | None
    repeat: RepeatErrors | None
    inputs: Images | Texts | None
    compute: Compute | None
    record: Record | None
    name: str | None
    tags: Sequence[str] | None
    note: str | None
