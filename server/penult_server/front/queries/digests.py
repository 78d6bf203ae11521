"""Digests of queries: equal ones mean the same query."""

import hashlib
import json

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

QUERY_VERSION = 6
"""Part of every digest; raised when the same query would get another answer than before."""


def query_digest(kind: str, request: Message) -> str:
    """Identity of a query whose names are resolved and whose defaults are filled in."""
    content = json.dumps([QUERY_VERSION, kind, MessageToDict(request)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
