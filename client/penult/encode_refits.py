"""From the arguments of `Client.refit` and `Client.evaluate` to messages; what is plainly wrong is refused here."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Required, TypeAlias, TypedDict, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penult import arrays, coerce, coerce_arrays
from penult.coerce import build, check_choice, items
from penult.coerce_arrays import row_ids
from penult.encode import balance_message, check_class_map
from penult.errors import invalid, shown
from penult.records import Checkpoint
from penult.references import FeatureSetLike, checkpoint_digest, feature_set_name
from penult.refits import Head, HeadArrays, Refit, as_head, class_names, may_be_head
from penult.types import (
    BalanceMethod,
    By,
    GridName,
    GroupSource,
    HeadChoice,
    Intercept,
    Link,
    MissingGroups,
    OffsetChoice,
    PathKeep,
    PathOptimizer,
    PathSchedule,
    PenaltyScale,
    Preset,
    Risk,
    RowsChoice,
    Scaling,
    SelectFinal,
    SelectMetric,
    Ties,
    WeightsChoice,
)
from penult_proto.enums import Enumeration, choices_of
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb

HeadLike: TypeAlias = HeadChoice | Head | Refit | HeadArrays
ScalingLike: TypeAlias = bool | Scaling | FeatureSetLike
AnyHead: TypeAlias = Head | Refit | Checkpoint | HeadArrays
_Message = TypeVar("_Message")
_HEADS = "a Head, a Refit, a Checkpoint or (weight, bias)"
_EXAMPLES = {
    "select": "{'on': 'half', 'metric': 'worst_group'}",
    "path": "{'optimizer': 'sgd', 'learning_rate': 0.01, 'steps': 100}",
    "detector": "{'optimizer': 'sgd', 'learning_rate': 0.01, 'steps': 100}",
}


class PathArguments(TypedDict, total=False):
    """An early-stopped method; what is left out is the preset's."""

    optimizer: PathOptimizer
    learning_rate: float
    schedule: PathSchedule
    steps: int
    epochs: int
    momentum: float
    weight_decay: float
    clip_norm: float
    batch_size: int
    keep: PathKeep
    start: HeadLike


class SelectArguments(TypedDict, total=False):
    """How one candidate of a grid is chosen; what is left out is the preset's."""

    on: FeatureSetLike
    """"half", or a feature set."""
    metric: SelectMetric
    ties: Ties
    final: SelectFinal
    repeats: int
    standardize: ScalingLike


class RefitArguments(TypedDict, total=False):
    """The arguments of `Client.refit`, as one request of `Client.refits`."""

    features: Required[FeatureSetLike]
    preset: Preset | None
    balance: BalanceMethod | None
    by: By | None
    ratio: float | None
    missing_groups: MissingGroups | None
    l1: float | None
    l2: float | None
    penalty: PenaltyScale | None
    center: HeadLike | None
    intercept: Intercept | None
    link: Link | None
    standardize: ScalingLike | None
    repeats: int | None
    weights: WeightsChoice | ArrayLike | None
    gamma: float | None
    up: float | None
    class_ratio: float | None
    detector: PathArguments | None
    detector_l1: float | None
    rows: RowsChoice | ArrayLike | None
    top_k: int | None
    other: FeatureSetLike | None
    offset: OffsetChoice | None
    tau: float | None
    groups: GroupSource | None
    risk: Risk | None
    alpha: float | None
    path: PathArguments | None
    grid: Mapping[GridName, Sequence[float]] | None
    select: SelectArguments | None
    evaluate: Mapping[str, FeatureSetLike] | None
    train: FeatureSetLike | None
    seed: int
    plan: bool
    tolerance: float | None
    max_iterations: int | None
    across_checkpoints: bool


def refit_request(arguments: RefitArguments) -> pb.RefitRequest:
    """A question for a refit; what is None or left out is left to the preset.

    Raises `InvalidRequest`, also for unknown keys.
    """
    known = list(RefitArguments.__annotations__)
    # Looked up by name: TypedDicts know no computed keys.
    asked: dict[str, Any] = dict(items("a refit request", arguments, "{'features': features, 'preset': 'dfr'}"))
    if [key for key in asked if key not in known] or "features" not in asked:
        raise invalid(f"a refit request has 'features' and any of {known}; got {shown(list(asked))}")
    given = asked.get
    preset, center, standardize = given("preset"), given("center"), given("standardize")
    path, select, train = given("path"), given("select"), given("train")
    if preset is not None:
        check_choice("preset", preset, get_args(Preset))
    return build(
        pb.RefitRequest,
        feature_set=feature_set_name(arguments["features"]),
        preset=preset or "",
        balance=_balance(given("balance"), given("by"), given("ratio"), given("missing_groups")),
        l1=_optional("l1", given("l1"), 0),
        l2=_optional("l2", given("l2"), 0),
        penalty_scale=_number("penalty", given("penalty"), pb.PenaltyScale),
        center=None if center is None else _head_source("center", center),
        intercept=_number("intercept", given("intercept"), pb.Intercept),
        link=_number("link", given("link"), pb.Link),
        scaling=None if standardize is None else _scaling("standardize", standardize),
        repeats=_optional_whole("repeats", given("repeats")),
        weights=_filled(_weights(arguments)),
        rows=_filled(_rows(given("rows"), given("top_k"), given("other"))),
        offset=_filled(
            build(pb.Offset, kind=_number("offset", given("offset"), pb.OffsetKind), tau=_optional("tau", given("tau")))
        ),
        groups=_number("groups", given("groups"), pb.GroupSource),
        risk=_filled(
            build(pb.Risk, kind=_number("risk", given("risk"), pb.RiskKind), alpha=_optional("alpha", given("alpha")))
        ),
        path=None if path is None else _path("path", path),
        grid=_grid(given("grid")),
        select=None if select is None else _select(select),
        seed=coerce.seed(asked.get("seed", 0)),
        plan=coerce.flag("plan", asked.get("plan", False)),
        evaluate=_evaluated(given("evaluate")),
        train="" if train is None else _train(train, given("evaluate")),
        tolerance=_optional("tolerance", given("tolerance"), 0, 1),
        max_iterations=_optional_whole("max_iterations", given("max_iterations")),
        across_checkpoints=coerce.flag("across_checkpoints", asked.get("across_checkpoints", False)),
    )


def _optional(argument: str, value: object, least: float = -math.inf, most: float = math.inf) -> float | None:
    """A number; None for None."""
    return None if value is None else coerce.number(argument, value, least, most)


def _optional_whole(argument: str, value: object, least: int = 1, most: int = coerce.INT32) -> int | None:
    """A whole number; None for None."""
    return None if value is None else coerce.whole(argument, value, least, most)


def _train(train: FeatureSetLike, evaluate: Mapping[str, FeatureSetLike] | None) -> str:
    """The training set whose counts weigh averages. Raises `InvalidRequest` where nothing is evaluated."""
    if not items("evaluate", evaluate, "{'test': features}"):
        raise invalid(
            "train= weighs the averages of what is evaluated: give evaluate=, or leave it out", argument="train"
        )
    return feature_set_name(train, "train")


def _number(argument: str, value: object, enum: Enumeration[Any]) -> Any:
    """The number of a choice on the wire, None for None."""
    return None if value is None else coerce.choice(argument, value, enum)


def _filled(message: _Message) -> _Message | None:
    """None for a message that says nothing: it then leaves all to the preset."""
    return message if message.ByteSize() else None  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def _balance(
    balance: BalanceMethod | None, by: By | None, ratio: float | None, missing_groups: MissingGroups | None
) -> groups_pb2.Balance | None:
    """None leaves it to the preset as a whole; over what to balance is never guessed."""
    missing = _number("missing_groups", missing_groups, groups_pb2.MissingGroups)
    if balance is None:
        if by is not None or ratio is not None:
            raise invalid("by= and ratio= need balance=: a preset's balancing is replaced as a whole")
        return None if missing is None else groups_pb2.Balance(missing_groups=missing)
    coerce.choice("balance", balance, groups_pb2.BalanceMethod)
    if by is None and balance != "none":
        raise invalid(f"balance={balance!r} needs by=: 'class' or 'group'", argument="by")
    return balance_message(balance, by, ratio, missing)


def _scaling(argument: str, value: ScalingLike) -> pb.Scaling:
    plain = coerce.scalar(value)
    if isinstance(plain, bool):
        return pb.Scaling(kind=choices_of(pb.ScalingKind)["rows" if plain else "none"])
    if isinstance(plain, str) and plain in choices_of(pb.ScalingKind):
        return pb.Scaling(kind=choices_of(pb.ScalingKind)[plain])
    return build(pb.Scaling, kind=pb.SCALING_KIND_SET, feature_set=feature_set_name(value, argument))  # pyright: ignore[reportArgumentType]


def _head_source(argument: str, value: HeadLike) -> pb.HeadSource:
    if isinstance(value, Refit):
        return build(pb.HeadSource, kind=pb.HEAD_KIND_REFIT, refit=value.digest)
    if isinstance(value, str) or not may_be_head(value):
        return pb.HeadSource(kind=_number(argument, value, pb.HeadKind))  # pyright: ignore[reportArgumentType]
    return build(pb.HeadSource, kind=pb.HEAD_KIND_EXPLICIT, head=head_message(as_head(value, argument)))


def _weights(arguments: RefitArguments) -> pb.Weights:
    weights, detector = arguments.get("weights"), arguments.get("detector")
    message = build(
        pb.Weights,
        gamma=_optional("gamma", arguments.get("gamma"), 0),
        up=_optional("up", arguments.get("up"), 0),
        class_ratio=_optional("class_ratio", arguments.get("class_ratio")),
        detector_l1=_optional("detector_l1", arguments.get("detector_l1"), 0),
        detector=None if detector is None else _path("detector", detector),
    )
    if isinstance(weights, str):
        message.kind = _number("weights", weights, pb.WeightsKind)
    elif weights is not None:
        message.kind = pb.WEIGHTS_KIND_EXPLICIT
        message.explicit.CopyFrom(arrays.encode(coerce_arrays.numbers("weights", weights)))
    return message


def _rows(rows: RowsChoice | ArrayLike | None, top_k: int | None, other: FeatureSetLike | None) -> pb.Rows:
    message = build(
        pb.Rows,
        top_k=_optional_whole("top_k", top_k, most=coerce.INT64),
        other="" if other is None else feature_set_name(other, "other"),
    )
    if isinstance(rows, str):
        message.kind = _number("rows", rows, pb.RowsKind)
    elif rows is not None:
        message.kind = pb.ROWS_KIND_EXPLICIT
        message.row_ids.CopyFrom(arrays.encode(row_ids(rows)))
    return message


def _path(argument: str, given: PathArguments) -> pb.Path:
    found = _checked(argument, given, PathArguments)
    start, size = found("start"), f"{argument}.batch_size"
    return build(
        pb.Path,
        optimizer=_number(f"{argument}.optimizer", found("optimizer"), pb.PathOptimizer),
        learning_rate=_optional(f"{argument}.learning_rate", found("learning_rate"), 0),
        steps=_optional_whole(f"{argument}.steps", found("steps"), 0),
        epochs=_optional_whole(f"{argument}.epochs", found("epochs"), 0),
        momentum=_optional(f"{argument}.momentum", found("momentum"), 0),
        weight_decay=_optional(f"{argument}.weight_decay", found("weight_decay"), 0),
        clip_norm=_optional(f"{argument}.clip_norm", found("clip_norm"), 0),
        batch_size=_optional_whole(size, found("batch_size"), 0),
        schedule=_number(f"{argument}.schedule", found("schedule"), pb.PathSchedule),
        keep=_number(f"{argument}.keep", found("keep"), pb.PathKeep),
        start=None if start is None else _head_source(f"{argument}.start", start),
    )


def _select(given: SelectArguments) -> pb.Select:
    found = _checked("select", given, SelectArguments)
    ties, on, standardize = found("ties"), found("on"), found("standardize")
    if ties is not None:
        check_choice("select.ties", ties, ("first", "last"))
    message = build(
        pb.Select,
        metric=_number("select.metric", found("metric"), pb.SelectMetric),
        final=_number("select.final", found("final"), pb.SelectFinal),
        repeats=_optional_whole("select.repeats", found("repeats")),
        last_of_equals=None if ties is None else ties == "last",
        scaling=None if standardize is None else _scaling("select.standardize", standardize),
    )
    if isinstance(on, str) and on == "half":
        message.half = True
    elif on is not None:
        message.feature_set = feature_set_name(on, "select.on")
    return message


def _grid(grid: Mapping[GridName, Sequence[float]] | None) -> list[pb.GridAxis]:
    axes: list[pb.GridAxis] = []
    for name, values in items("grid", grid, "{'l2': [0.1, 0.01]}"):
        check_choice("grid", name, get_args(GridName))
        argument = f"grid[{name!r}]"
        listed = coerce.listed(argument, values, "[0.1, 0.01]")
        numbers = [coerce.number(f"{argument}[{index}]", value) for index, value in enumerate(listed)]
        if not numbers:
            raise invalid(f"{argument} must list at least one finite number; got {shown(values)}", argument="grid")
        axes.append(build(pb.GridAxis, name=name, values=numbers))
    return axes


def _evaluated(evaluate: Mapping[str, FeatureSetLike] | None) -> dict[str, str]:
    return {
        coerce.text("a name in evaluate", name, example="'test'"): feature_set_name(value, f"evaluate[{shown(name)}]")
        for name, value in items("evaluate", evaluate, "{'test': features}")
    }


def _checked(argument: str, given: Mapping[str, Any], known: type) -> Callable[[str], Any]:
    """Looks up in a dictionary argument, None for what is left out. Raises `InvalidRequest` for unknown keys."""
    found = dict(items(argument, given, _EXAMPLES[argument]))
    legal = list(known.__annotations__)
    if unknown := [key for key in found if key not in legal]:
        raise invalid(f"{argument}= has any of {legal}; got {shown(unknown)}", argument=argument)
    return found.get


def evaluate_request(
    head: AnyHead,
    features: FeatureSetLike,
    *,
    class_map: Mapping[str, str] | None = None,
    across_checkpoints: bool = False,
    train: FeatureSetLike | None = None,
) -> pb.EvaluateRequest:
    """Which head is scored on what. Raises `InvalidRequest`."""
    reference = head_reference(head)
    request = build(
        pb.EvaluateRequest,
        feature_set=feature_set_name(features),
        class_map=check_class_map(class_map),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
        train="" if train is None else feature_set_name(train, "train"),
    )
    match reference.WhichOneof("head"):
        case "refit":
            request.refit = reference.refit
        case "checkpoint":
            request.checkpoint = reference.checkpoint
        case _:
            request.explicit.CopyFrom(reference.explicit)
    return request


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
    shares: NDArray[np.float64],
    features: FeatureSetLike,
    *,
    class_map: Mapping[str, str] | None = None,
    across_checkpoints: bool = False,
    train: FeatureSetLike | None = None,
) -> pb.EvaluateMixturesRequest:
    """Mixtures of heads, the rows of `shares` (M, H), scored on one set."""
    return build(
        pb.EvaluateMixturesRequest,
        heads=[head_reference(head) for head in heads],
        shares=arrays.encode(shares),
        feature_set=feature_set_name(features),
        class_map=check_class_map(class_map),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
        train="" if train is None else feature_set_name(train, "train"),
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
