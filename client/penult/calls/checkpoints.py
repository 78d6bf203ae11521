"""Checkpoints of a server: ``client.checkpoints``."""

from collections.abc import Sequence
from dataclasses import replace

from penult.arguments.coerce import build, optional_text
from penult.calls.catalog.paging import collect, describe
from penult.connection.rpc import Connection
from penult.results.lists.columns import checkpoint_row
from penult.results.lists.listing import Listing
from penult.results.records import Checkpoint, Run
from penult.wire import decode, encode
from penult.wire.encode import Since
from penult.wire.references import checkpoint_digest, run_id
from penult_proto.v1 import catalog_pb2, checkpoints_pb2


class Checkpoints:
    """Stored models with their heads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self,
        *,
        dataset: str | None = None,
        backbone: str | None = None,
        run: Run | str | None = None,
        tag: str | Sequence[str] | None = None,
        name: str | None = None,
        since: Since | None = None,
        user: str | None = None,
        limit: int | None = None,
        timeout: float = 30.0,
    ) -> Listing[Checkpoint]:
        """Checkpoints, newest first, as a list that prints as a table; all of them by default.

        Parameters
        ----------
        dataset, backbone : what was trained on what.
        run : the run that stored it first.
        tag, name, since, user, limit : as for `Runs.list`.
        timeout : seconds for each page of the list.
        """
        of, on = optional_text("dataset", dataset), optional_text("backbone", backbone)
        by = "" if run is None else run_id(run)
        call = self._connection.stubs.checkpoints.ListCheckpoints
        found = collect(
            lambda options, length: self._connection.unary(
                call,
                build(
                    checkpoints_pb2.ListCheckpointsRequest,
                    dataset=of,
                    backbone=on,
                    run=by,
                    options=options,
                    limit=length,
                ),
                timeout=timeout,
            ),
            lambda page: page.checkpoints,
            encode.list_options(tag=tag, name=name, since=since, user=user),
            limit,
        )
        return Listing(map(decode.checkpoint, found), checkpoint_row)

    def get(self, digest: Checkpoint | str, *, timeout: float = 30.0) -> Checkpoint:
        """The checkpoint of a digest, of its start (at least 4 characters) or of a name. Raises `NotFound`."""
        request = build(checkpoints_pb2.GetCheckpointRequest, digest=checkpoint_digest(digest, "digest"))
        call = self._connection.stubs.checkpoints.GetCheckpoint
        return decode.checkpoint(self._connection.unary(call, request, timeout=timeout))

    def describe(
        self,
        checkpoint: Checkpoint | str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 30.0,
    ) -> Checkpoint:
        """Name a checkpoint, tag it, write a note; see `Runs.describe`. Returns it."""
        digest, notes = describe(
            self._connection,
            catalog_pb2.THING_KIND_CHECKPOINT,
            checkpoint_digest(checkpoint),
            name=name,
            tags=tags,
            note=note,
            timeout=timeout,
        )
        return replace(self.get(digest, timeout=timeout), notes=notes)
