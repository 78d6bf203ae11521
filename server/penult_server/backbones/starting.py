"""A stored checkpoint as the start of another run: its body, and a head for the classes of the run's dataset."""

# pyright: reportUnknownMemberType=false
# torch annotates its conversions from NumPy in part.

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import Library, Pooling
from penult_server.backbones.classifier import Classifier
from penult_server.backbones.heads import reset_head
from penult_server.backbones.images.preprocessing import TextPreprocessing
from penult_server.backbones.model import bundle, seeded, weights_and_head_seeds
from penult_server.backbones.saving import rebuild
from penult_server.class_names import Classes, Match, match_classes
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.stores.checkpoints import (
    CheckpointManifest,
    State,
    checkpoint_files,
    read_manifest,
    read_state,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StartHead:
    """The head of a refit."""

    weight: NDArray[np.float64]
    """(C, D)"""
    bias: NDArray[np.float64]
    """(C,)"""
    classes: Classes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Started:
    """A classifier on the CPU, in eval mode."""

    classifier: Classifier
    notes: tuple[Note, ...]
    """How the classes of the head were matched, where that is not obvious."""


def load_start(
    root: Path,
    digest: str,
    classes: Classes,
    *,
    head: StartHead | None,
    new_head: bool,
    seed: int,
    image_size: int,
    max_tokens: int,
) -> Started:
    """The body of a checkpoint with a head for `classes`.

    Parameters
    ----------
    head : in the place of the checkpoint's own.
    new_head : draw a fresh one, as for every other backbone, instead of keeping one.
    seed : of a fresh head; nothing else is drawn.
    image_size : side of the square input in pixels; 0 for the checkpoint's. With another one, the shorter side is
        resized to it.
    max_tokens : tokens kept of each text.

    Raises
    ------
    ServiceError : those of `read_state`; OTHER_CLASSES when a head is to be kept that knows other classes; WRONG_SHAPE
        when the head does not fit the checkpoint; INVALID_ARGUMENT for a size that the architecture cannot have;
        VERSION_MISMATCH when the installed library builds another architecture under the backbone's name.
    """
    stored = read_manifest(root, digest)
    size = image_size or stored.image_size
    resize = stored.image_resize if size == stored.image_size else 0
    manifest = replace(stored, image_size=size, image_resize=resize, n_classes=len(classes.names))
    state = read_state(root, stored)
    match = None if new_head else matched(stored, head, classes)
    if match is not None:
        state |= _kept(stored, state, head, match)
    files = {name: (checkpoint_files(root, digest) / name).read_bytes() for name in stored.files}
    if manifest.n_classes != stored.n_classes and stored.library == "transformers":
        files |= _with_classes(files["config.json"], manifest.n_classes)
    classifier = _rebuilt(manifest, state, files, keeps_head=match is not None)
    if manifest.max_tokens:
        classifier = _with_max_tokens(classifier, max_tokens)
    if match is None:
        _, head_seed = weights_and_head_seeds(seed)
        reset_head(classifier.head, torch.Generator().manual_seed(head_seed))
    if match is None:
        return Started(classifier=classifier, notes=())
    return Started(classifier=replace(classifier, head_origin="kept"), notes=match.notes)


def matched(manifest: CheckpointManifest, head: StartHead | None, classes: Classes) -> Match:
    """The rows of a head among the classes of a dataset.

    Raises ServiceError: OTHER_CLASSES when they are others, saying how to start without the head.
    """
    whose = f"checkpoint {manifest.digest[:12]}"
    known = Classes(names=manifest.classes, whose=whose) if head is None else head.classes
    return match_start(known, classes)


def match_start(known: Classes, classes: Classes) -> Match:
    """As `matched`, for a head of the classes `known`."""
    try:
        return match_classes(known, classes)
    except ServiceError as error:
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"the head of the start does not fit: {known.whose} knows the classes {', '.join(known.names[:20])}, "
            f"{classes.whose} has {', '.join(classes.names[:20])}; start from its body alone with head='new'",
            field="head",
        ) from error


def _kept(
    manifest: CheckpointManifest, state: State, head: StartHead | None, match: Match
) -> dict[str, NDArray[np.generic]]:
    """The tensors of the head that is kept, their rows in the order of the dataset's classes."""
    weight, bias = state[manifest.head_weight], state.get(manifest.head_bias)
    if head is not None:
        if head.weight.shape != weight.shape:
            raise ServiceError(
                ErrorKind.WRONG_SHAPE,
                f"the head of checkpoint {manifest.digest[:12]} has the shape {weight.shape}, {head.classes.whose} "
                f"{head.weight.shape}; start from a refit on features of this checkpoint",
            )
        if bias is None and head.bias.any():
            raise ServiceError(
                ErrorKind.WRONG_SHAPE,
                f"the head of checkpoint {manifest.digest[:12]} has no bias, {head.classes.whose} has one; refit with "
                "intercept='none'",
            )
        weight, bias = head.weight.astype(weight.dtype), None if bias is None else head.bias.astype(bias.dtype)
    kept = {manifest.head_weight: match.rows(weight)}
    return kept if bias is None else kept | {manifest.head_bias: match.rows(bias)}


def _with_classes(config: bytes, n_classes: int) -> dict[str, bytes]:
    """The configuration of a model of transformers for another number of classes."""
    said: dict[str, Any] = json.loads(config)
    said["id2label"] = {str(index): f"LABEL_{index}" for index in range(n_classes)}
    said["label2id"] = {f"LABEL_{index}": index for index in range(n_classes)}
    said.pop("num_labels", None)
    return {"config.json": json.dumps(said, indent=2, sort_keys=True).encode()}


def _rebuilt(manifest: CheckpointManifest, state: State, files: Mapping[str, bytes], *, keeps_head: bool) -> Classifier:
    """The classifier with the stored weights, and without `keeps_head` with an arbitrary head."""
    with tempfile.TemporaryDirectory() as directory, seeded(0):
        for name, content in files.items():
            (Path(directory) / name).write_bytes(content)
        module, preprocessing = rebuild(Path(directory), manifest, dict(files))
    loaded = {name: torch.from_numpy(tensor) for name, tensor in state.items()}
    if not keeps_head:
        own = module.state_dict()
        loaded |= {name: own[name] for name in (manifest.head_weight, manifest.head_bias) if name}
    try:
        module.load_state_dict(loaded)
    except RuntimeError as error:
        raise ServiceError(
            ErrorKind.VERSION_MISMATCH,
            f"the installed {manifest.library} builds {manifest.backbone!r} otherwise than when checkpoint "
            f"{manifest.digest} was written, its weights do not fit; install the release used then ({error})",
            checkpoint=manifest.digest,
            backbone=manifest.backbone,
        ) from error
    library, pooling = cast(Library, manifest.library), cast(Pooling, manifest.pooling)
    return bundle(manifest.backbone, library, module, preprocessing, dict(files), pooling)


def _with_max_tokens(classifier: Classifier, max_tokens: int) -> Classifier:
    """The classifier with texts cut elsewhere. Raises ServiceError (INVALID_ARGUMENT) beyond what the model reads."""
    preprocessing = classifier.preprocessing
    if not isinstance(preprocessing, TextPreprocessing) or preprocessing.max_tokens == max_tokens:
        return classifier
    # Imported here: transformers takes seconds to load, and image jobs never need it.
    from penult_server.backbones.texts.transformer import check_max_tokens

    body: Any = classifier.module
    config = body.config if hasattr(body, "config") else body.encoder.config
    check_max_tokens(classifier.name, config, preprocessing.tokenizer, max_tokens)
    return replace(classifier, preprocessing=replace(preprocessing, max_tokens=max_tokens))
