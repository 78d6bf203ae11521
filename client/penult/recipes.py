"""Finetuning recipes: the arguments of `Client.finetune`, and the message they become."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from google.protobuf.message import Message

from penult import coerce
from penult.coerce import check_choice
from penult.errors import invalid
from penult.records import Checkpoint, Dataset
from penult.references import checkpoint_digest, dataset_name
from penult.types import (
    BalanceMethod,
    By,
    LossName,
    MissingGroups,
    OptimizerName,
    PoolingName,
    PrecisionName,
    ScheduleName,
)
from penult_proto.enums import names_of
from penult_proto.v1 import groups_pb2, runs_pb2


class FinetuneArguments(TypedDict, total=False):
    """The arguments of `Client.finetune`, as one request of `Client.finetunes`; None leaves one out."""

    dataset: Dataset | str
    backbone: str | Path
    attribute: str | None
    pretrained: bool | None
    weights: str | Path | None
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


_CHOICES: Mapping[str, Mapping[Any, int]] = {
    "optimizer": names_of(runs_pb2.OptimizerName),
    "schedule": names_of(runs_pb2.ScheduleName),
    "precision": names_of(runs_pb2.Precision),
    "pooling": names_of(runs_pb2.PoolingName),
    "balance": names_of(groups_pb2.BalanceMethod),
    "by": names_of(groups_pb2.BalanceBy),
    "missing_groups": names_of(groups_pb2.MissingGroups),
    "loss": names_of(runs_pb2.LossName),
}
_FIELDS = {"balance": "method"}
"""Fields that are not called as the argument."""
_LEAST: Mapping[str, float] = {
    "learning_rate": 0,
    "weight_decay": 0,
    "momentum": 0,
    "warmup": 0,
    "clip_norm": 0,
    "group_dro_rate": 0,
    "group_dro_adjustment": 0,
    "cvar_fraction": 0,
    "label_smoothing": 0,
    "mixup": 0,
    "sam": 0,
    "crop_scale": 0,
    "evaluate_every": 0,
    "checkpoint_every": 0,
}
_LEAST_WHOLE: Mapping[str, int] = {
    "epochs": 0,
    "batch_size": 1,
    "accumulate": 1,
    "processes": 1,
    "repeat_errors": 1,
    "image_size": 0,
    "image_resize": 0,
    "max_tokens": 0,
    "save_every": 0,
}
"""What is plainly wrong is refused here; the server checks the rest."""
_FLAGS = ("pretrained", "decay_all", "schedule_by_epoch", "compile", "flip", "pad_to_max")


def finetune_spec(arguments: FinetuneArguments) -> runs_pb2.FinetuneSpec:
    """What was asked for, and nothing else: the server knows the defaults. Raises `InvalidRequest`."""
    asked: dict[str, Any] = dict(coerce.items("a finetuning", arguments, "{'dataset': 'footwear', 'backbone': 'x'}"))
    if not {"dataset", "backbone"} <= set(asked) <= set(FinetuneArguments.__annotations__):
        legal = [name for name in FinetuneArguments.__annotations__ if name not in ("dataset", "backbone")]
        named = ", ".join(str(name) for name in asked)
        raise invalid(f"a finetuning has 'dataset', 'backbone' and any of {', '.join(legal)}; got {named}")
    for name in ("dataset", "backbone"):
        if asked[name] is None:
            raise invalid(f"{name}= must be given; got None", argument=name)
    given = {name: value for name, value in asked.items() if value is not None}
    spec = runs_pb2.FinetuneSpec()
    for name, value in given.items():
        message = _message_of(spec, name)
        if name in ("evaluate", "early_steps"):
            getattr(spec, name).extend(_several(name, value))
        else:
            setattr(message, _FIELDS.get(name, name), _on_wire(name, value))
    return spec


def arguments_of(spec: runs_pb2.FinetuneSpec) -> dict[str, Any]:
    """The arguments that ask for a recipe, each of them; None for what it leaves out."""
    return {name: _from_wire(_message_of(spec, name), name) for name in FinetuneArguments.__annotations__}


def _from_wire(message: Message, argument: str) -> Any:
    """One argument as a user writes it."""
    name = _FIELDS.get(argument, argument)
    value: Any = {field.name: value for field, value in message.ListFields()}.get(name)
    if argument in ("evaluate", "early_steps"):
        return tuple(value or ())
    if argument in ("dataset", "backbone", "attribute"):
        return value or ""
    if argument == "balance":
        value = value or groups_pb2.BALANCE_METHOD_NONE
    if argument == "ratio":
        return "dataset" if value == 0 else value
    if argument in _CHOICES and value is not None:
        return {number: choice for choice, number in _CHOICES[argument].items()}.get(value)
    return value


def _message_of(spec: runs_pb2.FinetuneSpec, argument: str) -> Message:
    """The part of the request that an argument is a field of."""
    if argument in ("balance", "by", "ratio", "missing_groups"):
        return spec.balance
    return spec.objective if argument in runs_pb2.Objective.DESCRIPTOR.fields_by_name else spec


def _on_wire(argument: str, value: Any) -> Any:
    """A value as the request holds it. Raises `InvalidRequest`."""
    if argument in _CHOICES:
        check_choice(argument, value, _CHOICES[argument])
        return _CHOICES[argument][value]
    if argument in _LEAST:
        return coerce.number(argument, value, _LEAST[argument])
    if argument in _LEAST_WHOLE:
        return coerce.whole(argument, value, _LEAST_WHOLE[argument])
    if argument in _FLAGS:
        return coerce.flag(argument, value)
    match argument:
        case "seed":
            return coerce.seed(value)
        case "ratio":
            return _ratio(value)
        case "repeat_errors_of":
            return checkpoint_digest(value, argument)
        case "dataset":
            return dataset_name(value)
        case "backbone" | "weights":
            return coerce.path(argument, value)
        case _:
            return coerce.text(argument, value)


def _several(argument: str, values: Any) -> Any:
    """A list. An empty one of splits says neither all nor none. Raises `InvalidRequest`."""
    if argument != "evaluate":
        steps = coerce.listed(argument, values, "[10, 100]")
        return [coerce.whole(argument, step, most=coerce.INT64) for step in steps]
    splits = coerce.names(argument, values)
    if not splits:
        raise invalid("evaluate needs a split at least; leave it out for all of them", argument=argument)
    return splits


def _ratio(ratio: float | str) -> float:
    """Of a mixture; the dataset's own is 0 on the wire."""
    if isinstance(ratio, str):
        check_choice("ratio", ratio, ["dataset"])
        return 0.0
    return coerce.number("ratio", ratio, 1)


def swept(
    requests: Sequence[FinetuneArguments], seeds: Iterable[int] | None, common: FinetuneArguments | None = None
) -> list[FinetuneArguments]:
    """Every request over what all have in `common`, with every seed, seeds running fastest; with its own when None.

    Raises `InvalidRequest`.
    """
    merged: list[dict[str, Any]] = [
        {**(common or {}), **dict(coerce.items("a request", one, "{'balance': 'none'}"))}
        for one in coerce.listed("requests", requests, "[{'balance': 'none'}]")
    ]
    if not merged:
        raise invalid("finetunes() needs at least one request, such as [{}] for the common arguments alone")
    if seeds is None:
        return cast("list[FinetuneArguments]", merged)
    listed = coerce.listed("seeds", seeds, "range(3)")
    if not listed or any("seed" in request for request in merged):
        raise invalid("seeds= needs at least one seed, and requests that name no seed of their own", argument="seeds")
    swept_over = [{**request, "seed": seed} for request in merged for seed in listed]
    return cast("list[FinetuneArguments]", swept_over)
