"""Feature sets and groupings as the JSON that the registry keeps. One with many groups takes seconds each way, so texts
are kept in memory as they are parsed, and made before the registry's thread is asked."""

import threading
from collections import OrderedDict
from functools import lru_cache
from typing import TypeVar

from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

LONG = 2**16
"""Characters from which a text is kept as it was parsed."""
MOST_KEPT = 64
MOST_SHORT = 256
"""Shorter texts that are kept, too: every question about a set parses its."""

_kept: OrderedDict[str, bytes] = OrderedDict()
_lock = threading.Lock()


def text_of(message: Message) -> str:
    """The JSON of a message. May take long, in any thread."""
    text = MessageToJson(message)
    _keep(text, message)
    return text


def parsed(text: str, kind: type[M]) -> M:
    """The message of a text."""
    if len(text) < LONG:
        return kind.FromString(_short(text, kind))
    with _lock:
        content = _kept.get(text)
        if content is not None:
            _kept.move_to_end(text)
    if content is not None:
        return kind.FromString(content)
    found = Parse(text, kind())
    _keep(text, found)
    return found


@lru_cache(MOST_SHORT)
def _short(text: str, kind: type[Message]) -> bytes:
    return Parse(text, kind()).SerializeToString()


def _keep(text: str, message: Message) -> None:
    if len(text) < LONG:
        return
    with _lock:
        _kept[text] = message.SerializeToString()
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
