"""Checkpoints of a server: ``client.checkpoints``."""

import builtins
from collections.abc import Sequence
from pathlib import Path

from penult.arguments.coerce import build, choice, flag, names, number, optional_text, path, text, whole
from penult.arguments.coerce import listed as listed_values
from penult.arguments.coerce import seed as a_seed
from penult.calls import jobs
from penult.calls.files import digest_of, local_files, send_files
from penult.connection.rpc import Connection
from penult.errors import PreconditionFailed
from penult.results.records import Checkpoint, Dataset
from penult.types import FileHead, ForeignObjects, PoolingName
from penult.wire import decode
from penult.wire.references import checkpoint_digest, dataset_name
from penult_proto.errors import ErrorKind
from penult_proto.v1 import checkpoints_pb2, jobs_pb2, runs_pb2

SENDINGS = 3
"""How often files are sent to a server that has removed them before their job was made."""


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
        timeout: float = 3600.0,
    ) -> "jobs.Job[Checkpoint]":
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
        source : a file of weights, or a directory with a ``config.json``.
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
        timeout : seconds for sending the files and starting the job.

        Raises
        ------
        InvalidRequest : an argument or a file is not as described; a head whose rows nobody names says how many it has.
        NotFound : kinds ``unknown_backbone``, ``unknown_dataset``.
        PreconditionFailed : kind ``weights_unavailable``, by the job: the tensors are not those of the architecture.
        Busy : the server's disk is full, or too many jobs are waiting.
        """
        place = path("source", source)
        files = [] if flag("on_server", on_server) else local_files("source", place)
        spec = build(
            jobs_pb2.ImportCheckpointSpec,
            content=digest_of(files) if files else "",
            path="" if files else text("source", place),
            name=Path(place).expanduser().absolute().name if files else Path(place).name,
            backbone="" if backbone is None else path("backbone", backbone),
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
                return jobs.create(self._connection, request, jobs.checkpoint_result, timeout=timeout)
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
