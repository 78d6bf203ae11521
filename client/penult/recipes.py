"""Finetuning recipes: the arguments of `Client.finetune`, their defaults, and the message they become."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from penult.choices import (
    BALANCE_BY,
    BALANCE_METHODS,
    LOSSES,
    OPTIMIZERS,
    POOLINGS,
    PRECISIONS,
    SCHEDULES,
    BalanceMethod,
    By,
    LossName,
    OptimizerName,
    PoolingName,
    PrecisionName,
    ScheduleName,
    check_choice,
)
from penult.encode import check_number, check_seed, names
from penult.errors import invalid
from penult.records import Checkpoint
from penult_proto.v1 import groups_pb2, runs_pb2


class FinetuneArguments(TypedDict, total=False):
    """The arguments of `Client.finetune`, as one request of `Client.finetunes`."""

    dataset: str
    backbone: str
    attribute: str | None
    pretrained: bool
    weights: str | None
    pooling: PoolingName
    balance: BalanceMethod
    by: By
    ratio: float | Literal["dataset"] | None
    epochs: int
    seed: int
    optimizer: OptimizerName
    learning_rate: float
    weight_decay: float
    decay_all: bool
    momentum: float
    schedule: ScheduleName
    schedule_by_epoch: bool
    warmup: float
    clip_norm: float
    batch_size: int
    accumulate: int
    processes: int
    precision: PrecisionName
    compile: bool
    loss: LossName
    group_dro_rate: float
    group_dro_adjustment: float
    cvar_fraction: float
    label_smoothing: float
    mixup: float
    sam: float
    repeat_errors_of: Checkpoint | str | None
    repeat_errors: int
    flip: bool
    crop_scale: float
    image_size: int | None
    image_resize: int | None
    max_tokens: int
    pad_to_max: bool
    evaluate: Sequence[str] | None
    evaluate_every: float
    checkpoint_every: float
    early_steps: Sequence[int]
    save_every: int


DEFAULTS: FinetuneArguments = {
    "attribute": None,
    "pretrained": True,
    "weights": None,
    "pooling": "model",
    "balance": "none",
    "by": "class",
    "ratio": None,
    "epochs": 2,
    "seed": 0,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "decay_all": False,
    "momentum": 0.9,
    "schedule": "cosine",
    "schedule_by_epoch": False,
    "warmup": 0.1,
    "clip_norm": 0.0,
    "batch_size": 32,
    "accumulate": 1,
    "processes": 1,
    "precision": "auto",
    "compile": False,
    "loss": "mean",
    "group_dro_rate": 0.01,
    "group_dro_adjustment": 0.0,
    "cvar_fraction": 0.2,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "sam": 0.0,
    "repeat_errors_of": None,
    "repeat_errors": 1,
    "flip": True,
    "crop_scale": 0.0,
    "image_size": None,
    "image_resize": None,
    "max_tokens": 128,
    "pad_to_max": False,
    "evaluate": None,
    "evaluate_every": 1.0,
    "checkpoint_every": 1.0,
    "early_steps": (),
    "save_every": 0,
}

_CHOICES: Mapping[str, Iterable[str]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "pooling": POOLINGS,
    "loss": LOSSES,
}
_LEAST: Mapping[str, float] = {
    "epochs": 0,
    "learning_rate": 0,
    "weight_decay": 0,
    "momentum": 0,
    "warmup": 0,
    "clip_norm": 0,
    "batch_size": 1,
    "accumulate": 1,
    "processes": 1,
    "label_smoothing": 0,
    "mixup": 0,
    "sam": 0,
    "repeat_errors": 1,
    "evaluate_every": 0,
    "checkpoint_every": 0,
    "save_every": 0,
}
"""What is plainly wrong is refused here; the server checks the rest."""


def finetune_spec(arguments: FinetuneArguments) -> runs_pb2.FinetuneSpec:
    """A recipe with every default filled in. Raises `InvalidRequest`."""
    unknown = sorted(set(arguments) - set(FinetuneArguments.__annotations__))
    if unknown or not {"dataset", "backbone"} <= set(arguments):
        raise invalid(
            f"a finetuning has 'dataset', 'backbone' and any of {', '.join(DEFAULTS)}; got {', '.join(arguments)}"
        )
    # Read by name below: TypedDicts know no computed keys.
    given: dict[str, Any] = {**DEFAULTS, **arguments}
    for name, legal in _CHOICES.items():
        check_choice(name, given[name], legal)
    for name, least in _LEAST.items():
        check_number(name, given[name], least)
    check_seed(given["seed"])
    plain = ("dataset", "backbone", "pretrained", "epochs", "seed", "learning_rate", "weight_decay", "decay_all")
    plain += (
        "momentum",
        "schedule_by_epoch",
        "warmup",
        "clip_norm",
        "batch_size",
        "accumulate",
        "processes",
        "compile",
    )
    plain += ("flip", "crop_scale", "max_tokens", "pad_to_max", "evaluate_every", "checkpoint_every", "save_every")
    return runs_pb2.FinetuneSpec(
        **{name: given[name] for name in plain},
        attribute=given["attribute"] or "",
        weights=given["weights"] or "",
        pooling=POOLINGS[given["pooling"]],
        image_size=given["image_size"] or 0,
        image_resize=given["image_resize"] or 0,
        balance=balance_message(given["balance"], given["by"], given["ratio"]),
        optimizer=OPTIMIZERS[given["optimizer"]],
        schedule=SCHEDULES[given["schedule"]],
        precision=PRECISIONS[given["precision"]],
        objective=objective_message(given),
        evaluate=names("evaluate", given["evaluate"]),
        early_steps=given["early_steps"],
    )


def objective_message(given: Mapping[str, Any]) -> runs_pb2.Objective:
    """What is minimised. Raises `InvalidRequest` when only one half of repeating errors is given."""
    of, times = given["repeat_errors_of"], given["repeat_errors"]
    if (of is None) != (times == 1):
        raise invalid(
            "repeat_errors_of= and repeat_errors= go together: whose errors, and how often each stands (2 or more); "
            f"got {of!r} and {times}",
            argument="repeat_errors",
        )
    return runs_pb2.Objective(
        loss=LOSSES[given["loss"]],
        group_dro_rate=given["group_dro_rate"],
        group_dro_adjustment=given["group_dro_adjustment"],
        cvar_fraction=given["cvar_fraction"],
        label_smoothing=given["label_smoothing"],
        mixup=given["mixup"],
        sam=given["sam"],
        repeat_errors_of=of.digest if isinstance(of, Checkpoint) else of or "",
        repeat_errors=times,
    )


def balance_message(balance: BalanceMethod, by: By, ratio: float | str | None) -> groups_pb2.Balance:
    """How training examples are balanced. `ratio` is the mixture's alone; the dataset's own is 0 on the wire."""
    check_choice("balance", balance, BALANCE_METHODS)
    check_choice("by", by, BALANCE_BY)
    if (balance == "mixture") != (ratio is not None):
        raise invalid(
            "balance='mixture' needs ratio=, the cap as a multiple of the smallest (1 or more, or 'dataset'), and no "
            f"other balance takes one; got balance={balance!r}, ratio={ratio!r}",
            argument="ratio",
        )
    if isinstance(ratio, str):
        check_choice("ratio", ratio, ["dataset"])
    elif ratio is not None:
        check_number("ratio", ratio, 1)
    cap = ratio if isinstance(ratio, float | int) else 0
    return groups_pb2.Balance(method=BALANCE_METHODS[balance], by=BALANCE_BY[by], ratio=cap)


def swept(requests: Sequence[FinetuneArguments], seeds: Iterable[int] | None) -> list[FinetuneArguments]:
    """Every request with every seed, seeds running fastest; with its own when None. Raises `InvalidRequest`."""
    if not requests:
        raise invalid("finetunes() needs at least one request, such as [{}] for the common arguments alone")
    if seeds is None:
        return list(requests)
    listed = list(seeds)
    if not listed or any("seed" in request for request in requests):
        raise invalid("seeds= needs at least one seed, and requests that name no seed of their own", argument="seeds")
    return [{**request, "seed": seed} for request in requests for seed in listed]
