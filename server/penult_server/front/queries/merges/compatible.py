"""Whether checkpoints can be merged: decided by what is stored about them and the headers of their files alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.safetensors import WEIGHTS_FILE, Header, HeaderError
from penult_server.errors import ServiceError
from penult_server.stores.checkpoints import CheckpointManifest, checkpoint_files, corrupt, read_manifest
from penult_server.stores.writing.weights import header_of

MOST_LISTED = 3
"""Most tensors in one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a checkpoint without reading its weights."""

    manifest: CheckpointManifest
    header: Header

    @property
    def short(self) -> str:
        """The start of its digest."""
        return self.manifest.digest[:12]


def facts_of(root: Path, digest: str) -> Facts:
    """Raises ServiceError: UNKNOWN_CHECKPOINT, STORE_CORRUPT."""
    manifest = read_manifest(root, digest)
    path = checkpoint_files(root, digest) / WEIGHTS_FILE
    try:
        return Facts(manifest=manifest, header=header_of(path))
    except (OSError, HeaderError) as error:
        raise corrupt(digest, path, f"it cannot be read: {error}") from error


def check_bodies(first: Facts, other: Facts, *, allow_datasets: bool) -> None:
    """Raise ServiceError (INCOMPATIBLE_CHECKPOINTS) unless two checkpoints can be merged below their heads."""
    for check in _CHECKS:
        check(first, other)
    if not allow_datasets:
        _check_datasets(first, other)
    _check_names(first, other)
    _check_ties(first, other)
    _check_shapes(first, other)


def check_heads(first: Facts, other: Facts) -> None:
    """Raise ServiceError (INCOMPATIBLE_CHECKPOINTS) unless two heads know the same classes, in whatever order."""
    a, b = first.manifest.classes, other.manifest.classes
    if sorted(a) == sorted(b) and len(set(a)) == len(a):
        return
    raise incompatible(
        f"the head of checkpoint {first.short} knows the classes {_listed(a)}, that of {other.short} "
        f"{_listed(b)}; heads are merged row by row, of equal names: merge the bodies alone (scope='body')"
    )


def incompatible(text: str, tensors: Sequence[str] = ()) -> ServiceError:
    """The refusal of a merge, which names the first tensors that are meant."""
    return ServiceError(ErrorKind.INCOMPATIBLE_CHECKPOINTS, text, tensors=", ".join(tensors[:MOST_LISTED]))


def _check_modality(first: Facts, other: Facts) -> None:
    kinds = ["texts" if one.manifest.max_tokens else "images" for one in (first, other)]
    if kinds[0] != kinds[1]:
        raise incompatible(
            f"checkpoint {first.short} reads {kinds[0]}, {other.short} reads {kinds[1]}; merge networks of one kind"
        )


def _check_backbone(first: Facts, other: Facts) -> None:
    a, b = first.manifest, other.manifest
    if (a.library, a.backbone) != (b.library, b.backbone):
        raise incompatible(
            f"checkpoint {first.short} is a {a.backbone!r} of {a.library}, {other.short} a {b.backbone!r} of "
            f"{b.library}; merge networks of one architecture"
        )


def _check_pooling(first: Facts, other: Facts) -> None:
    a, b = first.manifest.pooling, other.manifest.pooling
    if a != b:
        raise incompatible(
            f"the head of checkpoint {first.short} reads pooling {a!r}, that of {other.short} {b!r}; merge networks "
            "that pool alike"
        )


def _check_preprocessing(first: Facts, other: Facts) -> None:
    a, b = first.manifest.preprocessing_id, other.manifest.preprocessing_id
    if a != b:
        raise incompatible(
            f"checkpoint {first.short} reads its inputs as {a!r}, {other.short} as {b!r}; merge networks of one "
            "preprocessing, or import one of them again with the other's"
        )


_CHECKS: tuple[Callable[[Facts, Facts], None], ...] = (
    _check_modality,
    _check_backbone,
    _check_pooling,
    _check_preprocessing,
)


def _check_datasets(first: Facts, other: Facts) -> None:
    a, b = first.manifest, other.manifest
    if (a.dataset_digest, a.attribute) != (b.dataset_digest, b.attribute):
        raise incompatible(
            f"checkpoint {first.short} is about {_about(a)}, {other.short} about {_about(b)}; bodies of several are "
            "merged with allow_datasets=True"
        )


def _about(manifest: CheckpointManifest) -> str:
    if not manifest.dataset:
        return "no dataset that is known"
    return f"dataset {manifest.dataset!r} ({manifest.dataset_digest[:12]}) by {manifest.attribute!r}"


def _check_names(first: Facts, other: Facts) -> None:
    a, b = set(first.header.tensors), set(other.header.tensors)
    if a == b:
        return
    differ = sorted(a ^ b)
    whose, missing = (other.short, sorted(a - b)) if a - b else (first.short, sorted(b - a))
    raise incompatible(
        f"checkpoint {whose} has no tensor {', '.join(missing[:MOST_LISTED])}, which the other has "
        f"({len(differ)} names differ): they are tied in one and untied in the other, or of another architecture; "
        "merge networks of equal tensors",
        differ,
    )


def _check_ties(first: Facts, other: Facts) -> None:
    a, b = set(first.manifest.tied), set(other.manifest.tied)
    if a == b:
        return
    names = sorted(a ^ b)[0]
    tied, untied = (first.short, other.short) if a - b else (other.short, first.short)
    raise incompatible(
        f"{' and '.join(names[:MOST_LISTED])} are one tensor in checkpoint {tied} and several in {untied}; merge "
        "networks that tie the same weights",
        names,
    )


def _check_shapes(first: Facts, other: Facts) -> None:
    head = {one.manifest.head_weight for one in (first, other)} | {one.manifest.head_bias for one in (first, other)}
    differ: list[str] = []
    for name, tensor in sorted(first.header.tensors.items()):
        twin = other.header.tensors[name]
        if (tensor.dtype, tensor.shape) != (twin.dtype, twin.shape):
            differ.append(name)
    only_head = set(differ) <= head and first.manifest.n_classes != other.manifest.n_classes
    if only_head:  # of other classes: a body can be merged all the same
        return
    if differ:
        name = differ[0]
        a, b = first.header.tensors[name], other.header.tensors[name]
        raise incompatible(
            f"{name!r} is {a.dtype} {list(a.shape)} in checkpoint {first.short} and {b.dtype} {list(b.shape)} in "
            f"{other.short} ({len(differ)} tensors differ); merge networks of equal shapes and types",
            differ,
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) or "without names"
