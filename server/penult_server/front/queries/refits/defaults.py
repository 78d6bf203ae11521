"""Defaults of a refit; and of every number that a grid may vary, its range and where it has an effect."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penult_proto.v1 import groups_pb2 as groups
from penult_proto.v1 import refits_pb2 as pb
from penult_server.questions.refit_scalars import write_scalar

Asks = Callable[[pb.RefitRequest], bool]
Range = tuple[Callable[[float], bool], str]
"""Whether a number is legal, and the legal range in words."""
SMALLEST_STRENGTH = 1e-30
"""Least strength above 0: halves, quotients and squares of smaller ones underflow in certificates."""
TOP_ROWS = (pb.ROWS_KIND_TOP_LOSS, pb.ROWS_KIND_TOP_DISAGREEMENT, pb.ROWS_KIND_LOSS_ENDS)
WITH_GROUP_RATIO = (
    groups.BALANCE_METHOD_SUBSETTING,
    groups.BALANCE_METHOD_UPSAMPLING,
    groups.BALANCE_METHOD_UPWEIGHTING,
)
DETECTED = "weights='detected'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number that a grid may vary."""

    range: Range
    default: float | None = None
    """None where the request or its preset must give the number."""
    has_effect: Asks = lambda request: True
    """Whether the number has an effect in a complete request."""
    goes_with: str = ""
    """What a request must ask for, for the number to have an effect."""


def is_strength(value: float) -> bool:
    """Whether it can be the strength of a penalty."""
    return value == 0 or (math.isfinite(value) and value >= SMALLEST_STRENGTH)


def weighs(*kinds: "pb.WeightsKind.ValueType") -> Asks:
    """A condition: the rows are weighted in one of these ways."""
    return lambda request: request.weights.kind in kinds


STRENGTH: Range = (is_strength, f"0, or a finite number of at least {SMALLEST_STRENGTH:g}")
POSITIVE: Range = (lambda value: math.isfinite(value) and value > 0, "a finite number above 0")
NUMBERS: Mapping[str, Number] = {
    "l1": Number(range=STRENGTH, default=0.0),
    "l2": Number(range=STRENGTH, default=0.0),
    "ratio": Number(
        range=(lambda value: math.isfinite(value) and value >= 1, "a finite number, at least 1"),
        has_effect=lambda request: request.balance.method == groups.BALANCE_METHOD_MIXTURE,
        goes_with="balance='mixture'",
    ),
    "group_ratio": Number(
        range=(lambda value: 0 < value <= 1, "above 0, at most 1 (1 balances the groups)"),
        has_effect=lambda request: (
            request.balance.by == groups.BALANCE_BY_GROUP and request.balance.method in WITH_GROUP_RATIO
        ),
        goes_with="balance='subsetting', 'upsampling' or 'upweighting' by='group'",
    ),
    "gamma": Number(
        range=STRENGTH, default=0.0, has_effect=weighs(pb.WEIGHTS_KIND_CONFIDENCE), goes_with="weights='confidence'"
    ),
    "up": Number(
        range=POSITIVE,
        default=1.0,
        has_effect=weighs(pb.WEIGHTS_KIND_ERRORS, pb.WEIGHTS_KIND_DETECTED),
        goes_with="weights='errors' or weights='detected'",
    ),
    "detector_l1": Number(range=STRENGTH, default=0.0, has_effect=weighs(pb.WEIGHTS_KIND_DETECTED), goes_with=DETECTED),
    "class_ratio": Number(
        range=POSITIVE,
        default=1.0,
        has_effect=lambda request: request.risk.kind != pb.RISK_KIND_GROUP_DRO,
        goes_with="a mean over several classes: group DRO takes each group's own mean, in which all rows are of one "
        "class",
    ),
    "tau": Number(
        range=(math.isfinite, "a finite number"),
        default=1.0,
        has_effect=lambda request: request.offset.kind != pb.OFFSET_KIND_NONE,
        goes_with="offset='class_prior' or 'prediction_prior'",
    ),
    "alpha": Number(
        range=(lambda value: 0 < value <= 1, "in (0, 1]"),
        default=0.1,
        has_effect=lambda request: request.risk.kind == pb.RISK_KIND_CVAR,
        goes_with="risk='cvar'",
    ),
    "top_k": Number(
        range=(lambda value: 1 <= value < 2**53, "a whole number, at least 1"),
        has_effect=lambda request: request.rows.kind in TOP_ROWS,
        goes_with="rows='top_loss', rows='top_disagreement' or rows='loss_ends'",
    ),
    "subspace": Number(range=(lambda value: 1 <= value < 2**31, "a whole number, at least 1")),
    "learning_rate": Number(range=POSITIVE, has_effect=lambda request: request.HasField("path"), goes_with="path="),
}

DEFAULTS = pb.RefitRequest(
    balance=groups.Balance(
        method=groups.BALANCE_METHOD_NONE,
        missing_groups=groups.MISSING_GROUPS_REFUSE,
    ),
    repeats=1,
    penalty_scale=pb.PENALTY_SCALE_MEAN,
    center=pb.HeadSource(kind=pb.HEAD_KIND_ZERO),
    intercept=pb.INTERCEPT_FREE,
    link=pb.LINK_SOFTMAX,
    scaling=pb.Scaling(kind=pb.SCALING_KIND_ROWS),
    weights=pb.Weights(kind=pb.WEIGHTS_KIND_UNIFORM),
    rows=pb.Rows(kind=pb.ROWS_KIND_ALL),
    offset=pb.Offset(kind=pb.OFFSET_KIND_NONE),
    groups=pb.GROUP_SOURCE_STORED,
    risk=pb.Risk(kind=pb.RISK_KIND_MEAN),
    max_iterations=100,
)
for _name, _number in NUMBERS.items():
    if _number.default is not None:
        write_scalar(DEFAULTS, _name, _number.default)
TOLERANCE = 1e-6
"""Tolerance of a mean loss: Newton's last steps are nearly free, and leave logits some hundredths from the optimum's
where 1e-4 left tenths."""
ROBUST_TOLERANCE = 1e-4
"""Tolerance of a robust risk, whose last rounds cost as much as its first."""
PATH_DEFAULTS = pb.Path(
    momentum=0.0,
    weight_decay=0.0,
    clip_norm=0.0,
    batch_size=0,
    keep=pb.PATH_KEEP_LAST,
    start=pb.HeadSource(kind=pb.HEAD_KIND_ZERO),
    schedule=pb.PATH_SCHEDULE_CONSTANT,
)
SELECT_DEFAULTS = pb.Select(metric=pb.SELECT_METRIC_WORST_GROUP, last_of_equals=False, final=pb.SELECT_FINAL_CHOSEN)
