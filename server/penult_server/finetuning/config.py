"""What a finetuning run is asked to do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from penult_kernels.selection import BalanceBy, BalanceMethod
from penult_proto.errors import ErrorKind
from penult_proto.v1 import runs_pb2
from penult_server.backbones.catalog import library_of
from penult_server.errors import ServiceError
from penult_server.messages import BALANCE_BY, BALANCE_METHODS

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["constant", "cosine", "linear"]

Choice = TypeVar("Choice")
Number = TypeVar("Number", bound=int)

MAX_EPOCHS = 10_000
MAX_BATCH = 65_536
MAX_SIDE = 4096
MAX_TOKENS = 1_000_000
MAX_STEPS = 10**12
MAX_SEED = 2**64 - 1

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """Everything that decides a run, beside the data themselves.

    Raises ServiceError: INVALID_ARGUMENT, naming the field, what was expected and what was got;
    UNKNOWN_BACKBONE for a name that no library can have.
    """

    backbone: str
    """A timm model name, a packaged name, a directory of a transformers model, or a hub name."""
    epochs: int
    """0 .. 10000. With 0 only the starting point is stored."""
    attribute: str = ""
    """Of which groups are made; empty for the dataset's first."""
    pretrained: bool = True
    """False starts from random weights."""
    method: BalanceMethod = BalanceMethod.NONE
    """How the training examples are balanced."""
    by: BalanceBy = BalanceBy.CLASS
    """What they are balanced over."""
    ratio: float = 1.0
    """Of the mixture, at least 1: how many times the smallest a label may have; 0 for the dataset's own imbalance."""
    seed: int = 0
    """0 .. 2^64-1; of the head, the examples kept, their order, flips and dropout."""
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-3
    """Peak, greater than 0."""
    weight_decay: float = 0.01
    """At least 0; never applied to biases and normalisation layers."""
    momentum: float = 0.0
    """Of SGD, in [0, 1)."""
    schedule: Schedule = "cosine"
    """How the learning rate falls after the warm-up, by the step; cosine and linear end at 0."""
    warmup: float = 0.1
    """Fraction of all steps over which the learning rate rises from 0, in [0, 1)."""
    batch_size: int = 32
    """Examples a step, 1 .. 65536."""
    flip: bool = True
    """Random horizontal flips of the training images."""
    image_size: int = 0
    """Side of the square input in pixels; 0 takes the dataset's own size."""
    max_tokens: int = 128
    """Tokens kept of each text; not looked at for images."""
    evaluate: tuple[str, ...] = ()
    """Splits whose group accuracies are measured; empty for all."""
    evaluate_every: float = 1.0
    """Epochs from one measurement to the next, greater than 0; the last step is always measured."""
    checkpoint_every: float = 1.0
    """Epochs from one checkpoint to the next, greater than 0; the start and the last step are always stored."""
    early_steps: tuple[int, ...] = ()
    """Further steps after which the model is measured and stored; those beyond the last are left out."""
    save_every: int = 0
    """Steps from one saving of the training state to the next, besides the end of every epoch; 0 chooses by time."""

    def __post_init__(self) -> None:
        library_of(self.backbone)
        _check_whole("epochs", self.epochs, 0, MAX_EPOCHS)
        _check_whole("seed", self.seed, 0, MAX_SEED)
        _check_whole("batch_size", self.batch_size, 1, MAX_BATCH)
        _check_whole("image_size", self.image_size, 0, MAX_SIDE)
        _check_whole("max_tokens", self.max_tokens, 0, MAX_TOKENS)
        _check_choice("optimizer", self.optimizer, get_args(Optimizer))
        _check_choice("schedule", self.schedule, get_args(Schedule))
        _check_real("learning_rate", self.learning_rate, "greater than 0", self.learning_rate > 0)
        _check_real("weight_decay", self.weight_decay, "at least 0", self.weight_decay >= 0)
        _check_real("momentum", self.momentum, "in [0, 1)", 0 <= self.momentum < 1)
        _check_real("warmup", self.warmup, "in [0, 1)", 0 <= self.warmup < 1)
        if self.method is BalanceMethod.MIXTURE:
            _check_real("ratio", self.ratio, "at least 1, or 0 for the dataset's", self.ratio >= 1 or self.ratio == 0)
        _check_real("evaluate_every", self.evaluate_every, "greater than 0", self.evaluate_every > 0)
        _check_real("checkpoint_every", self.checkpoint_every, "greater than 0", self.checkpoint_every > 0)
        _check_whole("save_every", self.save_every, 0, MAX_STEPS)
        for step in self.early_steps:
            _check_whole("early_steps", step, 1, MAX_STEPS)


def config_from_proto(spec: runs_pb2.FinetuneSpec) -> FinetuneConfig:
    """The configuration that a request names; the dataset stands apart.

    Raises ServiceError as FinetuneConfig does, also for choices of a newer protocol.
    """
    return FinetuneConfig(
        backbone=spec.backbone,
        epochs=spec.epochs,
        attribute=spec.attribute,
        pretrained=spec.pretrained,
        method=_from_wire("balance.method", spec.balance.method, BALANCE_METHODS),
        by=_from_wire("balance.by", spec.balance.by, BALANCE_BY),
        ratio=spec.balance.ratio,
        seed=spec.seed,
        optimizer=_from_wire("optimizer", spec.optimizer, _OPTIMIZERS),
        learning_rate=spec.learning_rate,
        weight_decay=spec.weight_decay,
        momentum=spec.momentum,
        schedule=_from_wire("schedule", spec.schedule, _SCHEDULES),
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
    )


def _from_wire(field: str, value: Number, choices: Mapping[Number, Choice]) -> Choice:
    if value not in choices:
        raise _invalid(field, f"one of the numbers {', '.join(map(str, choices))}", value)
    return choices[value]


def _check_whole(field: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise _invalid(field, f"in {lowest} .. {highest}", value)


def _check_real(field: str, value: float, expected: str, holds: bool) -> None:
    # NaN fails every comparison; infinity passes some.
    if not (holds and math.isfinite(value)):
        raise _invalid(field, f"finite and {expected}", value)


def _check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise _invalid(field, f"one of {', '.join(choices)}", value)


def _invalid(field: str, expected: str, got: object) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{field} must be {expected}; got {got!r}", field=field, got=got)
