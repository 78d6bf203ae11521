"""Checkpoints of a server: ``client.checkpoints``."""

import builtins

from penult.arguments.coerce import build
from penult.calls import storage
from penult.connection.rpc import Connection
from penult.results.records import Checkpoint
from penult.results.space.deletion import Deletion
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

    def delete(
        self,
        checkpoint: Checkpoint | str,
        *,
        dependents: bool = False,
        dry_run: bool = False,
        timeout: float = storage.DELETE_SECONDS,
    ) -> Deletion:
        """Delete one checkpoint. Runs that have it stay, with their metrics, and no longer list it.

        What depends on it is refused, and with ``dependents=True`` deleted: feature sets extracted from it, and runs
        that started from it or repeat its errors. A run takes its checkpoints with it: see ``client.runs.delete``.

        Parameters
        ----------
        dependents : delete what depends on it, too.
        dry_run : only say what would go, what stays, and what is in the way.
        timeout : seconds.

        Raises
        ------
        NotFound : there is no such checkpoint.
        PreconditionFailed : kind ``in_use``: something depends on it, or a job that waits or runs needs or makes it;
            the message lists what, with bytes. Nothing was deleted.
        """
        return storage.delete(
            self._connection,
            "checkpoint",
            checkpoint_digest(checkpoint),
            dependents=dependents,
            dry_run=dry_run,
            timeout=timeout,
        )
