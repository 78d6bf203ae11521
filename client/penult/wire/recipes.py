"""Finetuning recipes: the arguments of `Client.finetune`, and the message they become.

Arguments are called as the fields of the message and of those within it; a field's type says what its argument takes.
Ranges are the server's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from penult.arguments import coerce
from penult.errors import invalid
from penult.wire.finetune_arguments import FinetuneArguments as FinetuneArguments
from penult.wire.references import checkpoint_digest, dataset_name
from penult_proto.enums import name_of
from penult_proto.v1 import groups_pb2, runs_pb2

_FIELDS = {"balance": "method"}
"""Fields whose name differs from their argument's."""


def finetune_spec(arguments: Mapping[str, object]) -> runs_pb2.FinetuneSpec:
    """What was asked for, and nothing else: the server knows the defaults. Raises `InvalidRequest`."""
    asked = dict(coerce.items("a finetuning", arguments, "{'dataset': 'footwear', 'backbone': 'x'}"))
    if not {"dataset", "backbone"} <= set(asked) <= set(FinetuneArguments.__annotations__):
        legal = [name for name in FinetuneArguments.__annotations__ if name not in ("dataset", "backbone")]
        named = ", ".join(str(name) for name in asked)
        raise invalid(f"a finetuning has 'dataset', 'backbone' and any of {', '.join(legal)}; got {named}")
    for name in ("dataset", "backbone"):
        if asked[name] is None:
            raise invalid(f"{name}= must be given; got None", argument=name)
    spec = runs_pb2.FinetuneSpec()
    for name, value in asked.items():
        if value is not None:
            message, field = _place_of(spec, name)
            found = _on_wire(name, value, field)
            if isinstance(found, list):
                getattr(message, field.name).extend(found)
            else:
                setattr(message, field.name, found)
    return spec


def arguments_of(spec: runs_pb2.FinetuneSpec) -> dict[str, Any]:
    """The arguments that ask for a recipe, each of them; None for what it leaves out."""
    return {name: _from_wire(name, *_place_of(spec, name)) for name in FinetuneArguments.__annotations__}


def _from_wire(argument: str, message: Message, field: FieldDescriptor) -> Any:
    """One argument as a user writes it."""
    value: Any = {one.name: value for one, value in message.ListFields()}.get(field.name)
    if argument in ("evaluate", "early_steps"):
        return tuple(value or ())
    if argument in ("dataset", "backbone", "attribute"):
        return value or ""
    if argument == "balance":
        value = value or groups_pb2.BALANCE_METHOD_NONE
    if argument == "ratio":
        return "dataset" if value == 0 else value
    if argument == "keep" and value is not None and value.isdecimal():
        return int(value)
    if field.enum_type is not None and value is not None:
        return name_of(field.enum_type, value)
    return value


def _place_of(spec: runs_pb2.FinetuneSpec, argument: str) -> tuple[Message, FieldDescriptor]:
    """The part of the request, and its field, that an argument is written to."""
    name = _FIELDS.get(argument, argument)
    message = next(one for one in (spec.balance, spec.objective, spec) if name in one.DESCRIPTOR.fields_by_name)
    return message, message.DESCRIPTOR.fields_by_name[name]


def _on_wire(argument: str, value: Any, field: FieldDescriptor) -> Any:
    """A value as the request holds it. Raises `InvalidRequest`."""
    match argument:
        case "evaluate":
            return _splits(value)
        case "early_steps":
            steps = coerce.listed(argument, value, "[10, 100]")
            return [coerce.whole(argument, step, -coerce.INT64, coerce.INT64) for step in steps]
        case "seed":
            return coerce.seed(value)
        case "ratio":
            return _ratio(value)
        case "keep":
            return _keep(value)
        case "repeat_errors_of":
            return checkpoint_digest(value, argument)
        case "dataset":
            return dataset_name(value)
        case "backbone" | "weights":
            return coerce.path(argument, value)
        case _:
            return _of_type(argument, value, field)


def _of_type(argument: str, value: Any, field: FieldDescriptor) -> Any:
    """A value of the type that its field has. Raises `InvalidRequest`."""
    if field.enum_type is not None:
        return coerce.choice(argument, value, cast("Any", field.enum_type))
    match field.type:
        case FieldDescriptor.TYPE_DOUBLE:
            return coerce.number(argument, value)
        case FieldDescriptor.TYPE_BOOL:
            return coerce.flag(argument, value)
        case FieldDescriptor.TYPE_STRING:
            return coerce.text(argument, value)
        case _:
            most = coerce.INT32 if field.type == FieldDescriptor.TYPE_INT32 else coerce.INT64
            return coerce.whole(argument, value, -most, most)


def _splits(values: Any) -> list[str]:
    """Names of splits. An empty list says neither all nor none. Raises `InvalidRequest`."""
    splits = coerce.names("evaluate", values)
    if not splits:
        raise invalid("evaluate needs a split at least; leave it out for all of them", argument="evaluate")
    return splits


def _keep(keep: int | str) -> str:
    """A policy for checkpoints, or the number of one."""
    if isinstance(keep, str):
        coerce.check_choice("keep", keep, ["all", "last", "best"])
        return keep
    return str(coerce.whole("keep", keep, 1))


def _ratio(ratio: float | str) -> float:
    """The ratio of a mixture; the dataset's own imbalance is 0 on the wire."""
    if isinstance(ratio, str):
        coerce.check_choice("ratio", ratio, ["dataset"])
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
