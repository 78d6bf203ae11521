"""What makes two queries the same."""

import hashlib
import json

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

QUERY_VERSION = 6
"""Raised when the same query would be answered otherwise than before."""


def query_digest(kind: str, request: Message) -> str:
    """Identity of a query whose names are resolved and whose defaults are filled in."""
    content = json.dumps([QUERY_VERSION, kind, MessageToDict(request)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
