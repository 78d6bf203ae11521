"""Digests of queries: equal ones mean the same query."""

import hashlib
import json
from functools import lru_cache

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

QUERY_VERSION = 6
"""Part of every digest; raised when the same query would get another answer than before."""


MOST_KEPT = 1_000
SMALL = 2**12
"""Bytes of a query up to which its digest is remembered: what is asked again is small."""


def query_digest(kind: str, request: Message) -> str:
    """Identity of a query whose names are resolved and whose defaults are filled in."""
    if request.ByteSize() > SMALL:
        return _digest(kind, request)
    return _known_digest(kind, type(request), request.SerializeToString(deterministic=True))


@lru_cache(MOST_KEPT)
def _known_digest(kind: str, of: type[Message], content: bytes) -> str:
    return _digest(kind, of.FromString(content))


def _digest(kind: str, request: Message) -> str:
    content = json.dumps([QUERY_VERSION, kind, MessageToDict(request)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
