"""From what a client asked to what a worker does: names looked up, defaults filled in, one digest.

The digest says when two requests are the same work. It covers contents, never names alone: the dataset's
digest, the identity of the pretrained weights, and the number of our recipe.
"""

import asyncio
import hashlib
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2, runs_pb2
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.cards_pb2 import ListOptions
from penult_server.backbones.catalog import weights_identity
from penult_server.datasets.catalog import describe_packaged, open_dataset
from penult_server.datasets.model import Modality
from penult_server.datasets.shown import shown_examples
from penult_server.errors import ServiceError, unknown
from penult_server.finetuning.checks import check_whole
from penult_server.finetuning.config import MAX_BATCH
from penult_server.finetuning.keep import ALL, check_ranked
from penult_server.finetuning.request import complete, expand
from penult_server.finetuning.start import Start
from penult_server.front.queries.imports import complete_import, import_identity
from penult_server.front.queries.merges.curves import complete_curve
from penult_server.front.queries.merges.reports import complete_report
from penult_server.front.queries.merges.request import complete_merge
from penult_server.front.queries.named_files import NamedFiles
from penult_server.front.queries.starts import complete_start
from penult_server.front.queries.used_groupings import resolve_training_grouping
from penult_server.front.registry_thread import Registry
from penult_server.merging.tensors import VERSION as MERGE_VERSION
from penult_server.messages import dataset_to_proto
from penult_server.named.roots import READING
from penult_server.named.specs import check_named, named_paths
from penult_server.records import check_no_id

RECIPE = 4
"""Part of every digest; raised when the same spec would train or extract something else than before."""
EXTRACTION_BATCH = 64
"""Examples per forward pass, unless the request says so."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A spec with every name resolved."""

    spec: pb.JobSpec
    digest: str
    dataset_digest: str


def check_name(name: str, what: str) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) unless `name` can be the name of a thing: not like an id, either."""
    if not NAME.fullmatch(name):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the name of a {what} is a small letter or digit, then small letters, digits, '.', '_' or '-', at most 63 "
            f"together; got {name!r}",
            name=name,
        )
    check_no_id(name, what)


class Resolver:
    """Looks names up."""

    def __init__(self, registry: Registry, root: Path, files: NamedFiles) -> None:
        self._registry = registry
        self._root = root
        self._files = files

    async def datasets(self) -> list[datasets_pb2.Dataset]:
        """Packaged and registered datasets."""
        packaged = await asyncio.to_thread(lambda: [dataset_to_proto(info) for info in describe_packaged().values()])
        return packaged + await self._registry.run(self._registry.catalog.datasets)

    async def dataset_page(self, options: ListOptions, limit: int) -> tuple[list[datasets_pb2.Dataset], str]:
        """Packaged datasets on the first page, where what is asked for can be true of them; then registered ones."""
        found: list[datasets_pb2.Dataset] = []
        if not (options.page or options.tags or options.user or options.HasField("since")):
            packaged = await asyncio.to_thread(
                lambda: [dataset_to_proto(info) for info in describe_packaged().values()]
            )
            found = [one for one in packaged if not options.name or fnmatchcase(one.name, options.name)]
        catalog = self._registry.catalog
        registered, next_page = await self._registry.run(catalog.dataset_page, options, limit)
        return found + registered, next_page

    async def dataset(self, name: str) -> datasets_pb2.Dataset:
        """Raises ServiceError (UNKNOWN_DATASET), listing those that exist."""
        datasets = await self.datasets()
        for dataset in datasets:
            if dataset.name == name:
                return dataset
        raise unknown(ErrorKind.UNKNOWN_DATASET, "dataset", name, [dataset.name for dataset in datasets])

    async def shown_examples(
        self, name: str, split: str, row_ids: NDArray[np.uint64], side: int
    ) -> list[datasets_pb2.ShownExample]:
        """Examples of a dataset, by its name or digest, as a person sees them.

        Raises ServiceError: UNKNOWN_DATASET, and what `datasets.shown.shown_examples` raises.
        """
        datasets = await self.datasets()
        known = {key: one for one in datasets for key in (one.digest, one.name)}
        if name not in known:
            raise unknown(ErrorKind.UNKNOWN_DATASET, "dataset", name, [one.name for one in datasets])
        dataset = known[name]
        return await self._files.run(
            lambda: shown_examples(
                open_dataset(dataset.name, dataset.digest, self._root), split, row_ids, side, READING.get().beat
            )
        )

    async def resolve(self, spec: pb.JobSpec, request_id: str = "") -> Resolved:
        """Check and complete a spec.

        Raises ServiceError: INVALID_ARGUMENT, UNKNOWN_DATASET, UNKNOWN_SPLIT, ATTRIBUTE_MISSING,
        UNKNOWN_BACKBONE, UNKNOWN_CHECKPOINT, NAME_TAKEN, NOT_ALLOWED for a path that may not be named.
        """
        complete = pb.JobSpec()
        complete.CopyFrom(spec)
        if named_paths(complete):
            await self._files.run(check_named, complete)
        match complete.WhichOneof("kind"):
            case "finetune":
                await self._complete_finetune(complete)
            case "extract":
                await self._complete_extract(complete.extract)
            case "register_dataset":
                _check_register(complete.register_dataset)
            case "import_checkpoint":
                await self._complete_import(complete)
            case "merge":
                await complete_merge(complete.merge, self._registry, self._root, self.dataset)
            case "merge_curve":
                await complete_curve(complete.merge_curve, self._registry, self._root, self.dataset)
            case "merge_report":
                await complete_report(complete.merge_report, self._registry, self._root, self.dataset)
            case None:
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT,
                    "the job has no spec: set finetune, extract, register_dataset, import_checkpoint, merge, "
                    "merge_curve or merge_report",
                )
        return await self.identify(complete, request_id)

    async def identify(self, complete: pb.JobSpec, request_id: str = "") -> Resolved:
        """What the work of a complete spec is, with the data and the pretrained weights that there are now.

        Raises ServiceError: UNKNOWN_DATASET, UNKNOWN_BACKBONE.
        """
        dataset_digest, identity = "", ""
        match complete.WhichOneof("kind"):
            case "finetune":
                spec = complete.finetune
                dataset_digest = (await self.dataset(spec.dataset)).digest
                identity = await self._where(complete)(_weights, spec)
            case "extract":
                dataset_digest = (await self.dataset(complete.extract.dataset)).digest
            case "import_checkpoint":
                spec = complete.import_checkpoint
                dataset_digest = (await self.dataset(spec.dataset)).digest if spec.dataset else ""
                identity = await self._where(complete)(import_identity, spec)
            case "merge":
                dataset_digest = (await self.dataset(complete.merge.dataset)).digest if complete.merge.dataset else ""
                identity = f"merge {MERGE_VERSION}"
            case "merge_curve":
                dataset_digest = (await self.dataset(complete.merge_curve.dataset)).digest
                identity = f"curve {MERGE_VERSION}"
            case "merge_report":
                identity = f"report {MERGE_VERSION}"
            case _:
                # The files behind an equal path may have changed: every registration looks at them again, unless it
                # is the same call once more.
                identity = request_id or uuid.uuid4().hex
        content = json.dumps([RECIPE, _identifying(complete), dataset_digest, identity], sort_keys=True)
        return Resolved(complete, hashlib.sha256(content.encode()).hexdigest(), dataset_digest)

    def _where(self, spec: pb.JobSpec) -> Callable[..., Awaitable[Any]]:
        """Where work is done on what a request says: apart, if it names files of this machine."""
        return self._files.run if named_paths(spec) else asyncio.to_thread

    async def _complete_finetune(self, whole: pb.JobSpec) -> None:
        spec = whole.finetune
        added = expand(spec)
        dataset = await self.dataset(spec.dataset)
        spec.attribute = _attribute(dataset, spec.attribute)
        _check_splits(dataset, ["train"])
        if spec.grouping:
            run, catalog = self._registry.run, self._registry.catalog
            spec.grouping = await run(resolve_training_grouping, catalog, spec.grouping, dataset)
        _check_splits(dataset, list(spec.evaluate))
        if spec.objective.repeat_errors_of:
            named = spec.objective.repeat_errors_of
            found = await self._registry.run(self._registry.catalog.checkpoint, named)
            spec.objective.repeat_errors_of = found.digest
        check_ranked(spec.keep, spec.evaluate or [split.name for split in dataset.splits])
        await complete_start(spec, dataset, self._registry, self._root)
        modality: Modality = "text" if dataset.modality == datasets_pb2.MODALITY_TEXT else "image"
        await self._where(whole)(complete, spec, modality, added)

    async def _complete_import(self, whole: pb.JobSpec) -> None:
        spec = whole.import_checkpoint
        await self._where(whole)(complete_import, spec)
        if spec.dataset:
            dataset = await self.dataset(spec.dataset)
            spec.dataset, spec.attribute = dataset.name, _attribute(dataset, spec.attribute)

    async def _complete_extract(self, spec: pb.ExtractSpec) -> None:
        checkpoint = await self._registry.run(self._registry.catalog.checkpoint, spec.checkpoint)
        if not spec.dataset and not checkpoint.dataset:
            known = ", ".join(one.name for one in await self.datasets())
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"checkpoint {checkpoint.digest[:12]} was imported and belongs to no dataset: say which one it is run "
                f"over, dataset=...; known: {known}. Its classes are {', '.join(checkpoint.classes[:20])}",
                field="dataset",
            )
        dataset = await self.dataset(spec.dataset or checkpoint.dataset)
        spec.checkpoint, spec.dataset = checkpoint.digest, dataset.name
        spec.attribute = _attribute(dataset, spec.attribute)
        _check_splits(dataset, list(spec.splits))
        if not spec.splits:
            spec.splits.extend(split.name for split in dataset.splits)
        spec.dtype = spec.dtype or "float32"
        if spec.dtype not in ("float32", "float16"):
            raise ServiceError(ErrorKind.WRONG_DTYPE, f"features are stored as float32 or float16, got {spec.dtype!r}")
        spec.feature_kind = spec.feature_kind or "pooled"
        if spec.feature_kind not in ("pooled", "flat"):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"feature_kind must be 'pooled' (what the head reads) or 'flat' (the last hidden state), "
                f"got {spec.feature_kind!r}",
            )
        spec.batch_size = spec.batch_size if spec.HasField("batch_size") else EXTRACTION_BATCH
        check_whole("batch_size", spec.batch_size, 1, MAX_BATCH)


def _weights(spec: runs_pb2.FinetuneSpec) -> str:
    """What the starting weights are. Files are read in full."""
    if spec.HasField("start"):
        return Start(checkpoint=spec.start.checkpoint, refit=spec.start.refit).identity
    return weights_identity(spec.backbone, spec.pretrained, spec.weights)


def _identifying(spec: pb.JobSpec) -> dict[str, Any]:
    """What a spec says, without what was added to requests since and was always so.

    `keep` is a part of what a job is: it changes no number, but it changes which checkpoints a script finds under
    `run.checkpoints`.
    """
    said = MessageToDict(spec)
    if spec.finetune.keep == ALL:
        said["finetune"].pop("keep")
    if spec.HasField("merge"):
        said["merge"].pop("notes", None)
    if spec.HasField("merge_curve"):
        said["mergeCurve"]["line"].pop("notes", None)
    if spec.HasField("merge_report"):
        said["mergeReport"]["networks"].pop("notes", None)
    return said


def _check_register(spec: pb.RegisterDatasetSpec) -> None:
    check_name(spec.name, "dataset")
    if spec.name in describe_packaged():
        raise ServiceError(
            ErrorKind.NAME_TAKEN, f"{spec.name!r} is a packaged dataset; choose another name", name=spec.name
        )
    if not Path(spec.table).is_absolute():
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the source must be an absolute path on the server's machine, got {spec.table!r}",
        )


def _attribute(dataset: datasets_pb2.Dataset, name: str) -> str:
    """The attribute's name, the first when empty. Raises ServiceError (ATTRIBUTE_MISSING)."""
    names = [attribute.name for attribute in dataset.attributes]
    if name and name not in names:
        raise unknown(ErrorKind.ATTRIBUTE_MISSING, f"attribute of dataset {dataset.name!r} called", name, names)
    return name or names[0]


def _check_splits(dataset: datasets_pb2.Dataset, wanted: list[str]) -> None:
    names = [split.name for split in dataset.splits]
    if len(set(wanted)) < len(wanted):
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"name every split once, got {wanted}", field="splits")
    for name in wanted:
        if name not in names:
            raise unknown(ErrorKind.UNKNOWN_SPLIT, f"split of dataset {dataset.name!r} called", name, names)
