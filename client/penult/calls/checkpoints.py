"""Checkpoints of a server: ``client.checkpoints``."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from penult.arguments.coerce import build, check_choice, flag, optional_text
from penult.arguments.instead import wrong_sort
from penult.calls import storage
from penult.calls.catalog.paging import collect, describe
from penult.connection.rpc import Connection
from penult.errors import NotFound, ServerBug
from penult.results.heads import Head
from penult.results.lists.columns import checkpoint_row
from penult.results.lists.listing import Listing
from penult.results.records import Checkpoint, Run, RunManifest
from penult.results.refits import Refit
from penult.results.space.deletion import Deletion
from penult.types import ExportFormat
from penult.wire import decode, encode
from penult.wire.encode import Since
from penult.wire.exports.about import Origin
from penult.wire.exports.destination import destination
from penult.wire.exports.writing import Request, write_export
from penult.wire.references import checkpoint_digest, run_id
from penult_proto.v1 import arrays_pb2, catalog_pb2, checkpoints_pb2, runs_pb2


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

    def export(
        self,
        checkpoint: Checkpoint | str,
        path: "str | os.PathLike[str]",
        *,
        format: ExportFormat | None = None,
        head: Refit | Head | None = None,
        overwrite: bool = False,
        timeout: float = 3600.0,
    ) -> Path:
        """Write a checkpoint into a directory on this machine that its library loads; the directory's absolute path.

        Beside the weights stand a model card (``README.md``: classes, preprocessing, accuracies by group with their
        intervals, provenance) and ``penult.json`` with the same facts for programs. The files come in pieces, are
        verified as they pass, and become the directory when all of them have come: after an error there is none.

            client.checkpoints.export(run.checkpoints[-1], "birds", head=refit)
            timm.create_model("local-dir:birds", pretrained=True)

        Parameters
        ----------
        checkpoint : a record, a digest, or the start of one (at least 8 characters).
        path : a directory that is not there, or empty.
        format : "timm", loaded by ``timm.create_model("local-dir:PATH", pretrained=True)``; "transformers", loaded by
            ``from_pretrained`` of the automatic classes; "safetensors", the tensors as they are stored. By default the
            library of the model.
        head : a refit or a head in the place of the checkpoint's own, fitted on features of this checkpoint. Its rows
            are put in the order of the checkpoint's classes by name, its float64 becomes the float32 of the weights.
        overwrite : replace an earlier export in this directory.
        timeout : seconds.

        Raises
        ------
        InvalidRequest : the path is taken; the format cannot express the model; kinds ``wrong_shape``,
            ``other_classes``, ``other_checkpoint``, ``not_finite`` for the head.
        NotFound : kind ``unknown_checkpoint``.
        StoreCorrupt : a stored file is missing or altered.
        """
        if format is not None:
            check_choice("format", format, get_args(ExportFormat))
        if head is not None and not isinstance(head, Refit | Head):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong_sort("head", "head", head, "a Refit or a Head")
        target = destination(path, overwrite=flag("overwrite", overwrite))
        found = self.get(checkpoint)
        # A record of a run says which of its steps this is, where several runs share the checkpoint.
        origin = self._origin(checkpoint if isinstance(checkpoint, Checkpoint) else found)

        def is_same_model(digest: str) -> bool:
            try:
                return self.get(digest).model == found.model
            except NotFound:
                return False

        request = build(checkpoints_pb2.ReadCheckpointRequest, digest=found.digest)
        call = self._connection.stubs.checkpoints.ReadCheckpoint
        with self._connection.stream(call, request, timeout=timeout) as messages:
            first = next(messages, None)
            if first is None or first.WhichOneof("kind") != "header":
                raise ServerBug("the server sent no header before the files")
            chunks: Iterator[arrays_pb2.ArrayChunk] = (message.chunk for message in messages)
            write_export(
                target,
                first.header,
                chunks,
                Request(format=format, head=head, origin=origin, is_same_model=is_same_model),
            )
        return target

    def _origin(self, checkpoint: Checkpoint) -> Origin:
        """Run and recipe of a checkpoint, as far as they are there."""
        run: Run | None = None
        manifest: RunManifest | None = None
        request = build(runs_pb2.GetRunRequest, id=checkpoint.run_id)
        stubs = self._connection.stubs.runs
        if checkpoint.run_id:
            try:
                run = decode.run(self._connection.unary(stubs.GetRun, request, timeout=30.0))
                manifest = decode.run_manifest(self._connection.unary(stubs.GetRunManifest, request, timeout=30.0))
            except NotFound:
                pass
        return Origin(checkpoint=checkpoint, run=run, manifest=manifest)

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
