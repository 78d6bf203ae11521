"""What a finetuning was asked for. Made by ``python -m penult_proto.generate``."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from penult.display.html import Shown
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
from penult.types import BalanceMethod, FileHead, MissingGroups


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSpec(Shown):
    """A finetuning recipe; the fields are the arguments of `Client.finetune`.

    What was left out has the server's default; what has no effect, such as the schedule of a run of no epochs, is None.
    """

    dataset: str
    backbone: str
    start: str | None
    """Digest of a checkpoint or of a refit."""
    attribute: str
    pretrained: bool | None
    """None with a start."""
    weights: str | None
    head: FileHead | None
    balance: BalanceMethod
    by: str | None
    """"class", "group", or the digest of a grouping."""
    ratio: float | Literal["dataset"] | None
    group_ratio: float | None
    missing_groups: MissingGroups | None
    epochs: int
    batch_size: int | None
    seed: int
    evaluate: tuple[str, ...]
    """Empty for all."""
    optimizer: AdamW | SGD | None
    schedule: Schedule | None
    loss: CrossEntropy | GroupDRO | CVaRDRO | None
    augment: Augment | None
    repeat: RepeatErrors | None
    """By the digest of the checkpoint."""
    inputs: Images | Texts | None
    compute: Compute | None
    record: Record | None

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Client.finetune` that ask for this again: ``client.finetune(**spec.arguments())``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value != ()}
