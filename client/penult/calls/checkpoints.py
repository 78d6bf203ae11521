"""Checkpoints of a server: ``client.checkpoints``."""

import builtins
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from penult.arguments.coerce import (
    build,
    check_choice,
    choice,
    flag,
    names,
    number,
    optional_text,
    text,
    whole,
)
from penult.arguments.coerce import listed as listed_values
from penult.arguments.coerce import path as path_text
from penult.arguments.coerce import seed as a_seed
from penult.arguments.instead import wrong_sort
from penult.calls import jobs, storage
from penult.calls.catalog.heads import looked_up
from penult.calls.catalog.paging import collect, describe
from penult.calls.files import digest_of, local_files, send_files
from penult.calls.job import Job, checkpoint_result
from penult.calls.waiting.queries import shown_name, transferring
from penult.connection.rpc import Connection
from penult.errors import NotFound, PreconditionFailed, ServerBug
from penult.results.heads import Head
from penult.results.lists.columns import checkpoint_row
from penult.results.lists.listing import Listing
from penult.results.records import Checkpoint, Dataset, Run, RunManifest
from penult.results.refits import Refit
from penult.results.space.deletion import Deletion
from penult.types import ExportFormat, FileHead, ForeignObjects, PoolingName
from penult.wire import decode, encode
from penult.wire.encode import Since
from penult.wire.references import checkpoint_digest, dataset_name, run_id
from penult_proto.errors import ErrorKind
from penult_proto.v1 import arrays_pb2, catalog_pb2, checkpoints_pb2, jobs_pb2, runs_pb2

if TYPE_CHECKING:
    from penult.wire.exports.about import Origin

SENDINGS = 3
"""How often files are sent to a server that has removed them before their job was made."""


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
        found = self.get(digest, timeout=timeout)
        return replace(found, notes=(*found.notes, *notes))

    def export(
        self,
        checkpoint: Checkpoint | str,
        path: "str | os.PathLike[str]",
        *,
        format: ExportFormat | None = None,
        head: Refit | Head | str | None = None,
        overwrite: bool = False,
        timeout: float = 3600.0,
        progress: bool | None = None,
    ) -> Path:
        """Write a checkpoint into a directory on this machine that its library loads; the directory's absolute path.

        Beside the weights stand a model card (``README.md``: classes, preprocessing, accuracies by group with their
        intervals, provenance) and ``penult.json`` with the same facts for programs. The files come in pieces, are
        verified as they pass, and become the directory when all of them have come: after an error there is none.

            client.checkpoints.export(run.checkpoints[-1], "birds", head=refit)
            timm.create_model("local-dir:birds", pretrained=True)

        Parameters
        ----------
        checkpoint : a record, a digest, the start of one (at least 4 characters), or a name.
        path : a directory that is not there, or empty.
        format : "timm", loaded by ``timm.create_model("local-dir:PATH", pretrained=True)``; "transformers", loaded by
            ``from_pretrained`` of the automatic classes; "safetensors", the tensors as they are stored. By default the
            library of the model.
        head : a refit, its name or digest, or a head in the place of the checkpoint's own, fitted on features of this
            checkpoint. Its rows are put in the order of the checkpoint's classes by name, its float64 becomes the
            float32 of the weights.
        overwrite : replace an earlier export in this directory.
        timeout : seconds.
        progress : show how much has come, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : the path is taken; the format cannot express the model; kinds ``wrong_shape``,
            ``other_classes``, ``other_checkpoint``, ``not_finite`` for the head.
        NotFound : kind ``unknown_checkpoint``.
        StoreCorrupt : a stored file is missing or altered.
        """
        if format is not None:
            check_choice("format", format, get_args(ExportFormat))
        given = looked_up(self._connection, head)
        if given is not None and not isinstance(given, Refit | Head):
            raise wrong_sort("head", "head", given, "a Refit, its name or digest, or a Head")
        # Imported here: few programs export.
        from penult.wire.exports.destination import destination
        from penult.wire.exports.receiving import announced_bytes
        from penult.wire.exports.writing import Request, write_export

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
        with (
            transferring(f"export of {shown_name(found)}", "receiving", progress) as transfer,
            self._connection.stream(call, request, timeout=timeout) as messages,
        ):
            first = next(messages, None)
            if first is None or first.WhichOneof("kind") != "header":
                raise ServerBug("the server sent no header before the files")
            transfer.expect(announced_bytes(first.header))
            chunks: Iterator[arrays_pb2.ArrayChunk] = (message.chunk for message in transfer.counted(messages))
            write_export(
                target,
                first.header,
                chunks,
                Request(format=format, head=given, origin=origin, is_same_model=is_same_model),
            )
        return target

    def _origin(self, checkpoint: Checkpoint) -> "Origin":
        """Run and recipe of a checkpoint, as far as they are there."""
        from penult.wire.exports.about import Origin

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

    def import_(
        self,
        source: str | Path,
        *,
        backbone: str | Path | None = None,
        dataset: Dataset | str | None = None,
        attribute: str | None = None,
        classes: Sequence[str] | None = None,
        head: FileHead = "keep",
        on_server: bool = False,
        foreign_objects: ForeignObjects = "refuse",
        image_size: int | None = None,
        image_resize: int | None = None,
        image_mean: Sequence[float] | None = None,
        image_std: Sequence[float] | None = None,
        interpolation: str | None = None,
        max_tokens: int | None = None,
        pooling: PoolingName | None = None,
        seed: int | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 3600.0,
    ) -> "Job[Checkpoint]":
        """Import a model that was trained elsewhere, with its head; ``.wait()`` gives the `Checkpoint`.

        The files go from this machine to the server, unless it has them already; nothing in them is run on either. The
        job then checks that head(features) gives the model's logits. ``.notes`` of the checkpoint says which weights of
        the files were taken and what each row of the head is called. The same import again is the same job::

            job = client.checkpoints.import_("erm.ckpt", backbone="resnet50", classes=["landbird", "waterbird"])
            sets = client.extract(job.wait(), dataset="waterbirds").wait()

        Read are safetensors; files of ``torch.save`` with tensors by their names, at the top or under a usual key: of
        Lightning (``state_dict``), timm (``state_dict``, ``model``, ``model_ema``, averaged ones first), SubpopBench
        (``model_dict``) and WILDS (``algorithm``); and directories of timm or transformers. What stands before the
        names, such as ``model.`` or ``module.``, is left out, the longest that fits.

        Parameters
        ----------
        source : a file of weights, or a directory with a ``config.json``. One that `export` wrote, in any format, needs
            no other argument: what its ``penult.json`` says of classes and inputs stands for what is left out.
        backbone : the architecture of a file: a timm model, or a directory or hub name of transformers on the server's
            machine. Left out for a directory, which says itself what it is.
        dataset : what it was trained on, if the server has it: it must have the same classes by name, in any order, and
            is the one that `extract` takes by default.
        attribute : of the dataset; its first by default.
        classes : names of the head's rows, in their order. Needed where the files do not name them: of transformers
            ``id2label``, of timm ``label_names``, of others ``classes`` or ``class_to_idx``.
        head : "keep" the one in the files; "new" draws one, by `seed`, for `classes` or the classes of `dataset`.
        on_server : `source` is an absolute path on the server's machine, and nothing is sent.
        foreign_objects : what to do about a PyTorch file that holds other objects than tensors: "refuse" it, or
            "ignore" them and read the tensors. They are never made or run.
        image_size, image_resize : side in pixels of the images that it reads, and of the shorter side before the center
            crop; by default the architecture's own size, without a crop.
        image_mean, image_std : three numbers each, for pixels in 0 .. 1; interpolation : "bilinear", "bicubic" or
            another of Pillow's. By default the architecture's own: give those that it was trained with.
        max_tokens, pooling : of a model of texts, as in `finetune`.
        seed : of a new head.
        name, tags, note : of the checkpoint, once it is there; a name moves here. See `describe`.
        timeout : seconds for sending the files and starting the job.

        Raises
        ------
        InvalidRequest : an argument or a file is not as described; a head whose rows nobody names says how many it has.
        NotFound : kinds ``unknown_backbone``, ``unknown_dataset``.
        PreconditionFailed : kind ``weights_unavailable``, by the job: the tensors are not those of the architecture.
        Busy : the server's disk is full, or too many jobs are waiting.
        """
        card = encode.card(name, tags, note)
        place = path_text("source", source)
        files = [] if flag("on_server", on_server) else local_files("source", place)
        spec = build(
            jobs_pb2.ImportCheckpointSpec,
            content=digest_of(files) if files else "",
            path="" if files else text("source", place),
            name=Path(place).expanduser().absolute().name if files else Path(place).name,
            backbone="" if backbone is None else path_text("backbone", backbone),
            dataset="" if dataset is None else dataset_name(dataset),
            attribute=optional_text("attribute", attribute),
            classes=names("classes", classes),
            head=choice("head", head, runs_pb2.HeadName),
            foreign_objects=choice("foreign_objects", foreign_objects, jobs_pb2.ForeignObjects),
            image_size=None if image_size is None else whole("image_size", image_size, 0),
            image_resize=None if image_resize is None else whole("image_resize", image_resize, 0),
            image_mean=_channels("image_mean", image_mean),
            image_std=_channels("image_std", image_std),
            interpolation=optional_text("interpolation", interpolation),
            max_tokens=None if max_tokens is None else whole("max_tokens", max_tokens),
            pooling=runs_pb2.POOLING_NAME_UNSPECIFIED
            if pooling is None
            else choice("pooling", pooling, runs_pb2.PoolingName),
            seed=None if seed is None else a_seed(seed),
        )
        request = jobs_pb2.JobSpec(import_checkpoint=spec)
        for sending in range(SENDINGS + 1):
            try:
                return jobs.create(self._connection, request, checkpoint_result, card=card, timeout=timeout)
            except PreconditionFailed as error:
                if sending == SENDINGS or error.kind != ErrorKind.FILES_MISSING or "upload" not in error.metadata:
                    raise
            send_files(self._connection, files, timeout=timeout)
        raise AssertionError("the last sending returns or raises")


def _channels(argument: str, values: Sequence[float] | None) -> builtins.list[float]:
    """Numbers of red, green and blue. Raises `InvalidRequest`."""
    return (
        [] if values is None else [number(argument, one) for one in listed_values(argument, values, "[0.5, 0.5, 0.5]")]
    )
