"""Feature sets and groupings as the JSON that the registry keeps. One with many groups takes seconds each way, so texts
are kept in memory as they are parsed, and made before the registry's thread is asked."""

import threading
from collections import OrderedDict
from typing import TypeVar

from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

LONG = 2**16
"""Characters from which a text is kept as it was parsed."""
MOST_KEPT = 64

_kept: OrderedDict[str, bytes] = OrderedDict()
_lock = threading.Lock()


def text_of(message: Message) -> str:
    """The JSON of a message. May take long, in any thread."""
    text = MessageToJson(message)
    _keep(text, message)
    return text


def parsed(text: str, kind: type[M]) -> M:
    """The message of a text."""
    with _lock:
        content = _kept.get(text)
        if content is not None:
            _kept.move_to_end(text)
    if content is not None:
        return kind.FromString(content)
    found = Parse(text, kind())
    _keep(text, found)
    return found


def _keep(text: str, message: Message) -> None:
    if len(text) < LONG:
        return
    with _lock:
        _kept[text] = message.SerializeToString()
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
