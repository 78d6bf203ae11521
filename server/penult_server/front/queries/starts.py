"""What a finetuning starts from: looked up, verified, and what it implies written into the request."""

import asyncio
from functools import lru_cache
from pathlib import Path

from penult_proto.enums import name_of, names_of
from penult_proto.errors import ErrorKind
from penult_proto.fields.finetune import written
from penult_proto.safetensors import WEIGHTS_FILE
from penult_proto.v1 import datasets_pb2, refits_pb2, runs_pb2
from penult_server.class_names import Classes, match_classes
from penult_server.errors import ServiceError
from penult_server.front.queries.stored_heads import refit_or_checkpoint
from penult_server.front.registry_thread import Registry
from penult_server.registry.catalog import Catalog
from penult_server.stores.checkpoint_stream import CheckpointStream
from penult_server.stores.checkpoints import CheckpointManifest, checkpoint_directory, read_manifest
from penult_server.stores.places.store import OBJECTS

FIRST_BACKBONE = "a finetuning needs backbone=, the model whose weights are trained, or start=, a checkpoint or a refit"


async def complete_start(
    spec: runs_pb2.FinetuneSpec, dataset: datasets_pb2.Dataset, registry: Registry, root: Path
) -> None:
    """In place: the start by its digests, and what it implies where that was left out.

    Raises ServiceError: UNKNOWN_CHECKPOINT, UNKNOWN_RESULT; STORE_CORRUPT when the checkpoint is damaged; OTHER_CLASSES
    when a head is to be kept that knows other classes; INVALID_ARGUMENT for what contradicts the start, for a refit of
    uploaded features, and without a backbone and a start.
    """
    if not spec.HasField("start"):
        if not spec.backbone:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, FIRST_BACKBONE, field="backbone")
        return
    found = await registry.run(_found, registry.catalog, spec.start)
    manifest = await asyncio.to_thread(verified, root, found.checkpoint.digest)
    run = await registry.run(_run_of, registry.catalog, found.checkpoint)
    spec.start.checkpoint, spec.start.refit = found.checkpoint.digest, found.refit
    _check_head(spec, dataset, manifest, found)
    _imply(spec, dataset, manifest, run)


async def head_of_start(spec: runs_pb2.FinetuneSpec, registry: Registry) -> refits_pb2.Head | None:
    """The head of the refit that a complete request starts from; None for another start. Raises UNKNOWN_RESULT."""
    if not spec.start.refit:
        return None
    return await registry.run(_head_of, registry.catalog, spec.start.refit)


class _Found:
    """A start that exists."""

    def __init__(self, checkpoint: runs_pb2.Checkpoint, refit: str = "", head: refits_pb2.Head | None = None) -> None:
        self.checkpoint = checkpoint
        self.refit = refit
        self.head = head


def _found(catalog: Catalog, start: runs_pb2.Start) -> _Found:
    """The checkpoint and the refit that are meant. On the registry's thread."""
    if not start.checkpoint and not start.refit:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "start is empty: give the digest or the name of a checkpoint or of a refit",
            field="start",
        )
    if start.checkpoint == start.refit:
        return _either(catalog, start.checkpoint)
    if not start.refit:
        return _Found(catalog.checkpoint(start.checkpoint))
    found = _of_refit(catalog, catalog.refit(start.refit))
    if start.checkpoint and catalog.checkpoint(start.checkpoint).digest != found.checkpoint.digest:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"refit {found.refit[:12]} was fitted on features of checkpoint {found.checkpoint.digest[:12]}, and the "
            f"start names checkpoint {start.checkpoint[:12]} beside it; name one of both",
            field="start",
        )
    return found


def _either(catalog: Catalog, name: str) -> _Found:
    found = refit_or_checkpoint(catalog, name, "start")
    return _Found(found) if isinstance(found, runs_pb2.Checkpoint) else _of_refit(catalog, found)


def _of_refit(catalog: Catalog, refit: refits_pb2.Refit) -> _Found:
    if not refit.head.checkpoint:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"refit {refit.digest[:12]} was fitted on uploaded features, which no stored model makes; start from a "
            "refit of features that client.extract(checkpoint) made",
            field="start",
        )
    try:
        return _Found(catalog.checkpoint(refit.head.checkpoint), refit.digest, refit.head)
    except ServiceError as error:
        raise ServiceError(
            ErrorKind.UNKNOWN_CHECKPOINT,
            f"refit {refit.digest[:12]} was fitted on features of checkpoint {refit.head.checkpoint[:12]}, which is "
            "not stored any more; start from another",
            field="start",
        ) from error


def _head_of(catalog: Catalog, digest: str) -> refits_pb2.Head:
    return catalog.refit(digest).head


def _run_of(catalog: Catalog, checkpoint: runs_pb2.Checkpoint) -> runs_pb2.FinetuneSpec:
    """The recipe of the run that left a checkpoint; empty when it has not ended, or is not known."""
    try:
        return catalog.run(checkpoint.run_id).spec
    except ServiceError:
        return runs_pb2.FinetuneSpec()


def verified(root: Path, digest: str) -> CheckpointManifest:
    """The manifest of a checkpoint whose files have been read and found whole.

    Raises ServiceError: UNKNOWN_CHECKPOINT, STORE_CORRUPT.
    """
    manifest = read_manifest(root, digest)
    directory = checkpoint_directory(root, digest)
    stamps: list[tuple[str, int, int]] = []
    for name in (WEIGHTS_FILE, OBJECTS, *manifest.files):
        path = directory / name
        if path.is_file():
            stamps.append((name, path.stat().st_mtime_ns, path.stat().st_size))
    _verify(root, digest, tuple(stamps))
    return manifest


@lru_cache(maxsize=1024)
def _verify(root: Path, digest: str, stamps: tuple[tuple[str, int, int], ...]) -> None:
    """Read everything, once for the files as they are now."""
    CheckpointStream(root, digest).verify()


def _check_head(
    spec: runs_pb2.FinetuneSpec, dataset: datasets_pb2.Dataset, manifest: CheckpointManifest, found: _Found
) -> None:
    """Raise ServiceError (OTHER_CLASSES) when a head is to be kept that does not know the dataset's classes."""
    if spec.head == runs_pb2.HEAD_NAME_NEW:
        return
    whose = f"refit {found.refit[:12]}" if found.head else f"checkpoint {manifest.digest[:12]}"
    names = tuple(found.head.classes) if found.head else manifest.classes
    known = Classes(names=names, whose=whose)
    try:
        match_classes(known, Classes(names=tuple(dataset.classes), whose=f"dataset {dataset.name!r}"))
    except ServiceError as error:
        instead = "start from its checkpoint with head='new'" if found.head else "head='new' draws a fresh one"
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"the head of {whose} knows the classes {', '.join(names[:20])}, dataset {dataset.name!r} has "
            f"{', '.join(dataset.classes[:20])}; {instead}",
            field="head",
        ) from error


def _imply(
    spec: runs_pb2.FinetuneSpec,
    dataset: datasets_pb2.Dataset,
    manifest: CheckpointManifest,
    run: runs_pb2.FinetuneSpec,
) -> None:
    """Write what the start implies into the request. Raises ServiceError (INVALID_ARGUMENT) for a contradiction."""
    is_text = manifest.max_tokens > 0
    if is_text != (dataset.modality == datasets_pb2.MODALITY_TEXT):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"checkpoint {manifest.digest[:12]} reads {'texts' if is_text else 'images'}, and the dataset "
            f"{dataset.name!r} does not hold any; start from one of the same kind",
            field="start",
        )
    if spec.backbone and spec.backbone != manifest.backbone:
        raise _contradicts("backbone", manifest.backbone, spec.backbone)
    spec.backbone = manifest.backbone
    if spec.HasField("pretrained") and not spec.pretrained and (not run.HasField("pretrained") or run.pretrained):
        raise _contradicts("pretrained", True, False)
    spec.ClearField("pretrained")
    if spec.weights and spec.weights != run.weights:
        raise _contradicts("weights", run.weights or f"those of checkpoint {manifest.digest[:12]}", spec.weights)
    spec.ClearField("weights")
    if is_text:
        _imply_text(spec, manifest)
    else:
        _imply_image(spec, manifest)


def _imply_text(spec: runs_pb2.FinetuneSpec, manifest: CheckpointManifest) -> None:
    pooling = name_of(runs_pb2.PoolingName, spec.pooling)
    if pooling and pooling != manifest.pooling:
        raise _contradicts("pooling", manifest.pooling, pooling)
    # A number that this version does not know stays, to be refused as every other.
    if pooling or not spec.pooling:
        spec.pooling = names_of(runs_pb2.PoolingName)[manifest.pooling]
    if not spec.HasField("max_tokens"):
        spec.max_tokens = manifest.max_tokens


def _imply_image(spec: runs_pb2.FinetuneSpec, manifest: CheckpointManifest) -> None:
    is_fixed = "img_size" in manifest.build.get("model_args", {})
    if spec.image_size and spec.image_size != manifest.image_size and is_fixed:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"start= already says {written('image_size', spec)}: {manifest.image_size}, for which "
            f"{manifest.backbone!r} has its position embeddings, and {spec.image_size} was given; leave it out",
            field="image_size",
            argument=written("image_size", spec),
        )
    spec.image_size = spec.image_size or manifest.image_size
    if spec.image_size == manifest.image_size and not spec.image_resize:
        spec.image_resize = manifest.image_resize


def _contradicts(field: str, implied: object, given: object) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"start= already says {written(field)}: {implied!r}, and {given!r} was given; leave it out",
        field=field,
        argument=written(field),
    )
