"""Heads with the names of their classes and the checkpoint whose features they read: what they may be applied to."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.solve import Head
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import refits_pb2 as pb
from penult_server.class_names import Classes, Match, match_classes
from penult_server.errors import ServiceError
from penult_server.messages import array_from_proto, array_to_proto
from penult_server.notes import Note
from penult_server.stores.manifest import FeatureManifest

DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NamedHead:
    """A head, and where it comes from."""

    head: Head
    classes: Classes
    """The classes of the head's rows."""
    checkpoint: str
    """Digest of the checkpoint whose features the head reads; empty if it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which heads may be applied to which sets in one request."""

    is_same_model: Callable[[str, str], bool]
    """Whether two checkpoints give the same features."""
    across_checkpoints: bool
    class_map: Mapping[str, str] = field(default_factory=dict[str, str])

    def head(self, head: NamedHead, manifest: FeatureManifest) -> Match:
        """Match the rows of a head to the classes of a set.

        Raises ServiceError: WRONG_SHAPE, NOT_FINITE, OTHER_CHECKPOINT, OTHER_CLASSES.
        """
        check_head(head, manifest)
        notes = self.checkpoint(head.checkpoint, head.classes.whose, manifest)
        match = match_classes(head.classes, classes_of(manifest), self.class_map)
        return Match(order=match.order, notes=(*match.notes, *notes))

    def heads_of_set(self, fitted: FeatureManifest, manifest: FeatureManifest) -> Match:
        """Match the rows of heads fitted on one set to the classes of another; raises what `head` does."""
        if fitted.digest == manifest.digest:
            return Match(order=np.arange(len(fitted.labels.classes)))
        check_width(fitted.n_features, f"a head fitted on feature set {fitted.digest[:12]}", manifest)
        notes = self.checkpoint(fitted.checkpoint, f"feature set {fitted.digest[:12]}", manifest)
        match = match_classes(classes_of(fitted), classes_of(manifest), self.class_map)
        return Match(order=match.order, notes=(*match.notes, *notes))

    def checkpoint(self, checkpoint: str, whose: str, manifest: FeatureManifest) -> tuple[Note, ...]:
        """A note if a head or scaler of one checkpoint meets features of another; uploads have no checkpoint.

        Raises ServiceError (OTHER_CHECKPOINT) unless the request allows it.
        """
        if not (checkpoint and manifest.checkpoint) or self.is_same_model(checkpoint, manifest.checkpoint):
            return ()
        both = (
            f"{whose} belongs to the features of checkpoint {checkpoint[:12]}, feature set {manifest.digest[:12]} "
            f"holds those of checkpoint {manifest.checkpoint[:12]}"
        )
        if not self.across_checkpoints:
            raise ServiceError(
                ErrorKind.OTHER_CHECKPOINT,
                f"{both}; use features of the same checkpoint, or across_checkpoints=True if this is meant",
                field="across_checkpoints",
            )
        return (Note(NoteId.ACROSS_CHECKPOINTS, both),)


def host_head(weight: NDArray[Any], bias: NDArray[Any]) -> Head:
    """A head (C, D), (C,) on the host, in float64."""
    return Head(weight=weight.astype(np.float64), bias=bias.astype(np.float64))


def classes_of(manifest: FeatureManifest) -> Classes:
    """The classes of a feature set."""
    labels = manifest.labels
    whose = f"feature set {manifest.digest[:12]}"
    return Classes(names=labels.classes, by_index=labels.classes_by_index, whose=whose)


def check_head(head: NamedHead, manifest: FeatureManifest) -> None:
    """Raise ServiceError (WRONG_SHAPE, NOT_FINITE) unless a head (C, D), (C,) reads the features of a set."""
    weight, bias = head.head.weight, head.head.bias
    n_classes = len(head.classes.names)
    if weight.ndim != 2 or weight.shape[0] != n_classes or bias.shape != weight.shape[:1] or not n_classes:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"a head is (C, D) with bias (C,) and as many class names, or none; {head.classes.whose} is {weight.shape} "
            f"with bias {bias.shape} and {n_classes} classes",
        )
    check_width(weight.shape[1], f"{head.classes.whose}, of shape {weight.shape},", manifest)
    for name, part in (("head.weight", weight), ("head.bias", bias)):
        if not np.isfinite(part).all():
            raise ServiceError(ErrorKind.NOT_FINITE, f"{name} holds NaN or infinity; a head must be finite", array=name)


def check_width(n_features: int, whose: str, manifest: FeatureManifest) -> None:
    """Raise ServiceError (WRONG_SHAPE) unless a set has so many features."""
    if n_features != manifest.n_features:
        expected = (len(manifest.labels.classes), manifest.n_features)
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"{whose} reads {n_features} features; feature set {manifest.digest[:12]} needs {expected} (classes, "
            "features)",
        )


def head_from_proto(message: pb.Head, whose: str = "the head") -> NamedHead:
    """A head that came with a request; without names its rows go by their index.

    Raises ServiceError: WRONG_SHAPE, WRONG_DTYPE; INVALID_ARGUMENT for a checkpoint that is no digest.
    """
    if message.checkpoint and not DIGEST.fullmatch(message.checkpoint):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the checkpoint of a head is a digest of 64 hexadecimal digits, or empty; got {message.checkpoint!r}",
            field="head.checkpoint",
        )
    weight: NDArray[Any] = array_from_proto(message.weight, "head.weight")
    bias: NDArray[Any] = array_from_proto(message.bias, "head.bias")
    n_classes = weight.shape[0] if weight.ndim else 0
    names = tuple(message.classes) or tuple(str(index) for index in range(n_classes))
    return NamedHead(
        head=host_head(weight, bias),
        classes=Classes(names=names, by_index=not message.classes, whose=whose),
        checkpoint=message.checkpoint,
    )


def head_to_proto(head: Head, manifest: FeatureManifest) -> pb.Head:
    """A head on the host, for the classes and features of a set."""
    labels = manifest.labels
    return pb.Head(
        weight=array_to_proto(head.weight),
        bias=array_to_proto(head.bias),
        classes=() if labels.classes_by_index else labels.classes,
        checkpoint=manifest.checkpoint,
    )
