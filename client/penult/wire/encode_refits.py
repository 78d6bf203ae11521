"""From the arguments of `Client.refit` and `Client.evaluate` to messages; what is plainly wrong is refused here.

An argument of a refit goes where `penult_proto.fields.refit` says, as the sort of value that its field is. Ranges are
the server's to check.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from numpy.typing import NDArray

from penult.arguments import coerce, coerce_arrays
from penult.arguments.coerce import build, check_choice, items
from penult.errors import invalid, shown
from penult.results.heads import Head, class_names
from penult.results.records import Checkpoint
from penult.results.refits import Refit
from penult.results.soups import as_head, may_be_head
from penult.types import GridName, Preset, Ties
from penult.wire import arrays
from penult.wire.encode import card, check_class_map
from penult.wire.references import (
    AnyHead,
    ByLike,
    FeatureSetLike,
    checkpoint_digest,
    feature_set_name,
    grouped_by,
    grouping_name,
    scored_by,
)
from penult.wire.refit_arguments import PathArguments, RefitArguments, SelectArguments
from penult_proto.enums import choices_of
from penult_proto.fields.refit import ARGUMENTS
from penult_proto.v1 import cards_pb2, groups_pb2
from penult_proto.v1 import refits_pb2 as pb

_CARD = ("name", "tags", "note")
_HEADS = "a Head, a Refit, a Checkpoint or (weight, bias)"
_NEVER_NONE = ("features", "seed", "plan", "across_checkpoints")
_EXAMPLES = {
    "select": "{'on': 'half', 'metric': 'worst_group'}",
    "path": "{'optimizer': 'sgd', 'learning_rate': 0.01, 'steps': 100}",
    "detector": "{'optimizer': 'sgd', 'learning_rate': 0.01, 'steps': 100}",
}
_SELECT_FIELDS = {"on": "feature_set", "groups": "grouping", "ties": "last_of_equals", "standardize": "scaling"}
_NUMBERS: Mapping[int, Callable[[str, Any], float]] = {
    FieldDescriptor.TYPE_BOOL: coerce.flag,
    FieldDescriptor.TYPE_DOUBLE: coerce.number,
    FieldDescriptor.TYPE_INT32: lambda argument, value: coerce.whole(argument, value, -coerce.INT32),
    FieldDescriptor.TYPE_INT64: lambda argument, value: coerce.whole(argument, value, -coerce.INT64, coerce.INT64),
    FieldDescriptor.TYPE_UINT64: lambda argument, value: coerce.whole(argument, value, 0, coerce.UINT64),
}


def named_refit_request(arguments: RefitArguments) -> tuple[pb.RefitRequest, cards_pb2.Card]:
    """A question for a refit, and what is said of the answer. Raises `InvalidRequest`."""
    asked: dict[str, Any] = dict(items("a refit request", arguments, "{'features': features, 'preset': 'dfr'}"))
    said = [asked.pop(name, None) for name in _CARD]
    return refit_request(cast("RefitArguments", asked)), card(*said)


def refit_request(arguments: RefitArguments) -> pb.RefitRequest:
    """A question for a refit; what is None or left out is left to the preset.

    Raises `InvalidRequest`, also for unknown keys.
    """
    known = [name for name in RefitArguments.__annotations__ if name not in _CARD]
    # Looked up by name: TypedDicts know no computed keys.
    asked: dict[str, Any] = dict(items("a refit request", arguments, "{'features': features, 'preset': 'dfr'}"))
    if [key for key in asked if key not in known] or "features" not in asked:
        raise invalid(f"a refit request has 'features' and any of {known}; got {shown(list(asked))}")
    given = {name: value for name, value in asked.items() if value is not None or name in _NEVER_NONE}
    request = pb.RefitRequest()
    _put_by(request, given)
    for name, value in given.items():
        place = ARGUMENTS[name]
        _put(place.owner(request), place.field, name, value)
    if request.train and not request.evaluate:
        raise invalid(
            "train= gives the weights for averages of what is evaluated: give evaluate=, or leave it out",
            argument="train",
        )
    return request


def _put_by(request: pb.RefitRequest, given: dict[str, Any]) -> None:
    """Take ``by=`` out of the arguments; a grouping says which groups, for a preset's balancing and a risk, too.

    Raises `InvalidRequest`.
    """
    by, grouping = groups_pb2.BALANCE_BY_UNSPECIFIED, ""
    if "by" in given:
        by, grouping = grouped_by(given["by"], groups_pb2.BalanceBy)
    _check_balance(given, is_grouped=bool(grouping))
    given.pop("by", None)
    request.grouping = grouping
    if by and not (grouping and given.get("balance", "none") == "none"):
        request.balance.by = by


def _check_balance(given: Mapping[str, Any], *, is_grouped: bool) -> None:
    """Balancing replaces a preset's as a whole, and over what to balance is never guessed. Raises `InvalidRequest`."""
    balance = given.get("balance")
    if balance is None:
        alone = [name for name in ("by", "ratio", "group_ratio") if name in given and not (name == "by" and is_grouped)]
        if alone:
            given_alone = " and ".join(f"{name}=" for name in alone)
            raise invalid(f"{given_alone} must be given with balance=, which replaces a preset's balancing as a whole")
        return
    coerce.choice("balance", balance, groups_pb2.BalanceMethod)
    if "by" not in given and balance != "none":
        raise invalid(f"balance={balance!r} needs by=: 'class', 'group' or a grouping", argument="by")
    if balance == "mixture" and "ratio" not in given:
        raise invalid("balance='mixture' needs ratio=: the cap, as a multiple of the smallest (1 or more)")
    if balance != "mixture" and "ratio" in given:
        raise invalid(f"ratio= belongs to balance='mixture' only; balance is {balance!r}", argument="ratio")


def _put(owner: Any, field: FieldDescriptor, argument: str, value: Any) -> None:
    """Set one field of a message to what an argument says. Raises `InvalidRequest`."""
    if argument in _SPECIAL:
        _SPECIAL[argument](owner, value)
    elif field.enum_type is not None:
        enum: Any = field.enum_type
        setattr(owner, field.name, coerce.choice(argument, value, enum))
    elif field.message_type is not None:
        getattr(owner, field.name).CopyFrom(_MESSAGES[field.message_type.name](argument, value))
    elif field.type in _NUMBERS:
        setattr(owner, field.name, _NUMBERS[field.type](argument, value))
    else:
        setattr(owner, field.name, feature_set_name(value, argument))


def _put_preset(request: pb.RefitRequest, preset: Any) -> None:
    check_choice("preset", preset, get_args(Preset))
    request.preset = preset


def _put_weights(weights: pb.Weights, value: Any) -> None:
    """A kind by its name, or a number for each row."""
    if isinstance(value, str):
        weights.kind = coerce.choice("weights", value, pb.WeightsKind)
    else:
        weights.kind = pb.WEIGHTS_KIND_EXPLICIT
        weights.explicit.CopyFrom(arrays.encode(coerce_arrays.numbers("weights", value)))


def _put_rows(rows: pb.Rows, value: Any) -> None:
    """A kind by its name, or row ids."""
    if isinstance(value, str):
        rows.kind = coerce.choice("rows", value, pb.RowsKind)
    else:
        rows.kind = pb.ROWS_KIND_EXPLICIT
        rows.row_ids.CopyFrom(arrays.encode(coerce_arrays.row_ids(value)))


def _put_grid(request: pb.RefitRequest, grid: Mapping[str, Sequence[float]]) -> None:
    for name, values in items("grid", grid, "{'l2': [0.1, 0.01]}"):
        check_choice("a name in grid", name, get_args(GridName))
        argument = f"grid[{name!r}]"
        listed = coerce.listed(argument, values, "[0.1, 0.01]")
        numbers = [coerce.number(f"{argument}[{index}]", value) for index, value in enumerate(listed)]
        if not numbers:
            raise invalid(f"{argument} must list at least one finite number; got {shown(values)}", argument="grid")
        request.grid.add(name=name, values=numbers)


def _put_evaluate(request: pb.RefitRequest, evaluate: Mapping[str, FeatureSetLike]) -> None:
    for name, value in items("evaluate", evaluate, "{'test': features}"):
        plain = coerce.text("a name in evaluate", name, example="'test'")
        request.evaluate[plain] = feature_set_name(value, f"evaluate[{shown(name)}]")


def _scaling(argument: str, value: Any) -> pb.Scaling:
    plain, kinds = coerce.scalar(value), choices_of(pb.ScalingKind)
    if isinstance(plain, bool):
        return pb.Scaling(kind=kinds["rows" if plain else "none"])
    if isinstance(plain, str) and plain in kinds:
        return pb.Scaling(kind=kinds[plain])
    return pb.Scaling(kind=pb.SCALING_KIND_SET, feature_set=feature_set_name(value, argument))


def _head_source(argument: str, value: Any) -> pb.HeadSource:
    if isinstance(value, Refit):
        return build(pb.HeadSource, kind=pb.HEAD_KIND_REFIT, refit=value.digest)
    if isinstance(value, str) and value and value not in choices_of(pb.HeadKind):
        return pb.HeadSource(kind=pb.HEAD_KIND_REFIT, refit=coerce.text(argument, value))
    if isinstance(value, str) or not may_be_head(value):
        return pb.HeadSource(kind=coerce.choice(argument, value, pb.HeadKind))
    return pb.HeadSource(kind=pb.HEAD_KIND_EXPLICIT, head=head_message(as_head(value, argument)))


def _path(argument: str, given: Mapping[str, Any]) -> pb.Path:
    message, fields = pb.Path(), pb.Path.DESCRIPTOR.fields_by_name
    for name, value in _known(argument, given, PathArguments).items():
        _put(message, fields[name], f"{argument}.{name}", value)
    return message


def _select(argument: str, given: Mapping[str, Any]) -> pb.Select:
    message, fields = pb.Select(), pb.Select.DESCRIPTOR.fields_by_name
    for name, value in _known(argument, given, SelectArguments).items():
        _put(message, fields[_SELECT_FIELDS.get(name, name)], f"{argument}.{name}", value)
    return message


def _put_on(select: pb.Select, value: Any) -> None:
    """Half of the rows, or a feature set."""
    if isinstance(value, str) and value == "half":
        select.half = True
    else:
        select.feature_set = feature_set_name(value, "select.on")


def _put_groups(select: pb.Select, value: Any) -> None:
    """The grouping by whose groups candidates are chosen."""
    select.grouping = grouping_name(value, "select.groups")


def _put_ties(select: pb.Select, value: Any) -> None:
    check_choice("select.ties", value, get_args(Ties))
    select.last_of_equals = value == "last"


_SPECIAL: Mapping[str, Callable[[Any, Any], None]] = {
    "preset": _put_preset,
    "weights": _put_weights,
    "rows": _put_rows,
    "grid": _put_grid,
    "evaluate": _put_evaluate,
    "select.on": _put_on,
    "select.groups": _put_groups,
    "select.ties": _put_ties,
}
"""What sets arguments that are more than the value of one field."""
_MESSAGES: Mapping[str, Callable[[str, Any], Any]] = {
    "HeadSource": _head_source,
    "Path": _path,
    "Scaling": _scaling,
    "Select": _select,
}
"""What makes the messages that arguments become, by the type of the field."""


def _known(argument: str, given: Mapping[str, Any], known: type) -> dict[str, Any]:
    """What a dictionary argument says; None is left out. Raises `InvalidRequest` for unknown keys."""
    found = dict(items(argument, given, _EXAMPLES[argument]))
    legal = list(known.__annotations__)
    if unknown := [key for key in found if key not in legal]:
        raise invalid(f"{argument}= has any of {legal}; got {shown(unknown)}", argument=argument)
    return {name: value for name, value in found.items() if value is not None}


def evaluate_request(
    head: AnyHead,
    features: FeatureSetLike,
    *,
    class_map: Mapping[str, str] | None = None,
    across_checkpoints: bool = False,
    train: FeatureSetLike | None = None,
    by: ByLike = "group",
    panels: Sequence[str] | str | None = None,
    calibration: FeatureSetLike | None = None,
) -> pb.EvaluateRequest:
    """Which head is scored on what. Raises `InvalidRequest`."""
    reference = head_reference(head)
    request = build(
        pb.EvaluateRequest,
        feature_set=feature_set_name(features),
        class_map=check_class_map(class_map),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
        train="" if train is None else feature_set_name(train, "train"),
        grouping=scored_by(by),
        panels=_panel_names(panels),
        calibration="" if calibration is None else feature_set_name(calibration, "calibration"),
    )
    match reference.WhichOneof("head"):
        case "refit":
            request.refit = reference.refit
        case "checkpoint":
            request.checkpoint = reference.checkpoint
        case _:
            request.explicit.CopyFrom(reference.explicit)
    return request


def _panel_names(panels: Sequence[str] | str | None) -> list[str]:
    given = [] if panels is None else [panels] if isinstance(panels, str) else panels
    return [coerce.text("panels", one) for one in coerce.listed("panels", given, '["fairness", "calibration"]')]


def head_reference(head: AnyHead, argument: str = "head") -> pb.HeadReference:
    """A stored head by its digest, another as it is. Raises `InvalidRequest`."""
    match head:
        case Refit():
            return build(pb.HeadReference, refit=head.digest)
        case Checkpoint():
            return build(pb.HeadReference, checkpoint=head.digest)
        case _:
            return pb.HeadReference(explicit=head_message(as_head(head, argument, _HEADS)))


def mixtures_request(
    heads: Sequence[AnyHead],
    weights: NDArray[np.float64],
    features: FeatureSetLike,
    *,
    class_map: Mapping[str, str] | None = None,
    across_checkpoints: bool = False,
    train: FeatureSetLike | None = None,
    by: ByLike = "group",
) -> pb.EvaluateMixturesRequest:
    """Mixtures of heads, the rows of `weights` (M, H), scored on one set."""
    return build(
        pb.EvaluateMixturesRequest,
        heads=[head_reference(head) for head in heads],
        shares=arrays.encode(weights),
        feature_set=feature_set_name(features),
        class_map=check_class_map(class_map),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
        train="" if train is None else feature_set_name(train, "train"),
        grouping=scored_by(by),
    )


def head_message(head: Head) -> pb.Head:
    """A head in float64, with the names of its classes."""
    return build(
        pb.Head,
        weight=arrays.encode(head.weight),
        bias=arrays.encode(head.bias),
        classes=class_names(head),
        checkpoint="" if _is_unknown(head.checkpoint) else checkpoint_digest(head.checkpoint, "Head.checkpoint"),
    )


def _is_unknown(checkpoint: object) -> bool:
    return isinstance(checkpoint, str) and not checkpoint
