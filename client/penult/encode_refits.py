"""From the arguments of `Client.refit` and `Client.evaluate` to messages; what is plainly wrong is refused here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Required, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from penult import arrays
from penult.choices import BALANCE_METHODS, MISSING_GROUPS, BalanceMethod, By, MissingGroups, check_choice
from penult.encode import (
    FeatureSetLike,
    balance_message,
    check_class_map,
    check_count,
    check_flag,
    check_number,
    check_seed,
    feature_set_name,
    is_number,
    items,
    names,
)
from penult.errors import invalid
from penult.records import Checkpoint, FeatureSet
from penult.refit_choices import (
    GRID_NAMES,
    GROUP_SOURCES,
    HEADS,
    INTERCEPTS,
    LINKS,
    OFFSETS,
    PATH_KEEPS,
    PATH_OPTIMIZERS,
    PATH_SCHEDULES,
    PENALTY_SCALES,
    PRESETS,
    RISKS,
    ROWS,
    SCALINGS,
    SELECT_FINALS,
    SELECT_METRICS,
    WEIGHTS,
    GridName,
    GroupSource,
    HeadChoice,
    Intercept,
    Link,
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
from penult.refits import Head, Refit
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb

HeadLike: TypeAlias = HeadChoice | Head | Refit
ScalingLike: TypeAlias = bool | Scaling | FeatureSetLike
AnyHead: TypeAlias = Head | Refit | Checkpoint
_Message = TypeVar("_Message")
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
    weights: WeightsChoice | NDArray[Any] | None
    gamma: float | None
    up: float | None
    class_ratio: float | None
    detector: PathArguments | None
    detector_l1: float | None
    rows: RowsChoice | NDArray[Any] | None
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
    if [key for key in arguments if key not in known] or "features" not in arguments:
        raise invalid(f"a refit request has 'features' and any of {known}; got {list(arguments)}")
    _check_numbers(arguments)
    given = arguments.get
    preset, center, standardize = given("preset"), given("center"), given("standardize")
    path, select = given("path"), given("select")
    return pb.RefitRequest(
        feature_set=feature_set_name(arguments["features"]),
        preset=preset or "",
        balance=_balance(given("balance"), given("by"), given("ratio"), given("missing_groups")),
        l1=given("l1"),
        l2=given("l2"),
        penalty_scale=_number("penalty", given("penalty"), PENALTY_SCALES),
        center=None if center is None else _head_source("center", center),
        intercept=_number("intercept", given("intercept"), INTERCEPTS),
        link=_number("link", given("link"), LINKS),
        scaling=None if standardize is None else _scaling(standardize),
        repeats=given("repeats"),
        weights=_filled(_weights(arguments)),
        rows=_filled(_rows(given("rows"), given("top_k"), given("other"))),
        offset=_filled(pb.Offset(kind=_number("offset", given("offset"), OFFSETS), tau=given("tau"))),
        groups=_number("groups", given("groups"), GROUP_SOURCES),
        risk=_filled(pb.Risk(kind=_number("risk", given("risk"), RISKS), alpha=given("alpha"))),
        path=None if path is None else _path("path", path),
        grid=_grid(given("grid")),
        select=None if select is None else _select(select),
        seed=arguments.get("seed", 0),
        plan=arguments.get("plan", False),
        evaluate=_evaluated(given("evaluate") or {}),
        tolerance=given("tolerance"),
        max_iterations=given("max_iterations"),
        across_checkpoints=check_flag("across_checkpoints", arguments.get("across_checkpoints", False)),
    )


def _check_numbers(arguments: RefitArguments) -> None:
    preset = arguments.get("preset")
    if preset is not None:
        check_choice("preset", preset, PRESETS)
    for name in ("l1", "l2", "gamma", "up", "detector_l1"):
        value = arguments.get(name)
        if value is not None:
            check_number(name, value, 0)
    for name in ("repeats", "top_k", "max_iterations"):
        count = arguments.get(name)
        if count is not None:
            check_count(name, count)
    tolerance = arguments.get("tolerance")
    if tolerance is not None:
        check_number("tolerance", tolerance, 0, 1)
    check_seed(arguments.get("seed", 0))


def _number(argument: str, value: str | None, table: Mapping[Any, Any]) -> Any:
    """The number of a choice on the wire, None for None."""
    if value is None:
        return None
    check_choice(argument, value, table)
    return table[value]


def _filled(message: _Message) -> _Message | None:
    """None for a message that says nothing: it then leaves all to the preset."""
    return message if message.ByteSize() else None  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def _balance(
    balance: BalanceMethod | None, by: By | None, ratio: float | None, missing_groups: MissingGroups | None
) -> groups_pb2.Balance | None:
    """None leaves it to the preset as a whole; over what to balance is never guessed."""
    missing = _number("missing_groups", missing_groups, MISSING_GROUPS)
    if balance is None:
        if by is not None or ratio is not None:
            raise invalid("by= and ratio= need balance=: a preset's balancing is replaced as a whole")
        return None if missing is None else groups_pb2.Balance(missing_groups=missing)
    check_choice("balance", balance, BALANCE_METHODS)
    if by is None and balance != "none":
        raise invalid(f"balance={balance!r} needs by=: 'class' or 'group'", argument="by")
    return balance_message(balance, by, ratio, missing)


def _scaling(value: ScalingLike) -> pb.Scaling:
    if isinstance(value, FeatureSet):
        return pb.Scaling(kind=pb.SCALING_KIND_SET, feature_set=value.digest)
    if isinstance(value, bool):
        return pb.Scaling(kind=SCALINGS["rows" if value else "none"])
    if value in SCALINGS:
        return pb.Scaling(kind=SCALINGS[value])
    return pb.Scaling(kind=pb.SCALING_KIND_SET, feature_set=feature_set_name(value))


def _head_source(argument: str, value: HeadLike) -> pb.HeadSource:
    match value:
        case Refit():
            return pb.HeadSource(kind=pb.HEAD_KIND_REFIT, refit=value.digest)
        case Head():
            return pb.HeadSource(kind=pb.HEAD_KIND_EXPLICIT, head=head_message(value))
        case _:
            return pb.HeadSource(kind=_number(argument, value, HEADS))


def _weights(arguments: RefitArguments) -> pb.Weights:
    weights, detector = arguments.get("weights"), arguments.get("detector")
    message = pb.Weights(
        gamma=arguments.get("gamma"),
        up=arguments.get("up"),
        class_ratio=arguments.get("class_ratio"),
        detector_l1=arguments.get("detector_l1"),
    )
    if detector is not None:
        message.detector.CopyFrom(_path("detector", detector))
    if isinstance(weights, str):
        message.kind = _number("weights", weights, WEIGHTS)
    elif weights is not None:
        message.kind = pb.WEIGHTS_KIND_EXPLICIT
        message.explicit.CopyFrom(arrays.encode(np.asarray(weights, np.float64)))
    return message


def _rows(rows: RowsChoice | NDArray[Any] | None, top_k: int | None, other: FeatureSetLike | None) -> pb.Rows:
    message = pb.Rows(top_k=top_k, other="" if other is None else feature_set_name(other))
    if isinstance(rows, str):
        message.kind = _number("rows", rows, ROWS)
    elif rows is not None:
        ids = np.asarray(rows)
        if ids.dtype.kind not in "iu" or ids.ndim != 1 or (ids.size and ids.min() < 0):
            raise invalid(f"rows= lists row ids, whole numbers of at least 0; got {ids.dtype} {ids.shape}")
        message.kind = pb.ROWS_KIND_EXPLICIT
        message.row_ids.CopyFrom(arrays.encode(ids.astype(np.uint64)))
    return message


def _path(argument: str, given: PathArguments) -> pb.Path:
    _check_keys(argument, given, PathArguments)
    start = given.get("start")
    return pb.Path(
        optimizer=_number(f"{argument}.optimizer", given.get("optimizer"), PATH_OPTIMIZERS),
        learning_rate=given.get("learning_rate"),
        steps=given.get("steps"),
        epochs=given.get("epochs"),
        momentum=given.get("momentum"),
        weight_decay=given.get("weight_decay"),
        clip_norm=given.get("clip_norm"),
        batch_size=given.get("batch_size"),
        schedule=_number(f"{argument}.schedule", given.get("schedule"), PATH_SCHEDULES),
        keep=_number(f"{argument}.keep", given.get("keep"), PATH_KEEPS),
        start=None if start is None else _head_source(f"{argument}.start", start),
    )


def _select(given: SelectArguments) -> pb.Select:
    _check_keys("select", given, SelectArguments)
    message = pb.Select(
        metric=_number("select.metric", given.get("metric"), SELECT_METRICS),
        final=_number("select.final", given.get("final"), SELECT_FINALS),
        repeats=given.get("repeats"),
    )
    if "ties" in given:
        check_choice("select.ties", given["ties"], ("first", "last"))
        message.last_of_equals = given["ties"] == "last"
    if "standardize" in given:
        message.scaling.CopyFrom(_scaling(given["standardize"]))
    match given.get("on"):
        case None:
            pass
        case "half":
            message.half = True
        case on:
            message.feature_set = feature_set_name(on)
    return message


def _grid(grid: Mapping[GridName, Sequence[float]] | None) -> list[pb.GridAxis]:
    axes: list[pb.GridAxis] = []
    for name, values in items("grid", grid or {}, "{'l2': [0.1, 0.01]}"):
        check_choice("grid", name, GRID_NAMES)
        listed = list(values) if isinstance(values, Iterable) else []  # pyright: ignore[reportUnnecessaryIsInstance]
        if not listed or not all(is_number(value) and math.isfinite(value) for value in listed):
            raise invalid(f"grid[{name!r}] must list at least one finite number; got {values!r}", argument="grid")
        axes.append(pb.GridAxis(name=name, values=[float(value) for value in listed]))
    return axes


def _evaluated(evaluate: Mapping[str, FeatureSetLike]) -> dict[str, str]:
    return {name: feature_set_name(value) for name, value in items("evaluate", evaluate, "{'test': features}")}


def _check_keys(argument: str, given: Mapping[str, Any], known: type) -> None:
    legal = list(known.__annotations__)
    if unknown := [key for key, _ in items(argument, given, _EXAMPLES[argument]) if key not in legal]:
        raise invalid(f"{argument}= has any of {legal}; got {unknown}", argument=argument)


def evaluate_request(
    head: AnyHead,
    features: FeatureSetLike,
    class_map: Mapping[str, str] | None = None,
    across_checkpoints: bool = False,
) -> pb.EvaluateRequest:
    """Which head is scored on what. Raises `InvalidRequest`."""
    reference = head_reference(head)
    request = pb.EvaluateRequest(
        feature_set=feature_set_name(features),
        class_map=check_class_map(class_map),
        across_checkpoints=check_flag("across_checkpoints", across_checkpoints),
    )
    match reference.WhichOneof("head"):
        case "refit":
            request.refit = reference.refit
        case "checkpoint":
            request.checkpoint = reference.checkpoint
        case _:
            request.explicit.CopyFrom(reference.explicit)
    return request


def head_reference(head: AnyHead) -> pb.HeadReference:
    """A stored head by its digest, another as it is. Raises `InvalidRequest`."""
    match head:
        case Refit():
            return pb.HeadReference(refit=head.digest)
        case Checkpoint():
            return pb.HeadReference(checkpoint=head.digest)
        case Head():
            return pb.HeadReference(explicit=head_message(head))
        case _:  # pyright: ignore[reportUnnecessaryComparison]  callers may be untyped
            raise invalid(f"a head is a Head, a Refit or a Checkpoint; got {type(head).__name__}")


def mixtures_request(
    heads: Sequence[AnyHead],
    shares: NDArray[np.float64],
    features: FeatureSetLike,
    class_map: Mapping[str, str] | None = None,
    across_checkpoints: bool = False,
) -> pb.EvaluateMixturesRequest:
    """Mixtures of heads, the rows of `shares` (M, H), scored on one set."""
    return pb.EvaluateMixturesRequest(
        heads=[head_reference(head) for head in heads],
        shares=arrays.encode(shares),
        feature_set=feature_set_name(features),
        class_map=check_class_map(class_map),
        across_checkpoints=check_flag("across_checkpoints", across_checkpoints),
    )


def head_message(head: Head) -> pb.Head:
    """A head in float64. Raises `InvalidRequest` when weight and bias do not fit each other."""
    if head.weight.ndim != 2 or head.bias.shape != head.weight.shape[:1]:
        raise invalid(
            f"a head has weight (C, D) and bias (C,); got {head.weight.shape} and {head.bias.shape}",
            ErrorKind.WRONG_SHAPE,
        )
    if not isinstance(head.checkpoint, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        raise invalid(f"Head.checkpoint is a digest, such as that of a Checkpoint; got {head.checkpoint!r}")
    return pb.Head(
        weight=arrays.encode(head.weight.astype("<f8")),
        bias=arrays.encode(head.bias.astype("<f8")),
        classes=class_names(head),
        checkpoint=head.checkpoint,
    )


def class_names(head: Head) -> list[str]:
    """Names of a head's rows, none where it has none. Raises `InvalidRequest` unless there is one for each row."""
    given = names("Head.classes", head.classes)
    if not all(isinstance(name, str) for name in given):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise invalid(f"Head.classes are names; got {given}", argument="classes")
    if given and len(given) != head.weight.shape[0]:
        raise invalid(f"a head of {head.weight.shape[0]} rows has as many classes; got {given}", ErrorKind.WRONG_SHAPE)
    return given
