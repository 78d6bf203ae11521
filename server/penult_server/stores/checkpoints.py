"""Checkpoints on disk: weights, a manifest, and the files that rebuild the model offline.

One directory a checkpoint, named by its digest: `model.safetensors`, `manifest.json`, and for transformers
the configuration and tokenizer files. Arrays are NumPy's here; nothing imports torch.

Two digests. `weights_digest` covers the tensors alone. `digest`, the identity, adds what else decides the
features computed from a checkpoint and the groups it is about: preprocessing, dataset and attribute. Equal
weights that read images of another size are another checkpoint.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# safetensors annotates its arrays in part.

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.safetensors import WEIGHTS_FILE, WeightsDigest
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.stores.disk.sealed import read_sealed, sealed_text
from penult_server.stores.manifest import as_tuples
from penult_server.stores.places.opening import files_of, store_of
from penult_server.stores.places.store import AlteredError, Attempt, Files

MANIFEST_FILE = "manifest.json"
FOLDER = "checkpoints"

State = Mapping[str, NDArray[np.generic]]
"""Tensors by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointManifest:
    """What a checkpoint is, and how to build its model again."""

    digest: str
    """Identity of the checkpoint; see the module's docstring."""
    weights_digest: str
    """sha256 (hex) over the weights' names, types, shapes and bytes."""
    run_id: str
    """The first run that stored it; empty for one that was imported or merged."""
    epoch: float
    """Epochs trained, fractions included; 0 is the starting point."""
    backbone: str
    library: str
    """ "timm" or "transformers"."""
    dataset: str
    """Empty, as are its digest, the attribute and the shares, for an imported model whose dataset is not known."""
    dataset_digest: str
    attribute: str
    """Attribute that the groups of `train_shares` are made from."""
    classes: tuple[str, ...]
    train_shares: tuple[float, ...]
    """Fraction of each group among the training split's examples, by group index."""
    n_features: int
    n_classes: int
    head_weight: str
    """Name of the tensor (n_classes, n_features)."""
    head_bias: str
    """Name of the tensor (n_classes,); empty when the head has none."""
    head_error: float
    """Largest |head(features) - logits| relative to the largest |logit|, when it was checked."""
    preprocessing_id: str
    """Text that differs whenever the input of the model would differ."""
    image_size: int = 0
    """Side of the square input in pixels; 0 for texts."""
    image_resize: int = 0
    """Pixels of the shorter side before the center crop; 0 for `image_size`."""
    image_mean: tuple[float, ...] = ()
    image_std: tuple[float, ...] = ()
    interpolation: str = ""
    max_tokens: int = 0
    """Tokens kept of each text; 0 for images."""
    pooling: str = "model"
    """What the head of a text model reads: "model" or "mean"."""
    build: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the libraries' own layouts on disk say of the model and `files` do not; see `backbones.described`."""
    tied: tuple[tuple[str, ...], ...] = ()
    """Tensors that the model holds once under several names, each in order; a file of weights has all of them."""
    files: dict[str, str] = field(default_factory=dict[str, str])
    """sha256 (hex) of the configuration and tokenizer files, by file name."""
    step: int = 0
    """Optimiser steps taken."""
    source: str = "run"
    """ "run", "import NAME sha256:DIGEST", or of a merge "run" or "import" and ", merged: METHOD"."""
    head: str = "trained"
    """ "trained" by the run, "kept" from the files or the parent that the model comes from, "new", drawn afresh, or
    "merged"."""
    notes: tuple[Note, ...] = ()
    """How the files of an imported model were read, and what was done about the parents of a merged one."""
    merge: dict[str, Any] = field(default_factory=dict[str, Any])
    """What it was merged of, and how: a `MergeOrigin` as JSON; empty for one that was not merged."""
    created: str = ""
    """UTC, ISO 8601."""

    @property
    def model(self) -> str:
        """sha256 (hex) over what decides the features: checkpoints of two runs may share it."""
        content = json.dumps(["model 1", self.weights_digest, self.preprocessing_id])
        return hashlib.sha256(content.encode()).hexdigest()


def digest_weights(state: State) -> str:
    """sha256 (hex) over names, types, shapes and bytes (row-major, little-endian) in the order of the names."""
    total = WeightsDigest()
    for name in sorted(state):
        tensor = np.asarray(state[name], order="C")
        total.begin(name, tensor.dtype.str, tensor.shape)
        total.update(tensor.tobytes() if tensor.ndim == 0 else tensor.data)
    return total.hexdigest()


def digest_checkpoint(
    weights_digest: str,
    *,
    preprocessing_id: str,
    dataset_digest: str,
    attribute: str,
    classes: tuple[str, ...] = (),
    source: str = "run",
) -> str:
    """Identity (sha256, hex) of a checkpoint.

    The classes of a run are its dataset's; those of an imported model are what its user says, and part of the identity.
    A merge is of the one sort or the other by its first parent: with that one's weights it is that checkpoint.
    """
    content = ["checkpoint 1", weights_digest, preprocessing_id, dataset_digest, attribute]
    named = [] if source.startswith("run") else [list(classes)]
    return hashlib.sha256(json.dumps([*content, *named]).encode()).hexdigest()


def write_checkpoint(
    root: Path, manifest: CheckpointManifest, state: State, files: Mapping[str, bytes] | None = None
) -> CheckpointManifest:
    """Store a checkpoint whole or not at all; one of the same digest is kept as it is.

    Returns the manifest that is stored: of the first run, when two leave the same checkpoint.
    Raises ServiceError (STORE_CORRUPT) when the one that is kept is damaged.
    """
    directory = checkpoint_directory(root, manifest.digest)
    if directory.exists():
        return read_manifest(root, manifest.digest)
    attempt = store_of(root).attempt(FOLDER)
    try:
        staging = attempt.directory
        save_file({name: np.asarray(tensor, order="C") for name, tensor in state.items()}, staging / WEIGHTS_FILE)
        for name, content in (files or {}).items():
            (staging / name).write_bytes(content)
        return commit_checkpoint(root, attempt, manifest)
    finally:
        attempt.discard()


def commit_checkpoint(root: Path, attempt: Attempt, manifest: CheckpointManifest) -> CheckpointManifest:
    """Make a checkpoint of the files that lie in the directory of an attempt; an equal one that is whole is kept.

    Returns the manifest that is stored.
    """
    attempt.commit(manifest.digest, sealed_text(asdict(manifest)), {}, partial(_is_whole, manifest))
    return read_manifest(root, manifest.digest)


def _is_whole(manifest: CheckpointManifest, stored: Files) -> bool:
    """Whether equal weights, which somebody else has just stored, can be read."""
    try:
        directory = stored.directory()
        if any(_digest_of(directory / name) != digest for name, digest in manifest.files.items()):
            return False
        return digest_weights(load_file(directory / WEIGHTS_FILE)) == manifest.weights_digest
    except (OSError, AlteredError, SafetensorError):
        return False


def manifest_text(manifest: CheckpointManifest) -> str:
    """The manifest as it is sent: a JSON object; where it is stored, it has a digest besides."""
    return json.dumps(asdict(manifest), indent=2)


def checkpoint_directory(root: Path, digest: str) -> Path:
    """Where a checkpoint lies."""
    return root / FOLDER / digest


def checkpoint_files(root: Path, digest: str) -> Path:
    """Where its files can be read; fetched first, where they lie elsewhere. Raises ServiceError (STORE_CORRUPT)."""
    directory = checkpoint_directory(root, digest)
    try:
        return files_of(directory).directory()
    except (FileNotFoundError, AlteredError) as error:
        raise corrupt(digest, directory / WEIGHTS_FILE, f"a file cannot be fetched: {error}") from error


def has_checkpoint(root: Path, digest: str) -> bool:
    """Whether a checkpoint lies in the store."""
    return (checkpoint_directory(root, digest) / MANIFEST_FILE).is_file()


def read_manifest(root: Path, digest: str) -> CheckpointManifest:
    """The manifest of a checkpoint.

    Raises ServiceError: UNKNOWN_CHECKPOINT; STORE_CORRUPT when the manifest is missing, unreadable, or not the one
    that was written (its digest no longer follows from it).
    """
    directory = checkpoint_directory(root, digest)
    # On another machine of a cluster nothing has asked for it yet.
    if not directory.is_dir() and not store_of(root).find(FOLDER, digest):
        raise ServiceError(
            ErrorKind.UNKNOWN_CHECKPOINT,
            f"there is no checkpoint {digest!r} in the store; list the runs for those that exist",
            checkpoint=digest,
        )
    path = directory / MANIFEST_FILE
    try:
        manifest = _manifest_from(read_sealed(path))
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise corrupt(digest, path, f"it cannot be read: {error}") from error
    expected = digest_checkpoint(
        manifest.weights_digest,
        preprocessing_id=manifest.preprocessing_id,
        dataset_digest=manifest.dataset_digest,
        attribute=manifest.attribute,
        classes=manifest.classes,
        source=manifest.source,
    )
    if not manifest.digest == expected == digest:
        raise corrupt(digest, path, f"its content has the digest {expected}")
    return manifest


def read_state(root: Path, manifest: CheckpointManifest) -> dict[str, NDArray[np.generic]]:
    """All tensors of a checkpoint, their digest and that of every other file verified.

    Raises ServiceError (STORE_CORRUPT), naming the file.
    """
    directory = checkpoint_files(root, manifest.digest)
    for name, digest in manifest.files.items():
        _verify_file(manifest.digest, directory / name, digest)
    path = directory / WEIGHTS_FILE
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise corrupt(manifest.digest, path, f"it cannot be read: {error}") from error
    found = digest_weights(state)
    if found != manifest.weights_digest:
        raise corrupt(manifest.digest, path, f"its tensors have the digest {found}")
    return dict(state)


def read_head(root: Path, digest: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight (C, D) and bias (C,) of a checkpoint's head; a head without bias has zeros.

    Everything is read and verified: a head with a flipped bit would score wrongly and say nothing.
    Raises ServiceError: UNKNOWN_CHECKPOINT, STORE_CORRUPT.
    """
    manifest = read_manifest(root, digest)
    path = checkpoint_directory(root, digest) / WEIGHTS_FILE
    state = read_state(root, manifest)
    try:
        weight = np.asarray(state[manifest.head_weight], dtype=np.float32)
        bias = np.zeros(manifest.n_classes, dtype=np.float32)
        if manifest.head_bias:
            bias = np.asarray(state[manifest.head_bias], dtype=np.float32)
    except KeyError as error:
        raise corrupt(digest, path, f"it has no tensor {error}") from error
    expected = ((manifest.n_classes, manifest.n_features), (manifest.n_classes,))
    if (weight.shape, bias.shape) != expected:
        raise corrupt(digest, path, f"its head has shapes {weight.shape}, {bias.shape}, not {expected}")
    return weight, bias


def _manifest_from(content: dict[str, Any]) -> CheckpointManifest:
    """The record from its JSON, whose arrays become tuples. Raises TypeError for unexpected or missing fields."""
    known = {one.name for one in fields(CheckpointManifest)}
    if unknown := sorted(set(content) - known):
        raise TypeError(f"unknown fields {', '.join(unknown)}")
    notes = tuple(Note(NoteId(one["id"]), str(one["text"])) for one in content.pop("notes", ()))
    tied = tuple(tuple(str(name) for name in names) for names in content.pop("tied", ()))
    return CheckpointManifest(**as_tuples(content), notes=notes, tied=tied)


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _verify_file(checkpoint: str, path: Path, digest: str) -> None:
    try:
        found = _digest_of(path)
    except OSError as error:
        raise corrupt(checkpoint, path, f"it cannot be read: {error}") from error
    if found != digest:
        raise corrupt(checkpoint, path, f"its digest is {found}, not {digest}")


def corrupt(checkpoint: str, path: Path, what: str) -> ServiceError:
    """The error for a file of a checkpoint that is damaged, or missing; UNKNOWN_CHECKPOINT where all of it is gone."""
    if not path.parent.exists():
        return ServiceError(
            ErrorKind.UNKNOWN_CHECKPOINT,
            f"checkpoint {checkpoint[:12]} was deleted while it was being read",
            checkpoint=checkpoint,
        )
    return ServiceError(
        ErrorKind.STORE_CORRUPT,
        f"the file {path.name} of checkpoint {checkpoint} is damaged: {what}; finetune again to replace it "
        f"after removing its directory",
        checkpoint=checkpoint,
        file=path,
    )
