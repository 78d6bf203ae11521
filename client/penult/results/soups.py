"""Heads out of what callers pass as one, and mixtures of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from penult.arguments.coerce import listed
from penult.arguments.coerce_arrays import numbers
from penult.arguments.instead import wrong_sort
from penult.errors import invalid, shown
from penult.results.heads import Head, HeadArrays
from penult.results.records import short
from penult.results.refits import Refit
from penult_proto.errors import ErrorKind


def may_be_head(value: object) -> bool:
    """Whether `as_head` would try: a head, a pair, or a layer with a weight and a bias, such as torch's Linear."""
    if isinstance(value, tuple | list):
        return len(cast("list[Any]", value)) == 2
    return isinstance(value, Head | Refit) or (hasattr(value, "weight") and hasattr(value, "bias"))


def as_head(value: object, argument: str = "head", expected: str = "a Head, a Refit or (weight, bias)") -> Head:
    """A head, a refit's, or the one that a weight and a bias make. Raises `InvalidRequest`."""
    if isinstance(value, Head):
        return value
    if isinstance(value, Refit):
        return value.head
    if not may_be_head(value) or any(isinstance(part, Head | Refit) for part in _parts(value)):
        raise wrong_sort(argument, "head", value, expected)
    weight, bias = _parts(value)
    return Head(weight, bias)


def _parts(value: Any) -> tuple[Any, Any]:
    """Weight and bias of what may be a head."""
    if isinstance(value, tuple | list):
        first, second = cast("list[Any]", value)
        return first, second
    return value.weight, value.bias


def soup(
    heads: Sequence[Head | Refit | HeadArrays], weights: ArrayLike | None = None, *, across_checkpoints: bool = False
) -> Head:
    """The mean of several heads, or their mixture with `weights` (scaled to sum 1).

    Classes are in the order of the first head's. Heads of the features of several checkpoints are mixed only with
    `across_checkpoints`; the mixture then is of none. Raises `InvalidRequest` when they do not fit each other.
    """
    given = [as_head(one, f"heads[{i}]") for i, one in enumerate(listed("heads", heads, "[refit_a, refit_b]"))]
    members = [_in_order(one, given[0]) for one in given]
    checkpoints = {one.checkpoint for one in members if one.checkpoint}
    if len(checkpoints) > 1 and not across_checkpoints:
        raise invalid(
            f"the heads read features of several checkpoints, {', '.join(sorted(map(short, checkpoints)))}; mix heads "
            "of one, or give across_checkpoints=True if that is meant",
            ErrorKind.OTHER_CHECKPOINT,
        )
    mixture = np.ones(len(members)) if weights is None else numbers("weights", weights)
    if not members or len({one.weight.shape for one in members}) > 1:
        raise invalid(
            f"a soup takes heads of one shape; got {[one.weight.shape for one in members]}", ErrorKind.WRONG_SHAPE
        )
    with np.errstate(all="ignore"):
        total = mixture.sum() if mixture.shape == (len(members),) else 0.0
    if not np.isfinite(mixture).all() or not np.isfinite(total) or total == 0:
        raise invalid(f"weights must be {len(members)} finite numbers with a sum other than 0; got {shown(weights)}")
    with np.errstate(all="ignore"):
        return Head(
            np.average([one.weight for one in members], axis=0, weights=mixture),
            np.average([one.bias for one in members], axis=0, weights=mixture),
            classes=next((one.classes for one in members if one.classes is not None), None),
            checkpoint=checkpoints.pop() if len(checkpoints) == 1 else "",
        )


def _in_order(head: Head, first: Head) -> Head:
    """A head with its rows in the order of the classes of another; one without names goes by their index."""
    if head.classes is None or first.classes is None or head.classes == first.classes:
        return head
    if sorted(head.classes) != sorted(first.classes):
        raise invalid(
            f"heads must be of the same classes; got {', '.join(first.classes)} and {', '.join(head.classes)}",
            ErrorKind.OTHER_CLASSES,
        )
    order = [head.classes.index(name) for name in first.classes]
    return replace(head, weight=head.weight[order], bias=head.bias[order], classes=first.classes)
