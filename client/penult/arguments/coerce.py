"""Single values that callers pass, checked and converted; arrays are in `coerce_arrays`.

A value is taken where it has one meaning (6.0 for a count, a NumPy scalar or a tensor without dimensions for a number)
and refused otherwise, by the name of its argument. A bool is no number and a number is no bool.
"""

import itertools
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from penult.errors import InvalidRequest, invalid, shown
from penult_proto.enums import Enumeration, choices_of

_P = ParamSpec("_P")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Message = TypeVar("_Message")
_Number = TypeVar("_Number", bound=int)

INT32, INT64, UINT64 = 2**31 - 1, 2**63 - 1, 2**64 - 1
"""The largest numbers that the wire carries."""
MOST_TEXT = 4096
"""Most characters of a name or a path."""
MOST_LISTED = 100_000
"""Most members of a list that is no array."""
MOST_SECONDS = 1e8
"""Longest time to wait, in seconds (three years): what None and infinity become."""


def number(argument: str, value: object, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number in [least, most]. Raises `InvalidRequest`."""
    plain = scalar(value)
    if isinstance(plain, bool | str | bytes) or not _has(plain, "__float__") or getattr(plain, "shape", ()) != ():
        raise invalid(f"{argument} must be a number; got {shown(value)}", argument=argument)
    try:
        result = float(cast("Any", plain))
    except Exception:
        raise invalid(f"{argument} must be a number; got {shown(value)}", argument=argument) from None
    if not (math.isfinite(result) and least <= result <= most):
        raise invalid(f"{argument} must be {_bounds(least, most)}finite; got {shown(value)}", argument=argument)
    return result


def whole(argument: str, value: object, least: int = 1, most: int = INT32) -> int:
    """A whole number in [least, most]; 6.0 is one. Raises `InvalidRequest`."""
    plain = scalar(value)
    try:
        if isinstance(plain, bool):
            raise TypeError
        result = operator.index(cast("Any", plain))
    except Exception:
        rounded = _whole_float(plain)
        if rounded is None:
            raise invalid(f"{argument} must be a whole number; got {shown(value)}", argument=argument) from None
        result = rounded
    if not least <= result <= most:
        bound = f"at least {least}" if result < least else f"at most {most}"
        raise invalid(f"{argument} must be a whole number of {bound}; got {shown(value)}", argument=argument)
    return result


def seed(value: object, argument: str = "seed") -> int:
    """A seed: a whole number in 0 .. 2^64 - 1. Raises `InvalidRequest`."""
    return whole(argument, value, 0, UINT64)


def flag(argument: str, value: object) -> bool:
    """True or False. Raises `InvalidRequest`."""
    plain = scalar(value)
    if not isinstance(plain, bool):
        raise invalid(f"{argument} must be True or False; got {shown(value)}", argument=argument)
    return plain


def seconds(value: object, argument: str = "timeout") -> float:
    """A time of at least 0; None and infinity are three years. Raises `InvalidRequest`."""
    plain = scalar(value)
    if plain is None or (isinstance(plain, float) and plain == math.inf):
        return MOST_SECONDS
    return min(number(argument, plain, 0), MOST_SECONDS)


def text(argument: str, value: object, *, most: int = MOST_TEXT, example: str = "") -> str:
    """Text that the wire can carry, of at most `most` characters. Raises `InvalidRequest`."""
    hint = f", such as {example}" if example else ""
    if isinstance(value, bytes | bytearray | np.bytes_):
        raise invalid(f"{argument} is text{hint}; got bytes: decode them, such as {shown(value)}.decode()")
    if not isinstance(value, str):
        raise invalid(f"{argument} is text{hint}; got {shown(value)}", argument=argument)
    # What the text is, also where a subclass such as an enumeration prints otherwise.
    plain = str.__str__(value)
    if len(plain) > most:
        raise invalid(f"{argument} has {len(plain)} characters, more than {most}: {shown(plain)}", argument=argument)
    if any("\ud800" <= character <= "\udfff" for character in plain):
        raise invalid(f"{argument} holds half of a character (a lone surrogate): {shown(plain)}", argument=argument)
    return plain


def optional_text(argument: str, value: object) -> str:
    """As `text`; empty for None, which leaves the choice to the server."""
    return "" if value is None else text(argument, value)


def check_choice(argument: str, value: object, legal: Iterable[str]) -> None:
    """Raise `InvalidRequest`, listing the legal names, unless `value` is one of them."""
    names = list(legal)
    if not isinstance(value, str) or value not in names:
        listed = ", ".join(repr(name) for name in names)
        near = get_close_matches(value, names, n=1) if isinstance(value, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise invalid(f"{argument} must be one of {listed}; got {shown(value)}{hint}", argument=argument, legal=listed)


def choice(argument: str, value: object, enum: Enumeration[_Number]) -> _Number:
    """The number on the wire of a name that a user may write. Raises `InvalidRequest`, listing the legal ones."""
    numbers = choices_of(enum)
    check_choice(argument, value, numbers)
    return numbers[cast("str", value)]


def path(argument: str, value: object) -> str:
    """A path, as text. Raises `InvalidRequest`."""
    try:
        found = os.fspath(cast("os.PathLike[Any]", value)) if _has(value, "__fspath__") else value
    except Exception:
        raise invalid(f"{argument} must name a place; got {shown(value)}", argument=argument) from None
    plain = text(argument, found, example="'/data/table.csv'")
    if not plain or "\0" in plain:
        raise invalid(f"{argument} must name a place; got {shown(value)}", argument=argument)
    return plain


def listed(argument: str, value: Iterable[_Value] | None, example: str) -> list[_Value]:
    """The members of a list, tuple, array or column in their order, none for None. Raises `InvalidRequest`.

    Text is a sequence of letters and a set has no order: both are refused, as is a dict.
    """
    if value is None:
        return []
    anything: object = value
    if isinstance(anything, str | bytes | Mapping | set | frozenset) or not _has(value, "__iter__"):
        raise invalid(f"{argument} takes a list, such as {example}; got {shown(value)}", argument=argument)
    try:
        found = list(itertools.islice(value, MOST_LISTED + 1))
    except Exception:
        raise invalid(f"{argument} takes a list, such as {example}; got {shown(value)}", argument=argument) from None
    if len(found) > MOST_LISTED:
        raise invalid(f"{argument} lists more than {MOST_LISTED} members: {shown(value)}", argument=argument)
    return found


def names(argument: str, value: Iterable[str] | None) -> list[str]:
    """A list of names, empty for None. Raises `InvalidRequest`; a single string, a sequence of letters, is refused."""
    if isinstance(value, str):
        raise invalid(f"{argument} takes a list of names, such as [{shown(value)}]; got the string {shown(value)}")
    return [text(f"{argument}[{i}]", one) for i, one in enumerate(listed(argument, value, "['first', 'second']"))]


def items(argument: str, value: Mapping[_Key, _Value] | None, example: str) -> list[tuple[_Key, _Value]]:
    """The items of a mapping, none for None; anything else is refused, with an `example` of what is meant."""
    if value is None:
        return []
    if not isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        raise invalid(f"{argument} takes a dict, such as {example}; got {shown(value)}", argument=argument)
    return list(value.items())


def record(argument: str, value: object, kind: type[_Value]) -> _Value:
    """A record of one kind. Raises `InvalidRequest`."""
    if not isinstance(value, kind):
        raise invalid(f"{argument} must be a penult.{kind.__name__}; got {shown(value)}", argument=argument)
    return value


def build(kind: Callable[_P, _Message], /, *args: _P.args, **fields: _P.kwargs) -> _Message:
    """A message of the wire; refuses what the checks of the arguments have let through.

    A value that protobuf refuses raises `InvalidRequest` that names the field.
    """
    try:
        return kind(*args, **fields)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise _refused(cast("Callable[..., object]", kind), fields, error) from None


def _refused(kind: Callable[..., object], fields: Mapping[str, object], error: Exception) -> InvalidRequest:
    for name, value in fields.items():
        try:
            kind(**{name: value})
        except (TypeError, ValueError, OverflowError, AttributeError) as own:
            return invalid(f"{name} cannot be sent ({own}); got {shown(value)}", argument=name)
    return invalid(f"the request cannot be sent: {error}")


def scalar(value: object) -> object:
    """The Python value in a NumPy scalar, or in an array or tensor without dimensions; anything else as it is."""
    if isinstance(value, np.generic) or (getattr(value, "shape", None) == () and _has(value, "item")):
        try:
            return cast("Any", value).item()
        except Exception:
            return cast("object", value)
    return value


def _whole_float(value: object) -> int | None:
    """The whole number that a float, fraction or decimal is; None for everything else."""
    if isinstance(value, bool | str | bytes) or not _has(value, "__float__") or getattr(value, "shape", ()) != ():
        return None
    try:
        rounded = int(cast("Any", value))
        return rounded if rounded == value else None
    except Exception:
        return None


def _has(value: object, name: str) -> bool:
    """Whether the type of a value has a method of that name; an instance may claim to have any."""
    return hasattr(type(value), name)


def _bounds(least: float, most: float) -> str:
    if math.isinf(least) and math.isinf(most):
        return ""
    return f"at least {least:g} and " if math.isinf(most) else f"in [{least:g}, {most:g}] and "
