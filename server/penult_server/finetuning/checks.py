"""Checks of single fields of a request; every refusal names the field, what was expected and what was got."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

Choice = TypeVar("Choice")
Number = TypeVar("Number", bound=int)


def from_wire(field: str, value: Number, choices: Mapping[Number, Choice]) -> Choice:
    """The choice of a number. Raises ServiceError (INVALID_ARGUMENT) for one of a newer protocol."""
    if value not in choices:
        raise invalid(field, f"one of the numbers {', '.join(map(str, choices))}", value)
    return choices[value]


def check_whole(field: str, value: int, lowest: int, highest: int) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) unless lowest <= value <= highest."""
    if not lowest <= value <= highest:
        raise invalid(field, f"in {lowest} .. {highest}", value)


def check_real(field: str, value: float, expected: str, holds: bool) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) unless `holds` and the value is finite."""
    # NaN fails every comparison; infinity passes some.
    if not (holds and math.isfinite(value)):
        raise invalid(field, f"finite and {expected}", value)


def check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) unless the value is one of the choices."""
    if value not in choices:
        raise invalid(field, f"one of {', '.join(choices)}", value)


def invalid(field: str, expected: str, got: object) -> ServiceError:
    """The refusal of a field's value."""
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{field} must be {expected}; got {got!r}", field=field, got=got)
