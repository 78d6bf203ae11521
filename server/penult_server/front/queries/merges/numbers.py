"""Numbers and shares of a merge: those of its method alone, in their ranges, defaults filled in."""

import math
from collections.abc import Sequence

from penult_proto.errors import ErrorKind
from penult_proto.merge_methods import METHODS, MergeMethod
from penult_proto.v1 import merges_pb2
from penult_server.errors import ServiceError, unknown

WHOLE = ("k", "per_tensor", "rows")
"""Numbers without a fraction."""
SUM_ERROR = 1e-6
"""By which the sum of shares may differ from 1."""


def method_of(spec: merges_pb2.MergeSpec) -> MergeMethod:
    """The method that a request names. Raises ServiceError (UNKNOWN_METHOD), listing all."""
    if spec.method not in METHODS:
        raise unknown(ErrorKind.UNKNOWN_METHOD, "merging method", spec.method, list(METHODS))
    return METHODS[spec.method]


def number_of(spec: merges_pb2.MergeSpec, method: MergeMethod, name: str, n_parents: int) -> float:
    """One number, as given or by default. Raises ServiceError (INVALID_ARGUMENT)."""
    known = method.numbers[name]
    value = spec.numbers[name] if name in spec.numbers else known.default_of(n_parents)
    inside = known.low <= value <= known.high
    if known.extrapolates and spec.allow_extrapolation:
        inside = math.isfinite(value)
    if not inside or (name in WHOLE and value != int(value)):
        whole = "whole and " if name in WHOLE else ""
        mend = "; beyond it with allow_extrapolation=True" if known.extrapolates else ""
        raise invalid(name, f"{whole}in {known.low:g} .. {known.high:g}, {known.meaning}{mend}", value)
    return value


def complete_numbers(spec: merges_pb2.MergeSpec, method: MergeMethod, n_parents: int) -> None:
    """In place: every number of the method. Raises ServiceError (INVALID_ARGUMENT)."""
    for name in sorted(spec.numbers):
        if name not in method.numbers:
            takes = ", ".join(method.numbers) or "none"
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{name} has no effect on the method {method.name!r}, whose numbers are: {takes}; leave it out",
                field=name,
                argument=name,
            )
    for name in method.numbers:
        spec.numbers[name] = number_of(spec, method, name, n_parents)
    if method.name == "breadcrumbs" and spec.numbers["smallest"] + spec.numbers["largest"] >= 1:
        raise invalid("smallest", "such that smallest + largest is less than 1", spec.numbers["smallest"])


def check_shares(spec: merges_pb2.MergeSpec, method: MergeMethod, shares: Sequence[float | None]) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for shares that the method does not take, or that are no shares."""
    given = [one for one in shares if one is not None]
    if not given:
        return
    if not method.takes_shares:
        takes = ", ".join(one.name for one in METHODS.values() if one.takes_shares)
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"shares have no effect on the method {method.name!r}; leave them out, or take one of {takes}",
            field="shares",
            argument="shares",
        )
    if len(given) < len(shares):
        raise invalid("shares", f"as many as checkpoints, which are {len(shares)}", len(given))
    if not all(math.isfinite(one) for one in given):
        raise invalid("shares", "finite", given)
    if not any(given):
        raise invalid("shares", "not all 0", given)
    if spec.allow_extrapolation:
        return
    if min(given) < 0 or abs(sum(given) - 1) > SUM_ERROR:
        raise invalid("shares", "at least 0 with the sum 1, unless allow_extrapolation=True", given)


def invalid(argument: str, expected: str, got: object) -> ServiceError:
    """The refusal of an argument's value."""
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"{argument} must be {expected}; got {got!r:.200}",
        field=argument,
        argument=argument,
    )
