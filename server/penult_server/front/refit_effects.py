"""Which arguments of a refit are heard: what would change nothing is refused, by the name of what it goes with.

A request is looked at complete, with its preset and every default. What it asks for itself and is not heard is refused;
what only the preset or a default had brought is taken out, so that a complete request says what was heard and no more.
"""

from collections.abc import Callable
from dataclasses import dataclass

from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2 as groups
from penult_proto.v1 import refits_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.refit_scalars import clear_scalar, has_scalar, largest_of

Asks = Callable[[pb.RefitRequest], bool]
DRAWN = (
    groups.BALANCE_METHOD_SUBSETTING,
    groups.BALANCE_METHOD_UPSAMPLING,
    groups.BALANCE_METHOD_MIXTURE,
)
TOP_ROWS = (pb.ROWS_KIND_TOP_LOSS, pb.ROWS_KIND_TOP_DISAGREEMENT)


@dataclass(frozen=True, slots=True)
class Rule:
    """When one argument is heard."""

    argument: str
    is_asked: Asks
    """Of the request as it came."""
    is_heard: Asks
    """Of the complete one."""
    goes_with: str
    forget: Callable[[pb.RefitRequest, pb.RefitRequest], None]
    """Take the argument out of a complete request (the first), or put it back to the defaults' (the second)."""


def is_random(request: pb.RefitRequest) -> bool:
    """Whether two draws of a complete request can differ."""
    minibatches = request.HasField("path") and request.path.batch_size > 0
    begins_at_random = request.HasField("path") and request.path.start.kind == pb.HEAD_KIND_RANDOM
    return request.balance.method in DRAWN or minibatches or begins_at_random


def check_effects(complete: pb.RefitRequest, asked: pb.RefitRequest, defaults: pb.RefitRequest) -> set[str]:
    """Refuse what is asked for in vain; answers the names of the arguments that are not heard and were taken out.

    Raises ServiceError (INVALID_ARGUMENT), naming the argument and what it goes with.
    """
    unheard: set[str] = set()
    for rule in RULES:
        if rule.is_heard(complete):
            continue
        if rule.is_asked(asked):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{rule.argument} would change nothing here: it goes with {rule.goes_with}. Leave it out, or add that",
                field=rule.argument,
            )
        rule.forget(complete, defaults)
        unheard.add(rule.argument.rstrip("="))
    return unheard


def _has_penalty(request: pb.RefitRequest) -> bool:
    return largest_of(request, "l1") > 0 or largest_of(request, "l2") > 0


def _balances_groups(request: pb.RefitRequest) -> bool:
    return request.balance.method != groups.BALANCE_METHOD_NONE and request.balance.by == groups.BALANCE_BY_GROUP


def _uses_groups(request: pb.RefitRequest) -> bool:
    return _balances_groups(request) or request.risk.kind == pb.RISK_KIND_GROUP_DRO


def _scalar(name: str, is_heard: Asks, goes_with: str) -> Rule:
    return Rule(
        argument=f"{name}=",
        is_asked=lambda asked: has_scalar(asked, name),
        is_heard=is_heard,
        goes_with=goes_with,
        forget=lambda complete, _: clear_scalar(complete, name),
    )


def _weighs(*kinds: "pb.WeightsKind.ValueType") -> Asks:
    return lambda request: request.weights.kind in kinds


def _forget_detector(complete: pb.RefitRequest, defaults: pb.RefitRequest) -> None:
    complete.weights.ClearField("detector")


def _forget_explicit(complete: pb.RefitRequest, defaults: pb.RefitRequest) -> None:
    complete.weights.ClearField("explicit")


def _forget_row_ids(complete: pb.RefitRequest, defaults: pb.RefitRequest) -> None:
    complete.rows.ClearField("row_ids")


def _forget_other(complete: pb.RefitRequest, defaults: pb.RefitRequest) -> None:
    complete.rows.other = ""


def _forget_balance(complete: pb.RefitRequest, defaults: pb.RefitRequest) -> None:
    complete.balance.CopyFrom(defaults.balance)


def _forget_missing(complete: pb.RefitRequest, defaults: pb.RefitRequest) -> None:
    complete.balance.missing_groups = defaults.balance.missing_groups


def _forget(field: str) -> Callable[[pb.RefitRequest, pb.RefitRequest], None]:
    def forget(complete: pb.RefitRequest, defaults: pb.RefitRequest) -> None:
        complete.ClearField(field)  # pyright: ignore[reportArgumentType]  one of the message's fields
        restored = pb.RefitRequest()
        restored.CopyFrom(defaults)
        for name in restored.DESCRIPTOR.fields_by_name:
            if name != field:
                restored.ClearField(name)  # pyright: ignore[reportArgumentType]
        complete.MergeFrom(restored)

    return forget


def _clear(field: str) -> Callable[[pb.RefitRequest, pb.RefitRequest], None]:
    return lambda complete, _: complete.ClearField(field)  # pyright: ignore[reportArgumentType]


def _is_set(field: str) -> Asks:
    return lambda asked: asked.HasField(field)  # pyright: ignore[reportArgumentType]


NEEDS_PENALTY = "a penalty: l1= or l2= above 0"
DETECTED = "weights='detected'"
ON_OPTIMA = "a solve to the optimum: a path takes just the steps it is given"
RULES = (
    _scalar("gamma", _weighs(pb.WEIGHTS_KIND_CONFIDENCE), "weights='confidence'"),
    _scalar("up", _weighs(pb.WEIGHTS_KIND_ERRORS, pb.WEIGHTS_KIND_DETECTED), "weights='errors' or weights='detected'"),
    _scalar("detector_l1", _weighs(pb.WEIGHTS_KIND_DETECTED), DETECTED),
    Rule(
        "detector=",
        lambda asked: asked.weights.HasField("detector"),
        _weighs(pb.WEIGHTS_KIND_DETECTED),
        DETECTED,
        _forget_detector,
    ),
    Rule(
        "weights.explicit",
        lambda asked: asked.weights.HasField("explicit"),
        _weighs(pb.WEIGHTS_KIND_EXPLICIT),
        "the kind 'explicit'",
        _forget_explicit,
    ),
    _scalar(
        "class_ratio",
        lambda request: request.risk.kind != pb.RISK_KIND_GROUP_DRO,
        "a mean over several classes: group DRO takes each group's own mean, in which all rows are of one class",
    ),
    _scalar("ratio", lambda request: request.balance.method == groups.BALANCE_METHOD_MIXTURE, "balance='mixture'"),
    Rule(
        "by=",
        lambda asked: asked.balance.by != groups.BALANCE_BY_UNSPECIFIED,
        lambda request: request.balance.method != groups.BALANCE_METHOD_NONE,
        "a balance= other than 'none'",
        _forget_balance,
    ),
    Rule(
        "balance='upweighting'",
        lambda asked: asked.balance.method == groups.BALANCE_METHOD_UPWEIGHTING,
        lambda request: (
            request.balance.method != groups.BALANCE_METHOD_UPWEIGHTING or request.risk.kind != pb.RISK_KIND_GROUP_DRO
        ),
        "a mean over several groups: group DRO takes each group's own mean, in which all of these weights are equal",
        _forget_balance,
    ),
    Rule(
        "missing_groups='skip'",
        lambda asked: asked.balance.missing_groups == groups.MISSING_GROUPS_SKIP,
        _balances_groups,
        "balance= by='group'",
        _forget_missing,
    ),
    Rule(
        "groups=",
        lambda asked: asked.groups not in (pb.GROUP_SOURCE_UNSPECIFIED, pb.GROUP_SOURCE_STORED),
        lambda request: request.groups == pb.GROUP_SOURCE_STORED or _uses_groups(request),
        "balance= by='group', or risk='group_dro'",
        _forget("groups"),
    ),
    _scalar(
        "tau", lambda request: request.offset.kind != pb.OFFSET_KIND_NONE, "offset='class_prior' or 'prediction_prior'"
    ),
    _scalar("alpha", lambda request: request.risk.kind == pb.RISK_KIND_CVAR, "risk='cvar'"),
    _scalar("top_k", lambda request: request.rows.kind in TOP_ROWS, "rows='top_loss' or rows='top_disagreement'"),
    Rule(
        "other=",
        lambda asked: bool(asked.rows.other),
        lambda request: request.rows.kind == pb.ROWS_KIND_TOP_DISAGREEMENT,
        "rows='top_disagreement'",
        _forget_other,
    ),
    Rule(
        "rows.row_ids",
        lambda asked: asked.rows.HasField("row_ids"),
        lambda request: request.rows.kind == pb.ROWS_KIND_EXPLICIT,
        "the kind 'explicit'",
        _forget_row_ids,
    ),
    _scalar("learning_rate", lambda request: request.HasField("path"), "path="),
    Rule(
        "center=",
        lambda asked: asked.center.kind not in (pb.HEAD_KIND_UNSPECIFIED, pb.HEAD_KIND_ZERO),
        lambda request: _has_penalty(request) or request.intercept == pb.INTERCEPT_NONE,
        NEEDS_PENALTY,
        _forget("center"),
    ),
    Rule(
        "intercept='penalized'",
        lambda asked: asked.intercept == pb.INTERCEPT_PENALIZED,
        lambda request: request.intercept != pb.INTERCEPT_PENALIZED or _has_penalty(request),
        NEEDS_PENALTY,
        _forget("intercept"),
    ),
    Rule(
        "penalty='sum'",
        lambda asked: asked.penalty_scale == pb.PENALTY_SCALE_SUM,
        lambda request: request.penalty_scale != pb.PENALTY_SCALE_SUM or _has_penalty(request),
        NEEDS_PENALTY,
        _forget("penalty_scale"),
    ),
    Rule(
        "tolerance=",
        _is_set("tolerance"),
        lambda request: not request.HasField("path"),
        ON_OPTIMA,
        _clear("tolerance"),
    ),
    Rule(
        "max_iterations=",
        _is_set("max_iterations"),
        lambda request: not request.HasField("path"),
        ON_OPTIMA,
        _clear("max_iterations"),
    ),
    Rule(
        "repeats=",
        lambda asked: asked.HasField("repeats") and asked.repeats != 1,
        is_random,
        "draws that differ: a balance= that draws rows, or a path with batch_size or a random start",
        _forget("repeats"),
    ),
    Rule(
        "select.repeats",
        lambda asked: asked.select.HasField("repeats") and asked.select.repeats != 1,
        lambda request: is_random(request) or not request.HasField("select"),
        "draws that differ: a balance= that draws rows, or a path with batch_size or a random start",
        lambda complete, _: complete.select.ClearField("repeats"),
    ),
)
"""What is not named here is heard by every way of solving: a test of the whole matrix holds it to that."""
