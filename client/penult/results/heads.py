"""Last layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penult.arguments.coerce import names
from penult.arguments.coerce_arrays import numbers
from penult.display.html import Shown
from penult.errors import invalid
from penult.files.savable import Savable
from penult_proto.errors import ErrorKind

HeadArrays: TypeAlias = tuple[ArrayLike, ArrayLike]
"""Weight (C, D) and bias (C,) of a head."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Head(Shown, Savable):
    """A last layer: logits = features @ weight.T + bias.

    Made of arrays, lists or tensors. Raises `InvalidRequest` unless these are numbers whose shapes fit each other.
    """

    weight: NDArray[np.float64]
    """(C, D)"""
    bias: NDArray[np.float64]
    """(C,)"""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the rows, by which the head is matched with labels; None where its classes
    go by their index."""
    checkpoint: str = ""
    """Digest of the checkpoint whose features it reads; empty where not known."""

    def __post_init__(self) -> None:
        weight, bias = numbers("weight", self.weight), numbers("bias", self.bias)
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise invalid(
                f"a head has weight (C, D) and bias (C,); got {weight.shape} and {bias.shape}", ErrorKind.WRONG_SHAPE
            )
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)

    def logits(self, features: ArrayLike) -> NDArray[np.float64]:
        """(N, C) logits in float64 of features (N, D). Raises `InvalidRequest` on another width."""
        rows, n_features = numbers("features", features), self.weight.shape[1]
        if rows.ndim != 2 or rows.shape[1] != n_features:
            raise invalid(f"features must have shape (N, {n_features}); got {rows.shape}", ErrorKind.WRONG_SHAPE)
        with np.errstate(all="ignore"):
            return rows @ self.weight.T + self.bias

    def __repr__(self) -> str:
        n_classes, n_features = self.weight.shape
        return f"Head({n_classes} classes, {n_features} features)"


def class_names(head: Head) -> list[str]:
    """Names of a head's rows, none where it has none. Raises `InvalidRequest` unless there is one for each row."""
    given = names("Head.classes", head.classes)
    if given and len(given) != head.weight.shape[0]:
        raise invalid(f"a head of {head.weight.shape[0]} rows has as many classes; got {given}", ErrorKind.WRONG_SHAPE)
    return given
