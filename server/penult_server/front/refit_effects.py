"""Which arguments of a refit are heard: what would change nothing is refused, by the name of what it goes with.

A request is looked at complete, with its preset and every default. What it asks for itself and is not heard is refused;
what only the preset or a default had brought is taken out, so that a complete request says what was heard and no more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penult_proto.errors import ErrorKind
from penult_proto.refit_fields import GRID
from penult_proto.v1 import groups_pb2 as groups
from penult_proto.v1 import refits_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.front.refit_defaults import DEFAULTS
from penult_server.refit_scalars import has_scalar, values_of

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
    """As users write it."""
    field: str
    """Of the request, such as ``weights.gamma``."""
    is_heard: Asks
    """Of the complete request."""
    goes_with: str
    has_default: bool = False
    """Whether the field says its default where it is not heard, and nothing is asked by saying that; any other field is
    left out."""

    def is_asked(self, asked: pb.RefitRequest) -> bool:
        """Of the request as it came."""
        value = _value(asked, self.field)
        if self.has_default:
            return value is not None and value != _value(DEFAULTS, self.field)
        return value is not None or has_scalar(asked, self.name)

    def forget(self, complete: pb.RefitRequest) -> None:
        """Take the argument out of a complete request, or put it back to its default."""
        if _value(complete, self.field) is not None:
            owner = _owner(complete, self.field)
            owner.ClearField(self.name)
            if self.has_default and (default := _value(DEFAULTS, self.field)) is not None:
                setattr(owner, self.name, default)

    @property
    def name(self) -> str:
        """Of the field in its message."""
        return self.field.rpartition(".")[2]


def is_random(request: pb.RefitRequest) -> bool:
    """Whether two draws of a complete request can differ."""
    minibatches = request.HasField("path") and request.path.batch_size > 0
    begins_at_random = request.HasField("path") and request.path.start.kind == pb.HEAD_KIND_RANDOM
    return request.balance.method in DRAWN or minibatches or begins_at_random


def check_effects(complete: pb.RefitRequest, asked: pb.RefitRequest) -> set[str]:
    """Refuse what is asked for in vain; answers the names of the fields that are not heard and were taken out.

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
        rule.forget(complete)
        unheard.add(rule.name)
    return unheard


def _owner(request: pb.RefitRequest, field: str) -> Any:
    """The message that has a field."""
    owner: Any = request
    for part in field.split(".")[:-1]:
        owner = getattr(owner, part)
    return owner


def _value(request: pb.RefitRequest, field: str) -> Any:
    """What a field says; None where it says nothing."""
    owner, name = _owner(request, field), field.rpartition(".")[2]
    value, has_presence = getattr(owner, name), owner.DESCRIPTOR.fields_by_name[name].has_presence
    return value if (owner.HasField(name) if has_presence else value) else None


def _has_penalty(request: pb.RefitRequest) -> bool:
    return any(value > 0 for name in ("l1", "l2") for value in values_of(request, name))


def _balances_groups(request: pb.RefitRequest) -> bool:
    return request.balance.method != groups.BALANCE_METHOD_NONE and request.balance.by == groups.BALANCE_BY_GROUP


def _uses_groups(request: pb.RefitRequest) -> bool:
    return _balances_groups(request) or request.risk.kind == pb.RISK_KIND_GROUP_DRO


def _weighs(*kinds: "pb.WeightsKind.ValueType") -> Asks:
    return lambda request: request.weights.kind in kinds


def _number(name: str, is_heard: Asks, goes_with: str) -> Rule:
    """Of a number that may be on a grid."""
    part = GRID[name].part
    return Rule(f"{name}=", f"{part}.{name}" if part else name, is_heard, goes_with)


def _is_optimum(request: pb.RefitRequest) -> bool:
    return not request.HasField("path")


NEEDS_PENALTY = "a penalty: l1= or l2= above 0"
DETECTED = "weights='detected'"
ON_OPTIMA = "a solve to the optimum: a path takes just the steps it is given"
DRAWS = "draws that differ: a balance= that draws rows, or a path with batch_size or a random start"
RULES = (
    _number("gamma", _weighs(pb.WEIGHTS_KIND_CONFIDENCE), "weights='confidence'"),
    _number("up", _weighs(pb.WEIGHTS_KIND_ERRORS, pb.WEIGHTS_KIND_DETECTED), "weights='errors' or weights='detected'"),
    _number("detector_l1", _weighs(pb.WEIGHTS_KIND_DETECTED), DETECTED),
    Rule("detector=", "weights.detector", _weighs(pb.WEIGHTS_KIND_DETECTED), DETECTED),
    Rule("weights.explicit", "weights.explicit", _weighs(pb.WEIGHTS_KIND_EXPLICIT), "the kind 'explicit'"),
    _number(
        "class_ratio",
        lambda request: request.risk.kind != pb.RISK_KIND_GROUP_DRO,
        "a mean over several classes: group DRO takes each group's own mean, in which all rows are of one class",
    ),
    _number("ratio", lambda request: request.balance.method == groups.BALANCE_METHOD_MIXTURE, "balance='mixture'"),
    Rule(
        "balance='upweighting'",
        "balance.method",
        lambda request: (
            request.balance.method != groups.BALANCE_METHOD_UPWEIGHTING or request.risk.kind != pb.RISK_KIND_GROUP_DRO
        ),
        "a mean over several groups: group DRO takes each group's own mean, in which all of these weights are equal",
        has_default=True,
    ),
    Rule(
        "by=",
        "balance.by",
        lambda request: request.balance.method != groups.BALANCE_METHOD_NONE,
        "a balance= other than 'none'",
    ),
    Rule("missing_groups='skip'", "balance.missing_groups", _balances_groups, "balance= by='group'", has_default=True),
    Rule(
        "groups=",
        "groups",
        lambda request: request.groups == pb.GROUP_SOURCE_STORED or _uses_groups(request),
        "balance= by='group', or risk='group_dro'",
        has_default=True,
    ),
    _number(
        "tau", lambda request: request.offset.kind != pb.OFFSET_KIND_NONE, "offset='class_prior' or 'prediction_prior'"
    ),
    _number("alpha", lambda request: request.risk.kind == pb.RISK_KIND_CVAR, "risk='cvar'"),
    _number("top_k", lambda request: request.rows.kind in TOP_ROWS, "rows='top_loss' or rows='top_disagreement'"),
    Rule(
        "other=",
        "rows.other",
        lambda request: request.rows.kind == pb.ROWS_KIND_TOP_DISAGREEMENT,
        "rows='top_disagreement'",
    ),
    Rule(
        "rows.row_ids",
        "rows.row_ids",
        lambda request: request.rows.kind == pb.ROWS_KIND_EXPLICIT,
        "the kind 'explicit'",
    ),
    _number("learning_rate", lambda request: request.HasField("path"), "path="),
    Rule(
        "center=",
        "center.kind",
        lambda request: _has_penalty(request) or request.intercept == pb.INTERCEPT_NONE,
        NEEDS_PENALTY,
        has_default=True,
    ),
    Rule(
        "intercept='penalized'",
        "intercept",
        lambda request: request.intercept != pb.INTERCEPT_PENALIZED or _has_penalty(request),
        NEEDS_PENALTY,
        has_default=True,
    ),
    Rule(
        "penalty='sum'",
        "penalty_scale",
        lambda request: request.penalty_scale != pb.PENALTY_SCALE_SUM or _has_penalty(request),
        NEEDS_PENALTY,
        has_default=True,
    ),
    Rule("tolerance=", "tolerance", _is_optimum, ON_OPTIMA),
    Rule("max_iterations=", "max_iterations", _is_optimum, ON_OPTIMA),
    Rule("repeats=", "repeats", is_random, DRAWS, has_default=True),
    Rule(
        "select.repeats",
        "select.repeats",
        lambda request: is_random(request) or request.select.repeats == 1 or not request.HasField("select"),
        DRAWS,
    ),
)
"""What is not named here is heard by every way of solving: a test of the whole matrix holds it to that."""
