"""Importing a model that was trained elsewhere: its files read, its head named and checked, a checkpoint stored."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from penult_proto.enums import name_or
from penult_proto.errors import ErrorKind
from penult_proto.files import digest_of_file, digest_of_files
from penult_proto.safetensors import WEIGHTS_FILE
from penult_proto.v1 import jobs_pb2, runs_pb2
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.backbones.catalog import Pooling, is_model_directory, library_of, read_config
from penult_server.backbones.classifier import Classifier
from penult_server.backbones.files.keeping import head_with_classes
from penult_server.backbones.files.tensors import ForeignObjects
from penult_server.backbones.images.preprocessing import ImagePreprocessing
from penult_server.backbones.model import load_backbone
from penult_server.backbones.saving import Origin, save_checkpoint
from penult_server.class_names import Classes, match_classes
from penult_server.datasets.catalog import open_dataset
from penult_server.datasets.model import DatasetInfo
from penult_server.errors import ServiceError
from penult_server.jobs.channel import WorkerChannel
from penult_server.jobs.imports.exported import Exported, complete_from_export
from penult_server.messages import checkpoint_to_proto
from penult_server.stores.uploads import has_upload, upload_directory

MAX_TOKENS = 128
"""Tokens kept of each text, unless the request says so."""
CPU = torch.device("cpu")


def import_job(order: JobOrder, spec: jobs_pb2.ImportCheckpointSpec, channel: WorkerChannel) -> runs_pb2.Checkpoint:
    root = Path(order.root)
    source = _source(root, spec)
    exported = complete_from_export(spec, source)
    info = open_dataset(spec.dataset, order.dataset_digest, root).info if spec.dataset else None
    channel.progress("reading the files", 0, 3, "steps")
    classifier = _read(source, spec, exported, info)
    channel.check_cancelled()
    channel.progress("checking the model", 1, 3, "steps")
    classifier = _with_preprocessing(classifier, spec)
    _check_finite(classifier, spec.name)
    classes = _classes(classifier, spec, info)
    channel.progress("storing", 2, 3, "steps")
    origin = Origin(
        run_id="",
        dataset=spec.dataset,
        dataset_digest=order.dataset_digest,
        attribute=spec.attribute,
        classes=classes,
        train_shares=(),
        source=f"import {spec.name} sha256:{spec.content}",
    )
    probe = classifier.preprocessing.to_batch(classifier.preprocessing.probe(), CPU)
    manifest = save_checkpoint(root, classifier, origin, epoch=0, checked_on=probe)
    return checkpoint_to_proto(manifest)


def _read(
    source: Path, spec: jobs_pb2.ImportCheckpointSpec, exported: Exported | None, info: DatasetInfo | None
) -> Classifier:
    """The model with the head that was asked for."""
    place, weights, display = _placed(source, spec, exported)
    hint = info.classes if info is not None else ()
    is_new = spec.head == runs_pb2.HEAD_NAME_NEW
    classes = tuple(spec.classes) or (hint if is_new else ())

    def load(n_classes: int) -> Classifier:
        loaded = load_backbone(
            place,
            n_classes,
            pretrained=True,
            seed=spec.seed,
            image_size=spec.image_size,
            max_tokens=spec.max_tokens if spec.HasField("max_tokens") else MAX_TOKENS,
            weights=weights,
            pooling=cast(Pooling, name_or(runs_pb2.PoolingName, spec.pooling, "model")),
            foreign_objects=cast(ForeignObjects, name_or(jobs_pb2.ForeignObjects, spec.foreign_objects, "refuse")),
            source=spec.name,
        )
        return replace(loaded, name=display)

    if is_new:
        return load(len(classes))
    # A file does not say how many rows its head has before it is read: the second reading is for those that have
    # another number than was thought.
    classifier = load(len(classes) or (0 if is_model_directory(place) else 2))
    found = classifier.found
    if found is not None and found.n_rows != classifier.n_classes and len(classes or found.classes) == found.n_rows:
        classifier = load(found.n_rows)
    return head_with_classes(classifier, classes, hint)


def _source(root: Path, spec: jobs_pb2.ImportCheckpointSpec) -> Path:
    """Where the files lie. Those that were uploaded are read in full: a disk may have altered them."""
    source = Path(spec.path) if spec.path else upload_directory(root, spec.content)
    if not (source.exists() if spec.path else has_upload(root, spec.content)):
        raise ServiceError(
            ErrorKind.FILES_MISSING, f"the files of {spec.name!r} are no longer on the server; import them again"
        )
    files = [] if spec.path else [one for one in source.iterdir() if one.is_file()]
    if not spec.path and digest_of_files([(one.name, digest_of_file(one)) for one in files]) != spec.content:
        raise ServiceError(
            ErrorKind.STORE_CORRUPT, f"the files of {spec.name!r} were altered on the server's disk; import them again"
        )
    return source


def _placed(source: Path, spec: jobs_pb2.ImportCheckpointSpec, exported: Exported | None) -> tuple[str, str, str]:
    """What builds the model, its file of weights (empty for a directory), and what the model is called."""
    if exported is not None and spec.backbone:
        raise _needs_no_backbone(spec)
    if exported is not None and exported.is_as_stored:
        place = str(source) if is_model_directory(str(source)) else exported.backbone
        return place, str(source / WEIGHTS_FILE), exported.backbone
    if source.is_dir() and not is_model_directory(str(source)):
        files = list(source.iterdir())
        if len(files) != 1:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{spec.name!r} is {len(files)} files without a config.json; give one file of weights, or a directory "
                "that timm or transformers saved",
            )
        source = files[0]
    if source.is_dir():
        if spec.backbone:
            raise _needs_no_backbone(spec)
        if library_of(str(source)) == "timm":
            return str(source), "", str(read_config(str(source)).get("architecture", spec.name))
        return str(source), "", spec.name
    if not spec.backbone:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"backbone must be given for the file {spec.name!r}: a timm model such as 'resnet50', or a model of "
            "transformers",
            field="backbone",
        )
    return spec.backbone, str(source), spec.backbone


def _needs_no_backbone(spec: jobs_pb2.ImportCheckpointSpec) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"backbone must be left out for the directory {spec.name!r}, which says itself what model it is; got "
        f"{spec.backbone!r}",
        field="backbone",
    )


def _with_preprocessing(classifier: Classifier, spec: jobs_pb2.ImportCheckpointSpec) -> Classifier:
    """The preprocessing of the architecture, changed as asked for."""
    of_images = {
        "image_size": spec.HasField("image_size"),
        "image_resize": spec.HasField("image_resize"),
        "image_mean": bool(spec.image_mean),
        "image_std": bool(spec.image_std),
        "interpolation": bool(spec.interpolation),
    }
    of_texts = {
        "max_tokens": spec.HasField("max_tokens"),
        "pooling": spec.pooling != runs_pb2.POOLING_NAME_UNSPECIFIED,
    }
    preprocessing = classifier.preprocessing
    wrong = of_texts if isinstance(preprocessing, ImagePreprocessing) else of_images
    if given := [name for name, is_given in wrong.items() if is_given]:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{given[0]} has no effect on {classifier.name!r}, a model of {preprocessing.modality}s; leave it out",
            field=given[0],
        )
    if not isinstance(preprocessing, ImagePreprocessing):
        return classifier
    if spec.image_resize and spec.image_resize < preprocessing.size:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"image_resize must be 0 or at least image_size, which is {preprocessing.size}; got {spec.image_resize}",
            field="image_resize",
        )
    changed = replace(
        preprocessing,
        resize=spec.image_resize,
        mean=tuple(spec.image_mean) or preprocessing.mean,
        std=tuple(spec.image_std) or preprocessing.std,
        interpolation=spec.interpolation or preprocessing.interpolation,
    )
    return replace(classifier, preprocessing=changed)


def _check_finite(classifier: Classifier, name: str) -> None:
    """Raise ServiceError (NOT_FINITE) for weights that are no numbers."""
    for key, tensor in classifier.module.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise ServiceError(
                ErrorKind.NOT_FINITE,
                f"{count} of {tensor.numel()} values of {key!r} in {name!r} are not finite; give weights of a training "
                "that did not diverge",
                tensor=key,
            )


def _classes(classifier: Classifier, spec: jobs_pb2.ImportCheckpointSpec, info: DatasetInfo | None) -> tuple[str, ...]:
    """Names of the rows of the head, in their order; those of a dataset where there is one."""
    given: Sequence[str] = tuple(spec.classes)
    if not given:
        is_new = spec.head == runs_pb2.HEAD_NAME_NEW
        given = (info.classes if info else ()) if is_new or not classifier.found else classifier.found.classes
    classes = tuple(given)
    if info is not None:
        if info.modality != classifier.preprocessing.modality:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{classifier.name!r} reads {classifier.preprocessing.modality}s, dataset {info.name!r} holds "
                f"{info.modality}s; leave dataset= out, or name one of the same kind",
                field="dataset",
            )
        match_classes(
            Classes(names=classes, whose=f"the model {spec.name!r}"),
            Classes(names=info.classes, whose=f"dataset {info.name!r}"),
        )
    return classes
