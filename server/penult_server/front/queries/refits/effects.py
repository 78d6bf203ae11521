"""Which arguments of a refit have an effect: one without is refused, and the error says what it goes with.

A request is judged complete, with its preset and every default. An argument without an effect is refused if the request
gave it, and removed if only the preset or a default did: a complete request holds just what has an effect.
"""

from dataclasses import dataclass

from penult_proto.errors import ErrorKind
from penult_proto.fields.refit import GRID, Place, place_of
from penult_proto.v1 import groups_pb2 as groups
from penult_proto.v1 import refits_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.front.queries.refits.defaults import DEFAULTS, DETECTED, NUMBERS, Asks, weighs
from penult_server.questions.refit_scalars import has_scalar, values_of

DRAWN = (
    groups.BALANCE_METHOD_SUBSETTING,
    groups.BALANCE_METHOD_UPSAMPLING,
    groups.BALANCE_METHOD_MIXTURE,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """When one argument has an effect."""

    argument: str
    """The argument as users write it."""
    place: Place
    has_effect: Asks
    """Whether the argument has an effect in a complete request."""
    goes_with: str
    has_default: bool = False
    """Whether the field holds its default where it has no effect, and may be given that value; any other field is
    left out."""

    def is_asked(self, asked: pb.RefitRequest) -> bool:
        """Whether the request, as it came, gives the argument."""
        value = self.place.value(asked)
        if self.has_default:
            return value is not None and value != self.place.value(DEFAULTS)
        return value is not None or has_scalar(asked, self.place.field.name)

    def forget(self, complete: pb.RefitRequest) -> None:
        """Take the argument out of a complete request, or put it back to its default."""
        if self.place.value(complete) is not None:
            owner, name = self.place.owner(complete), self.place.field.name
            owner.ClearField(name)
            if self.has_default:
                setattr(owner, name, self.place.value(DEFAULTS))


def is_random(request: pb.RefitRequest) -> bool:
    """Whether two draws of a complete request can differ."""
    minibatches = request.HasField("path") and request.path.batch_size > 0
    begins_at_random = request.HasField("path") and request.path.start.kind == pb.HEAD_KIND_RANDOM
    return request.balance.method in DRAWN or minibatches or begins_at_random


def check_effects(complete: pb.RefitRequest, asked: pb.RefitRequest) -> set[str]:
    """Refuse arguments without an effect; returns the names of the fields removed, which the preset had filled in.

    Raises ServiceError (INVALID_ARGUMENT), naming the argument and what it goes with.
    """
    removed: set[str] = set()
    for rule in RULES:
        if rule.has_effect(complete):
            continue
        if rule.is_asked(asked):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{rule.argument} has no effect on this refit: it goes with {rule.goes_with}. "
                "Leave it out, or ask for that",
                field=rule.argument,
            )
        rule.forget(complete)
        removed.add(rule.place.field.name)
    return removed


def _has_penalty(request: pb.RefitRequest) -> bool:
    """Whether weights are penalised; a machine's always are."""
    is_machine = request.link == pb.LINK_HINGE
    return is_machine or any(value > 0 for name in ("l1", "l2") for value in values_of(request, name))


def _balances_groups(request: pb.RefitRequest) -> bool:
    return request.balance.method != groups.BALANCE_METHOD_NONE and request.balance.by == groups.BALANCE_BY_GROUP


def _uses_groups(request: pb.RefitRequest) -> bool:
    return _balances_groups(request) or request.risk.kind == pb.RISK_KIND_GROUP_DRO


def _is_optimum(request: pb.RefitRequest) -> bool:
    return not request.HasField("path")


NEEDS_PENALTY = "a penalty: l1= or l2= above 0"
ON_OPTIMA = "a solve to the optimum: a path takes just the steps it is given"
DRAWS = "draws that differ: a balance= that draws rows, or a path with batch_size or a random start"
RULES = (
    *(Rule(f"{name}=", GRID[name], number.has_effect, number.goes_with) for name, number in NUMBERS.items()),
    Rule("detector=", place_of("weights.detector"), weighs(pb.WEIGHTS_KIND_DETECTED), DETECTED),
    Rule("weights.explicit", place_of("weights.explicit"), weighs(pb.WEIGHTS_KIND_EXPLICIT), "the kind 'explicit'"),
    Rule(
        "balance='upweighting'",
        place_of("balance.method"),
        lambda request: (
            request.balance.method != groups.BALANCE_METHOD_UPWEIGHTING or request.risk.kind != pb.RISK_KIND_GROUP_DRO
        ),
        "a mean over several groups: group DRO takes each group's own mean, in which all of these weights are equal",
        has_default=True,
    ),
    Rule(
        "by=",
        place_of("balance.by"),
        lambda request: request.balance.method != groups.BALANCE_METHOD_NONE,
        "a balance= other than 'none'",
    ),
    Rule(
        "missing_groups='skip'",
        place_of("balance.missing_groups"),
        _balances_groups,
        "balance= by='group'",
        has_default=True,
    ),
    Rule(
        "groups=",
        place_of("groups"),
        lambda request: request.groups == pb.GROUP_SOURCE_STORED or _uses_groups(request),
        "balance= by='group', or risk='group_dro'",
        has_default=True,
    ),
    Rule(
        "by=a grouping",
        place_of("grouping"),
        lambda request: _uses_groups(request) and request.groups == pb.GROUP_SOURCE_STORED,
        "balance= by group, or risk='group_dro', and groups='stored', in whose place it stands",
    ),
    Rule(
        "other=",
        place_of("rows.other"),
        lambda request: request.rows.kind == pb.ROWS_KIND_TOP_DISAGREEMENT,
        "rows='top_disagreement'",
    ),
    Rule(
        "rows.row_ids",
        place_of("rows.row_ids"),
        lambda request: request.rows.kind == pb.ROWS_KIND_EXPLICIT,
        "the kind 'explicit'",
    ),
    Rule(
        "center=",
        place_of("center.kind"),
        lambda request: (
            _has_penalty(request) or request.intercept == pb.INTERCEPT_NONE or has_scalar(request, "subspace")
        ),
        f"{NEEDS_PENALTY}; or with subspace=",
        has_default=True,
    ),
    Rule(
        "intercept='penalized'",
        place_of("intercept"),
        lambda request: request.intercept != pb.INTERCEPT_PENALIZED or _has_penalty(request),
        NEEDS_PENALTY,
        has_default=True,
    ),
    Rule(
        "penalty='sum'",
        place_of("penalty_scale"),
        lambda request: request.penalty_scale != pb.PENALTY_SCALE_SUM or _has_penalty(request),
        NEEDS_PENALTY,
        has_default=True,
    ),
    Rule("tolerance=", place_of("tolerance"), _is_optimum, ON_OPTIMA),
    Rule("max_iterations=", place_of("max_iterations"), _is_optimum, ON_OPTIMA),
    Rule("repeats=", place_of("repeats"), is_random, DRAWS, has_default=True),
    Rule(
        "select.repeats",
        place_of("select.repeats"),
        lambda request: is_random(request) or request.select.repeats == 1 or not request.HasField("select"),
        DRAWS,
    ),
)
"""One rule for each argument that only some ways of solving use; a test of the whole matrix checks that."""
