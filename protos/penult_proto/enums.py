"""Enumerations of the wire by the names that their users write: `BALANCE_METHOD_SUBSETTING` is "subsetting".

A name is the value's own without the enumeration's prefix, in lower case. `..._UNSPECIFIED`, which is 0, has none: it
says that nothing was said.
"""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


def names_of(enum: "EnumTypeWrapper | EnumDescriptor") -> Mapping[str, int]:
    """Numbers by name, in the order of the ``.proto`` file."""
    return _names_of(enum if isinstance(enum, EnumDescriptor) else enum.DESCRIPTOR)


def name_of(enum: "EnumTypeWrapper | EnumDescriptor", number: int) -> str | None:
    """The name of a number; None for 0 and for numbers that this version does not know."""
    descriptor = enum if isinstance(enum, EnumDescriptor) else enum.DESCRIPTOR
    return {value: name for name, value in _names_of(descriptor).items()}.get(number)


@cache
def _names_of(descriptor: EnumDescriptor) -> Mapping[str, int]:
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", descriptor.name).upper() + "_"
    found: dict[str, int] = {}
    for value in descriptor.values:
        if not value.name.startswith(prefix):
            raise ValueError(f"{value.name} of {descriptor.full_name} should begin with {prefix}")
        if value.number != 0:
            found[value.name.removeprefix(prefix).lower()] = value.number
    return MappingProxyType(found)
