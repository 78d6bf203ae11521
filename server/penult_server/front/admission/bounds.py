"""Bounds on what a request lists, held against its bytes before anything is made of them.

A member of a list may take two bytes on the wire and hundreds in memory, and whatever is done for each is done before
anybody else is answered; so the members are counted in the bytes. What is no message is left to the parser.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.admission.table import BOUNDS, MOST_ITEMS

_CONTINUED = bytes(range(0x80, 0x100))
"""Bytes that end no number of varying length."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_PACKED = {
    FieldDescriptor.CPPTYPE_DOUBLE: 8,
    FieldDescriptor.CPPTYPE_FLOAT: 4,
    **dict.fromkeys(
        (
            FieldDescriptor.CPPTYPE_INT32,
            FieldDescriptor.CPPTYPE_INT64,
            FieldDescriptor.CPPTYPE_UINT32,
            FieldDescriptor.CPPTYPE_UINT64,
            FieldDescriptor.CPPTYPE_BOOL,
            FieldDescriptor.CPPTYPE_ENUM,
        ),
        0,
    ),
}
"""Bytes of a number in a list of them, 0 where they vary."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    most: int | None
    """Most members; None for a field that is not repeated."""
    width: int | None
    """Bytes of each of the numbers listed in one piece, as in `_PACKED`."""
    inner: "Mapping[int, _Field] | None"
    """The fields of a message that can hold lists."""


class _NotAMessageError(Exception):
    """The bytes end too early, or mean nothing."""


def check_bounds(content: bytes, message: Descriptor) -> None:
    """Raise ServiceError (TOO_LARGE) where the bytes of a message list more than `BOUNDS` allows."""
    fields = _fields(message)
    if not content or fields is None:
        return
    try:
        _Walk(content).through(0, len(content), fields)
    except (_NotAMessageError, IndexError):
        return


class _Walk:
    """One pass over the bytes of a message."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._n_items = 0

    def through(self, at: int, end: int, fields: Mapping[int, _Field]) -> None:
        """Count what the message at these bytes lists."""
        content, counts = self._content, Counter[int]()
        while at < end:
            self._n_items += 1
            if self._n_items > MOST_ITEMS:
                raise _too_large("a request", MOST_ITEMS)
            # Nearly every field takes a byte that says which, and one that says how long it is.
            key, size = content[at], content[at + 1] if at + 1 < end else 0x80
            if key < 0x80 and size < 0x80 and key & 7 == _BYTES:
                start, at = at + 2, at + 2 + size
            else:
                key, at = self._number(at)
                start, at = self._value(key & 7, at)
            field = fields.get(key >> 3)
            if at > end:
                raise _NotAMessageError
            if field is None:
                continue
            if field.most is not None:
                counts[key >> 3] += self._members(field, key & 7, start, at)
                if counts[key >> 3] > field.most:
                    raise _too_large(field.name, field.most)
            if field.inner is not None and key & 7 == _BYTES:
                self.through(start, at, field.inner)

    def _members(self, field: _Field, wire: int, start: int, end: int) -> int:
        if wire != _BYTES or field.width is None:
            return 1
        if field.width:
            return (end - start) // field.width
        return len(self._content[start:end].translate(None, _CONTINUED))

    def _value(self, wire: int, at: int) -> tuple[int, int]:
        """Where the value of a field begins and ends."""
        if wire == _BYTES:
            size, at = self._number(at)
            return at, at + size
        if wire == _VARINT:
            return at, self._number(at)[1]
        if wire in _WIDTHS:
            return at, at + _WIDTHS[wire]
        raise _NotAMessageError

    def _number(self, at: int) -> tuple[int, int]:
        """A number of varying length, and where it ends."""
        found = shift = 0
        while True:
            byte = self._content[at]
            at += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found, at
            shift += 7
            if shift > 63:
                raise _NotAMessageError


@cache
def _fields(message: Descriptor) -> Mapping[int, _Field] | None:
    """The fields of a message that list something, or hold messages that do; None where there are none.

    No message of the protocol holds one of its own type.
    """
    found: dict[int, _Field] = {}
    for field in message.fields:
        part = field.message_type
        is_map = part is not None and part.GetOptions().map_entry
        inner = _fields(part) if part is not None and not is_map else None
        if field.is_repeated:
            name = f"{message.name}.{field.name}"
            found[field.number] = _Field(name, BOUNDS.get(name, MOST_ITEMS), _PACKED.get(field.cpp_type), inner)
        elif inner is not None:
            found[field.number] = _Field(field.name, None, None, inner)
    return found or None


def _too_large(what: str, most: int) -> ServiceError:
    return ServiceError(
        ErrorKind.TOO_LARGE,
        f"{what} has more than the {most} members that one request may have; send them in several calls",
        field=what,
        limit=most,
    )
