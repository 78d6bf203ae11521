"""Between a classifier and its checkpoint."""

# pyright: reportUnknownMemberType=false
# torch annotates its conversions from NumPy in part.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import Library, Pooling
from penult_server.backbones.classifier import Classifier, check_head
from penult_server.backbones.images import images
from penult_server.backbones.images.preprocessing import Batch, ImagePreprocessing, Preprocessing, TextPreprocessing
from penult_server.backbones.model import bundle, seeded
from penult_server.errors import ServiceError
from penult_server.named.roots import reading_own
from penult_server.stores.checkpoints import (
    CheckpointManifest,
    checkpoint_files,
    digest_checkpoint,
    digest_weights,
    read_manifest,
    read_state,
    write_checkpoint,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a checkpoint comes from."""

    run_id: str
    """Empty for one that was imported, as are the dataset, its digest and the attribute where they are not known."""
    dataset: str
    dataset_digest: str
    attribute: str
    classes: tuple[str, ...]
    train_shares: Sequence[float]
    source: str = "run"
    """As `CheckpointManifest.source`."""


def save_checkpoint(
    root: Path, classifier: Classifier, origin: Origin, *, epoch: float, step: int = 0, checked_on: Batch
) -> CheckpointManifest:
    """Store the weights as they are now; an equal checkpoint that is stored already is kept.

    On the examples of `checked_on`, a batch on the classifier's device, the head of the features must give the logits;
    it leaves the classifier in eval mode.
    Raises ServiceError: DIVERGED when a weight is not finite; those of `check_head`.
    """
    state = _host_state(classifier.module)
    _check_finite(state, step)
    head_error = check_head(classifier, checked_on)
    weights_digest = digest_weights(state)
    preprocessing = classifier.preprocessing
    manifest = CheckpointManifest(
        digest=digest_checkpoint(
            weights_digest,
            preprocessing_id=preprocessing.identity,
            dataset_digest=origin.dataset_digest,
            attribute=origin.attribute,
            classes=origin.classes,
            source=origin.source,
        ),
        weights_digest=weights_digest,
        run_id=origin.run_id,
        epoch=epoch,
        step=step,
        backbone=classifier.name,
        library=classifier.library,
        dataset=origin.dataset,
        dataset_digest=origin.dataset_digest,
        attribute=origin.attribute,
        classes=origin.classes,
        train_shares=tuple(float(share) for share in origin.train_shares),
        n_features=classifier.n_features,
        n_classes=classifier.n_classes,
        head_weight=f"{classifier.head_name}.weight",
        head_bias=f"{classifier.head_name}.bias" if f"{classifier.head_name}.bias" in state else "",
        head_error=head_error,
        preprocessing_id=preprocessing.identity,
        image_size=preprocessing.size if isinstance(preprocessing, ImagePreprocessing) else 0,
        image_mean=preprocessing.mean if isinstance(preprocessing, ImagePreprocessing) else (),
        image_std=preprocessing.std if isinstance(preprocessing, ImagePreprocessing) else (),
        image_resize=preprocessing.resize if isinstance(preprocessing, ImagePreprocessing) else 0,
        interpolation=preprocessing.interpolation if isinstance(preprocessing, ImagePreprocessing) else "",
        max_tokens=preprocessing.max_tokens if isinstance(preprocessing, TextPreprocessing) else 0,
        pooling=classifier.pooling,
        build=dict(classifier.build),
        tied=_tied(classifier.module),
        source=origin.source,
        head="trained" if step else classifier.head_origin,
        notes=() if origin.run_id else classifier.notes,
        files={name: sha256(content).hexdigest() for name, content in classifier.files.items()},
        created=datetime.now(UTC).isoformat(),
    )
    return write_checkpoint(root, manifest, state, classifier.files)


def load_checkpoint(root: Path, digest: str, device: torch.device) -> Classifier:
    """The classifier of a checkpoint, on a device, in eval mode. Needs no hub.

    Raises ServiceError: UNKNOWN_CHECKPOINT; STORE_CORRUPT when a file is damaged; VERSION_MISMATCH when the
    installed library builds another architecture under the backbone's name; those of `check_head`.
    """
    manifest = read_manifest(root, digest)
    state = read_state(root, manifest)
    directory = checkpoint_files(root, digest)
    files = {name: (directory / name).read_bytes() for name in manifest.files}
    classifier = built(directory, manifest, state, files).to(device)
    check_head(classifier, classifier.preprocessing.to_batch(classifier.preprocessing.probe(), device))
    return classifier


def built(
    directory: Path, manifest: CheckpointManifest, state: Mapping[str, NDArray[np.generic]], files: dict[str, bytes]
) -> Classifier:
    """The classifier of a manifest with the weights of `state`, on the CPU; `files` lie in the directory.

    Raises ServiceError (VERSION_MISMATCH) when the installed library builds another architecture under its name.
    """
    library = cast(Library, manifest.library)
    # The first, random weights draw from torch's global generator.
    with seeded(0):
        module, preprocessing = rebuild(directory, manifest, files)
    try:
        module.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in state.items()})
    except RuntimeError as error:
        raise ServiceError(
            ErrorKind.VERSION_MISMATCH,
            f"the installed {library} builds {manifest.backbone!r} otherwise than when checkpoint "
            f"{manifest.digest} was written, its weights do not fit; install the release of {library} used then "
            f"({error})",
            checkpoint=manifest.digest,
            backbone=manifest.backbone,
        ) from error
    pooling = cast(Pooling, manifest.pooling)
    return bundle(manifest.backbone, library, module, preprocessing, files, pooling)


@reading_own()
def rebuild(directory: Path, manifest: CheckpointManifest, files: dict[str, bytes]) -> tuple[nn.Module, Preprocessing]:
    """The model of a manifest with random weights, from `files`, which lie in a directory; and its preprocessing.

    Random numbers come from torch's global generator.
    """
    image = ImagePreprocessing(
        size=manifest.image_size,
        mean=manifest.image_mean,
        std=manifest.image_std,
        interpolation=manifest.interpolation,
        resize=manifest.image_resize,
    )
    if manifest.library == "timm":
        # A model that came from a directory is described beside its weights; the others by their name.
        source = str(directory) if files else manifest.backbone
        module = images.build_module(source, manifest.n_classes, pretrained=False, image_size=manifest.image_size)
        return module, image
    # Imported here: transformers takes seconds to load, and image jobs never need it.
    from penult_server.backbones.texts.transformer import rebuild_transformer

    pooling = cast(Pooling, manifest.pooling)
    module, text = rebuild_transformer(directory, manifest.backbone, pooling, files, manifest.max_tokens)
    return module, text or image


def _host_state(module: nn.Module) -> dict[str, NDArray[np.generic]]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def _tied(module: nn.Module) -> tuple[tuple[str, ...], ...]:
    """The names of every parameter that has more than one."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return tuple(sorted(tuple(sorted(several)) for several in names.values() if len(several) > 1))


def _check_finite(state: dict[str, NDArray[np.generic]], step: int) -> None:
    for name, tensor in state.items():
        if not np.isfinite(tensor).all():
            raise ServiceError(
                ErrorKind.DIVERGED,
                f"after step {step} the weights {name!r} are not finite; lower the learning rate",
                step=step,
                tensor=name,
            )
