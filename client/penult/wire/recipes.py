"""Finetuning recipes: the arguments of `Client.finetune`, and the message they become.

`penult_proto.fields.finetune` says where each field is written; a field's type says what its argument takes. Ranges are
the server's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from penult import options
from penult.arguments import coerce
from penult.errors import InvalidRequest, invalid, shown
from penult.wire.encode import card
from penult.wire.finetune_arguments import FinetuneArguments as FinetuneArguments
from penult.wire.references import checkpoint_digest, dataset_name, grouped_by, start_message
from penult_proto.enums import choices_of, name_of
from penult_proto.fields.finetune import GROUPS, KINDS, PLACES, chosen, written
from penult_proto.recipes import RECIPES
from penult_proto.v1 import cards_pb2, groups_pb2, runs_pb2

CARD = ("name", "tags", "note")
"""Arguments that are no part of a recipe."""
_PATHS: Mapping[tuple[str, str], str] = {(place.argument, place.option): path for path, place in PLACES.items()}
"""The path of each field by its argument and option."""


def finetune_spec(arguments: Mapping[str, object]) -> runs_pb2.FinetuneSpec:
    """What was asked for, and nothing else: the server knows the defaults. Raises `InvalidRequest`."""
    asked: dict[str, Any] = dict(coerce.items("a finetuning", arguments, "{'dataset': 'footwear', 'backbone': 'x'}"))
    if not set(asked) <= {*FinetuneArguments.__annotations__} - {*CARD}:
        raise _other_arguments(asked)
    start = asked.pop("start", None)
    _check_enough(asked, start)
    spec = runs_pb2.FinetuneSpec(start=None if start is None else start_message(start))
    # Classes of options first: what is said about their options names them.
    for path, value in sorted(_asked(asked), key=lambda one: one[0] not in KINDS):
        message, field = _place_of(spec, path)
        found = _on_wire(path, written(path, spec), value, field)
        if isinstance(found, list):
            getattr(message, field.name).extend(found)
        else:
            setattr(message, field.name, found)
    return spec


def finetuning(arguments: Mapping[str, object]) -> tuple[runs_pb2.FinetuneSpec, cards_pb2.Card]:
    """What was asked for, and what is said of it. Raises `InvalidRequest`."""
    asked: dict[str, Any] = dict(coerce.items("a finetuning", arguments, "{'dataset': 'footwear', 'backbone': 'x'}"))
    said = [asked.pop(name, None) for name in CARD]
    return finetune_spec(asked), card(*said)


def check_names(cards: Iterable[cards_pb2.Card]) -> None:
    """Raise `InvalidRequest` where several finetunings would get one name."""
    given = [one.name for one in cards if one.name]
    if repeated := [name for name in given if given.count(name) > 1]:
        raise invalid(
            f"{repeated.count(repeated[0])} finetunings would get the name {repeated[0]!r}, which belongs to one run; "
            "give each its own, or all of them a tag: tags=[...]",
            argument="name",
        )


def _check_enough(asked: Mapping[str, object], start: object) -> None:
    """Raise `InvalidRequest` without a dataset, or without anything to start from; a recipe has both."""
    if asked.get("recipe") is not None:
        return
    if asked.get("dataset") is None:
        raise invalid("dataset= must be given, or a recipe= that has one", argument="dataset")
    if asked.get("backbone") is None and start is None:
        raise invalid(
            "backbone=, the model whose weights are trained, or start=, a checkpoint or a refit, must be given, or a "
            "recipe= that has a backbone",
            argument="backbone",
        )


def _other_arguments(asked: Mapping[Any, object]) -> InvalidRequest:
    """The refusal of names that are no arguments."""
    known = list(FinetuneArguments.__annotations__)
    others = [name for name in asked if name not in known]
    moved = [written(path) for (_, option), path in _PATHS.items() if option and option in others]
    hint = f"; write {', '.join(moved)}" if moved else ""
    named = ", ".join(str(name) for name in others)
    return invalid(f"the arguments of a finetuning are {', '.join(known)}; got {named}{hint}")


def _asked(arguments: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Every field that was given, by its path."""
    for argument, value in arguments.items():
        if value is None:
            continue
        if argument == "by":
            yield from _asked_by(value, arguments)
            continue
        if argument not in GROUPS:
            yield _PATHS[argument, ""], value
            continue
        if argument in KINDS.values():
            yield _PATHS[argument, ""], GROUPS[argument][_class_of(argument, value)]
        for option in _options_of(argument, value):
            if getattr(value, option) is not None:
                yield _PATHS[argument, option], getattr(value, option)


def _asked_by(value: object, arguments: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """What is balanced; a grouping says which groups, to a robust loss without a balancing, too."""
    by, grouping = grouped_by(value, groups_pb2.BalanceBy)
    if grouping:
        yield "grouping", grouping
    if not grouping or arguments.get("balance") not in (None, "none"):
        yield "balance.by", name_of(groups_pb2.BalanceBy.DESCRIPTOR, by)


def _options_of(argument: str, value: object) -> list[str]:
    """The options that an object of an argument has. Raises `InvalidRequest` for one of another class."""
    return [one.name for one in fields(getattr(options, _class_of(argument, value)))]


def _class_of(argument: str, value: object) -> str:
    """The name of the class that an object of options has. Raises `InvalidRequest`."""
    kinds = [getattr(options, name) for name in GROUPS[argument]]
    if type(value) not in kinds:
        legal = " or ".join(f"penult.{name}(...)" for name in GROUPS[argument])
        named = next((name for name in GROUPS[argument] if value is getattr(options, name)), "")
        hint = f": call it, penult.{named}()" if named else ""
        raise invalid(f"{argument} must be {legal}; got {shown(value)}{hint}", argument=argument)
    return type(value).__name__


def arguments_of(spec: runs_pb2.FinetuneSpec) -> dict[str, Any]:
    """The arguments that ask for a recipe, each of them; None for what it leaves out."""
    found = {
        name: _options_from_wire(name, spec) if name in GROUPS else _from_wire(_PATHS[name, ""], spec)
        for name in FinetuneArguments.__annotations__
        if name not in (*CARD, "recipe")
    }
    by = spec.grouping or found["by"]
    return found | {"start": spec.start.refit or spec.start.checkpoint or None, "by": by}


def _options_from_wire(argument: str, spec: runs_pb2.FinetuneSpec) -> options.Options | None:
    """The options of a topic as a user writes them; None where the recipe says nothing of it."""
    values = {
        place.option: _from_wire(path, spec)
        for path, place in PLACES.items()
        if place.argument == argument and place.option
    }
    given = {name for name, value in values.items() if value is not None}
    kinds = [getattr(options, name) for name in GROUPS[argument]]
    said = argument in KINDS.values() and _from_wire(_PATHS[argument, ""], spec) is not None
    if not given and not said:
        return None
    if said:
        kinds = [getattr(options, chosen(argument, spec))]
    kind = next((one for one in kinds if given <= {field.name for field in fields(one)}), kinds[0])
    return kind(**{field.name: values[field.name] for field in fields(kind)})


def _from_wire(path: str, spec: runs_pb2.FinetuneSpec) -> Any:
    """One field as a user writes it; None where it is left out."""
    message, field = _place_of(spec, path)
    value: Any = {one.name: value for one, value in message.ListFields()}.get(field.name)
    if path == "evaluate":
        return tuple(value or ())
    if path == "early_steps":
        return tuple(value) if value else None
    if path in ("dataset", "backbone", "attribute"):
        return value or ""
    if path == "balance.method":
        value = value or groups_pb2.BALANCE_METHOD_NONE
    if path == "balance.ratio":
        return "dataset" if value == 0 else value
    if path == "keep" and value is not None and value.isdecimal():
        return int(value)
    if field.enum_type is not None and value is not None:
        return name_of(field.enum_type, value)
    return value


def _place_of(spec: runs_pb2.FinetuneSpec, path: str) -> tuple[Message, FieldDescriptor]:
    """The part of the request, and its field, that a path leads to."""
    outer, _, name = path.rpartition(".")
    message: Message = getattr(spec, outer) if outer else spec
    field: Any = message.DESCRIPTOR.fields_by_name[name]
    return message, field


def _on_wire(path: str, argument: str, value: Any, field: FieldDescriptor) -> Any:
    """A value as the request holds it. Raises `InvalidRequest`, calling it `argument`."""
    match path:
        case "evaluate":
            return _splits(value)
        case "early_steps":
            steps = coerce.listed(argument, value, "[10, 100]")
            return [coerce.whole(argument, step, -coerce.INT64, coerce.INT64) for step in steps]
        case "seed":
            return coerce.seed(value)
        case "balance.ratio":
            return _ratio(value)
        case "keep":
            return _keep(argument, value)
        case "objective.repeat_errors_of":
            return checkpoint_digest(value, argument)
        case "dataset":
            return dataset_name(value)
        case "backbone" | "weights":
            return coerce.path(argument, value)
        case "recipe":
            coerce.check_choice(argument, value, RECIPES)
            return value
        case "optimizer" | "objective.loss":
            return choices_of(cast("Any", field.enum_type))[value]
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


def _keep(argument: str, keep: int | str) -> str:
    """A policy for checkpoints, or the number of one."""
    if isinstance(keep, str):
        coerce.check_choice(argument, keep, ["all", "last", "best"])
        return keep
    return str(coerce.whole(argument, keep, 1))


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
