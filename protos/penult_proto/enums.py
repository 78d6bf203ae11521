"""Enumerations of the wire by the names that their users write: `BALANCE_METHOD_SUBSETTING` is "subsetting".

A name is the value's own without the enumeration's prefix, in lower case. `..._UNSPECIFIED`, which is 0, has none: it
says that nothing was said.
"""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast

from google.protobuf.descriptor import EnumDescriptor

_Number = TypeVar("_Number", bound=int, covariant=True)
_Name = TypeVar("_Name", bound=str)

GIVEN_AS_VALUES = frozenset(
    {
        "HEAD_KIND_EXPLICIT",
        "HEAD_KIND_REFIT",
        "ROWS_KIND_EXPLICIT",
        "SCALING_KIND_SET",
        "WEIGHTS_KIND_EXPLICIT",
    }
)
"""Values that users name by giving the thing itself: a head, a refit, row ids, a feature set, an array of weights."""


class Enumeration(Protocol[_Number]):
    """An enumeration of a generated module, such as ``groups_pb2.BalanceMethod``."""

    DESCRIPTOR: EnumDescriptor

    def Value(self, name: str) -> _Number:  # noqa: N802  protobuf's own
        """The number of a value by its full name."""
        ...


def names_of(enum: Enumeration[_Number]) -> Mapping[str, _Number]:
    """Numbers by name, in the order of the ``.proto`` file."""
    return cast("Mapping[str, _Number]", _names_of(_descriptor(enum)))


def choices_of(enum: Enumeration[_Number]) -> Mapping[str, _Number]:
    """Numbers by the names that a user may write, in the order of the ``.proto`` file."""
    return cast("Mapping[str, _Number]", _choices_of(_descriptor(enum)))


def name_of(enum: Enumeration[Any] | EnumDescriptor, number: int) -> str | None:
    """The name of a number; None for 0 and for numbers that this version does not know."""
    return _names_by_number(_descriptor(enum)).get(number)


def name_or(enum: Enumeration[Any], number: int, unspecified: _Name) -> _Name:
    """The name of a number; `unspecified` for 0 and for numbers that this version does not know."""
    return cast("_Name", name_of(enum, number) or unspecified)


def _descriptor(enum: Enumeration[Any] | EnumDescriptor) -> EnumDescriptor:
    return enum if isinstance(enum, EnumDescriptor) else enum.DESCRIPTOR


@cache
def _names_of(descriptor: EnumDescriptor) -> Mapping[str, int]:
    prefix = _prefix(descriptor)
    found: dict[str, int] = {}
    for value in descriptor.values:
        if not value.name.startswith(prefix):
            raise ValueError(f"{value.name} of {descriptor.full_name} should begin with {prefix}")
        if value.number != 0:
            found[value.name.removeprefix(prefix).lower()] = value.number
    return MappingProxyType(found)


@cache
def _names_by_number(descriptor: EnumDescriptor) -> Mapping[int, str]:
    return {number: name for name, number in _names_of(descriptor).items()}


@cache
def _choices_of(descriptor: EnumDescriptor) -> Mapping[str, int]:
    given = {value.number for value in descriptor.values if value.name in GIVEN_AS_VALUES}
    return MappingProxyType({name: number for name, number in _names_of(descriptor).items() if number not in given})


def _prefix(descriptor: EnumDescriptor) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", descriptor.name).upper() + "_"
