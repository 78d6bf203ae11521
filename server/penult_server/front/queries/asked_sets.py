"""Which feature sets a question is about, so that it is sent to where they are in memory."""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

NAMING = frozenset({"calibration", "feature_set", "fit", "other"})
"""Fields that name a set whose rows are looked at. Of `train` only shares of groups are."""


def sets_of(request: Message) -> tuple[str, ...]:
    """The digests of the sets of a question that is resolved, each once, first that whose rows are gone through."""
    return tuple(dict.fromkeys(_named_in(request)))


def _named_in(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():  # in the order of their numbers
        one: Any = value
        if field.name == "evaluate" and isinstance(one, Mapping):
            yield from one.values()
        elif field.name in NAMING and isinstance(one, str):
            yield one
        elif isinstance(one, Message):
            yield from _named_in(one)
