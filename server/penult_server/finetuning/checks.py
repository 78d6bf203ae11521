"""Checks of single fields of a request; every refusal names the argument, what was expected and what was got."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from penult_proto.errors import ErrorKind
from penult_proto.fields.finetune import path_of, written
from penult_proto.v1 import runs_pb2
from penult_server.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Whole:
    """The annotation of a field, or of every member of one, that holds whole numbers of `lowest` .. `highest`."""

    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class Real:
    """The annotation of a field that holds finite numbers of a range."""

    expected: str
    """The range in words."""
    holds: Callable[[float], bool]


AT_LEAST_0 = Real("at least 0", lambda value: value >= 0)
ABOVE_0 = Real("greater than 0", lambda value: value > 0)
FROM_0_BELOW_1 = Real("in [0, 1)", lambda value: 0 <= value < 1)
ABOVE_0_TO_1 = Real("in (0, 1]", lambda value: 0 < value <= 1)


def check_fields(config: object) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) where a dataclass's field has a value that its annotation excludes."""
    for field, hint in annotations_of(type(config)).items():
        value = getattr(config, field)
        kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if get_origin(kind) is Literal:
            check_choice(field, value, get_args(kind))
        for limits in annotated(hint):
            if isinstance(limits, Real):
                check_real(field, value, limits.expected, limits.holds(value))
            elif isinstance(limits, Whole):
                for one in _members(value):
                    check_whole(field, one, limits.lowest, limits.highest)


def _members(value: Any) -> tuple[Any, ...]:
    """The members of a tuple; any other value alone."""
    return value if isinstance(value, tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]


@cache
def annotations_of(kind: type) -> Mapping[str, Any]:
    """Types of a dataclass's fields, with what they are annotated with."""
    return get_type_hints(kind, include_extras=True)


def annotated(hint: Any) -> tuple[Any, ...]:
    """What a type is annotated with."""
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


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


class WrongValueError(ServiceError):
    """The refusal of a field's value; the message calls it as the user of a request writes it."""

    def __init__(self, field: str, expected: str, got: object, spec: runs_pb2.FinetuneSpec | None = None) -> None:
        path = path_of(field)
        said = written(path, spec)
        super().__init__(
            ErrorKind.INVALID_ARGUMENT,
            f"{said} must be {expected}; got {got!r}",
            field=path,
            argument=said,
            got=got,
        )
        self._told = field, expected, got

    def asked_by(self, spec: runs_pb2.FinetuneSpec) -> "WrongValueError":
        """The refusal of this value in a request, whose choices say how its user writes it."""
        return WrongValueError(*self._told, spec)


def invalid(field: str, expected: str, got: object) -> WrongValueError:
    """The refusal of a field's value, by the name of the field or its path in the request."""
    return WrongValueError(field, expected, got)
