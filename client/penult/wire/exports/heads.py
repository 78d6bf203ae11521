"""The head that an export ends in: the checkpoint's own, a refit's, or one of the caller's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult.arguments.instead import wrong_sort
from penult.errors import invalid
from penult.results.heads import Head, class_names
from penult.results.records import short
from penult.results.refits import Refit
from penult.wire.exports.manifest import StoredManifest
from penult_proto.errors import ErrorKind

IsSameModel = Callable[[str], bool]
"""Whether the checkpoint of a digest gives the same features as the one that is exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHead:
    """A head in the place of the stored one."""

    weight: NDArray[np.float32]
    """(C, D), its rows in the order of the checkpoint's classes."""
    bias: NDArray[np.float32]
    """(C,)"""
    source: str
    """Where it comes from, such as "refit 1a2b..."."""
    largest_rounding: float
    """Largest difference that the conversion from float64 made to an entry."""
    remarks: tuple[str, ...]
    """What was done to it, and what is not known."""

    def tensors(self, manifest: StoredManifest) -> dict[str, bytes]:
        """The bytes of its tensors, by the names that they have in the checkpoint."""
        written = {manifest.head_weight: self.weight.astype("<f4").tobytes()}
        if manifest.head_bias:
            written[manifest.head_bias] = self.bias.astype("<f4").tobytes()
        return written


def new_head(
    given: Head | Refit | None, manifest: StoredManifest, digest: str, is_same_model: IsSameModel
) -> NewHead | None:
    """The head to write, None for the stored one.

    Raises `InvalidRequest`: kinds ``wrong_shape``, ``other_classes``, ``other_checkpoint``, ``not_finite``.
    """
    if given is None:
        return None
    if not isinstance(given, Head | Refit):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        raise wrong_sort("head", "head", given, "a Refit or a Head")
    head = given.head if isinstance(given, Refit) else given
    source = f"refit {given.digest}" if isinstance(given, Refit) else "a head that was given to the export"
    remarks = [_belongs(given, head, digest, is_same_model)]
    expected = (len(manifest.classes), manifest.n_features)
    if head.weight.shape != expected:
        raise invalid(
            f"the head of checkpoint {short(digest)} has the shape {expected} (classes, features); got "
            f"{head.weight.shape}: fit one on the features of this checkpoint",
            ErrorKind.WRONG_SHAPE,
            argument="head",
        )
    order, said = _order(head, manifest)
    weight, bias = head.weight[order], head.bias[order]
    if not manifest.head_bias and bias.any():
        raise invalid(
            "the head of this checkpoint has no bias, and the one given has; fit one with intercept='none'",
            ErrorKind.WRONG_SHAPE,
            argument="head",
        )
    with np.errstate(over="ignore"):
        rounded = (weight.astype(np.float32), bias.astype(np.float32))
    if not all(np.isfinite(part).all() for part in rounded):
        raise invalid("a head must be finite in float32; this one is not", ErrorKind.NOT_FINITE, argument="head")
    differences = [np.abs(one - two).max(initial=0.0) for one, two in zip(rounded, (weight, bias), strict=True)]
    return NewHead(
        weight=rounded[0],
        bias=rounded[1],
        source=source,
        largest_rounding=float(max(differences)),
        remarks=(*(one for one in (*remarks, said) if one), "converted from float64 to the float32 of the weights"),
    )


def _belongs(given: Head | Refit, head: Head, digest: str, is_same_model: IsSameModel) -> str:
    """What is not known of where a head belongs. Raises `InvalidRequest` for one of other features."""
    if not head.checkpoint:
        if isinstance(given, Refit):
            raise invalid(
                "this refit was fitted on uploaded features, of which it is not known that they are this checkpoint's; "
                "if they are, pass head=refit.head",
                ErrorKind.OTHER_CHECKPOINT,
                argument="head",
            )
        return "it does not say which checkpoint's features it was fitted on"
    if head.checkpoint != digest and not is_same_model(head.checkpoint):
        raise invalid(
            f"the head belongs to the features of checkpoint {short(head.checkpoint)}, and checkpoint {short(digest)} "
            "is exported; export that one, or fit a head on features of this one",
            ErrorKind.OTHER_CHECKPOINT,
            argument="head",
        )
    return ""


def _order(head: Head, manifest: StoredManifest) -> tuple[list[int], str]:
    """The row of the head for each class of the checkpoint, and what was done. Raises `InvalidRequest`."""
    names = class_names(head)
    if not names:
        return list(
            range(len(manifest.classes))
        ), "it has no class names: its rows were taken in the order of `classes`"
    if sorted(names) != sorted(manifest.classes):
        raise invalid(
            f"the head knows the classes {', '.join(names)}, the checkpoint {', '.join(manifest.classes)}; a head of "
            "the same names is needed",
            ErrorKind.OTHER_CLASSES,
            argument="head",
        )
    order = [names.index(name) for name in manifest.classes]
    return order, "" if tuple(names) == manifest.classes else "its rows were put in the order of `classes`"
