"""Refit presets: what each of them fills in. Methods are data here; the one solver knows none of them."""

import math
from dataclasses import dataclass

from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1.refits_pb2 import RefitRequest
from penult_server.errors import ServiceError, unknown
from penult_server.messages import BALANCE_BY, BALANCE_METHODS

DEFAULT_TOLERANCE = 1e-6
DEFAULT_ITERATIONS = 100
MOST_REPEATS = 10_000


@dataclass(frozen=True, slots=True)
class Preset:
    """Values for the fields that a request leaves out."""

    method: "groups_pb2.BalanceMethod.ValueType"
    by: "groups_pb2.BalanceBy.ValueType"
    repeats: int
    l2: float | None
    standardize: bool = True


PRESETS: dict[str, Preset] = {
    # Plain logistic regression.
    "erm": Preset(groups_pb2.BALANCE_METHOD_NONE, groups_pb2.BALANCE_BY_CLASS, 1, 1e-3),
    # Equal numbers of every class; LaBonte et al. 2023 (class-balanced last-layer retraining).
    "class_balanced": Preset(groups_pb2.BALANCE_METHOD_SUBSETTING, groups_pb2.BALANCE_BY_CLASS, 10, 1e-3),
    # Equal numbers of every group, heads averaged; Kirichenko et al. 2022, with an L2 penalty for their L1.
    "dfr": Preset(groups_pb2.BALANCE_METHOD_SUBSETTING, groups_pb2.BALANCE_BY_GROUP, 10, 1e-3),
    "": Preset(groups_pb2.BALANCE_METHOD_NONE, groups_pb2.BALANCE_BY_CLASS, 1, None),
}


def expand(request: RefitRequest) -> None:
    """Fill in, in place, everything that the request left out, and check what it said.

    Raises ServiceError (INVALID_ARGUMENT).
    """
    if request.preset not in PRESETS:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "preset", request.preset, [name for name in PRESETS if name])
    preset = PRESETS[request.preset]
    balance = request.balance
    balance.method = balance.method or preset.method
    balance.by = balance.by or preset.by
    balance.ratio = balance.ratio or 1.0
    if not request.HasField("l2"):
        if preset.l2 is None:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                "without a preset, l2 must be given: the strength of the penalty l2/2 |W|^2 beside the mean loss, such "
                "as 0.001",
            )
        request.l2 = preset.l2
    if not request.HasField("standardize"):
        request.standardize = preset.standardize
    if not request.HasField("repeats"):
        request.repeats = preset.repeats
    request.tolerance = request.tolerance or DEFAULT_TOLERANCE
    request.max_iterations = request.max_iterations or DEFAULT_ITERATIONS
    _check(request)


def _check(request: RefitRequest) -> None:
    problems = [
        ("balance.method", request.balance.method in BALANCE_METHODS, "known to this server", request.balance.method),
        ("balance.by", request.balance.by in BALANCE_BY, "known to this server", request.balance.by),
        ("l2", math.isfinite(request.l2) and request.l2 >= 0, "a finite number, at least 0", request.l2),
        ("repeats", 1 <= request.repeats <= MOST_REPEATS, f"1 .. {MOST_REPEATS}", request.repeats),
        ("tolerance", 0 < request.tolerance < 1, "between 0 and 1", request.tolerance),
        ("max_iterations", 1 <= request.max_iterations <= 10_000, "1 .. 10000", request.max_iterations),
        (
            "ratio",
            math.isfinite(request.balance.ratio) and request.balance.ratio >= 1,
            "at least 1",
            request.balance.ratio,
        ),
    ]
    for name, is_legal, expected, got in problems:
        if not is_legal:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{name} must be {expected}, got {got}", field=name)
