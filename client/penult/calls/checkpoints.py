"""Checkpoints of a server: ``client.checkpoints``."""

import builtins

from penult.arguments.coerce import build
from penult.connection.rpc import Connection
from penult.results.records import Checkpoint
from penult.wire import decode
from penult.wire.references import checkpoint_digest
from penult_proto.v1 import checkpoints_pb2


class Checkpoints:
    """Stored models with their heads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, timeout: float = 30.0) -> builtins.list[Checkpoint]:
        """All checkpoints, newest first."""
        request = checkpoints_pb2.ListCheckpointsRequest()
        call = self._connection.stubs.checkpoints.ListCheckpoints
        return [decode.checkpoint(one) for one in self._connection.unary(call, request, timeout=timeout).checkpoints]

    def get(self, digest: Checkpoint | str, *, timeout: float = 30.0) -> Checkpoint:
        """The checkpoint of a digest, or of its start (at least 8 characters). Raises `NotFound`."""
        request = build(checkpoints_pb2.GetCheckpointRequest, digest=checkpoint_digest(digest, "digest"))
        call = self._connection.stubs.checkpoints.GetCheckpoint
        return decode.checkpoint(self._connection.unary(call, request, timeout=timeout))
