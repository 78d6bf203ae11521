"""Trained heads that callers name: looked up by the server, as every name is."""

from typing import TypeVar

from penult.arguments.coerce import build, text
from penult.connection.rpc import Connection
from penult.results.records import Checkpoint
from penult.results.refits import Refit
from penult.wire import decode, decode_refits
from penult_proto.v1 import catalog_pb2

H = TypeVar("H")


def looked_up(
    connection: Connection, head: H | str, argument: str = "head", *, timeout: float = 30.0
) -> H | Refit | Checkpoint:
    """A head as it was given; for a name, a digest or the start of one, the refit or the checkpoint that it stands for.

    Raises `NotFound` when it is neither, `InvalidRequest` when it is both.
    """
    if not isinstance(head, str):
        return head
    request = build(catalog_pb2.GetHeadRequest, name=text(argument, head))
    found = connection.unary(connection.stubs.catalog.GetHead, request, timeout=timeout)
    return decode_refits.refit(found.refit) if found.HasField("refit") else decode.checkpoint(found.checkpoint)
