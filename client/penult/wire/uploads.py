"""What an upload holds, from the arguments of `FeatureSets.upload`: arrays, names, training counts, notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penult.arguments import coerce
from penult.arguments.coerce_arrays import floats, host_array, row_ids
from penult.arguments.labels import Indexed, indexed, training_counts
from penult.errors import invalid, shown
from penult.files.rows import Rows
from penult.results.heads import Head, HeadArrays, class_names
from penult.results.notes import Note, Notes
from penult.results.soups import as_head
from penult.wire.arrays import AnyArray
from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_LABELS
from penult_proto.notes import NoteId
from penult_proto.v1 import groups_pb2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Upload:
    """What is sent of one feature set."""

    arrays: Mapping[str, AnyArray | Rows]
    """Arrays by name, in the order in which they are sent, each of a type that the wire has."""
    labels: groups_pb2.Labels
    train_counts: Sequence[int]
    """(G,) training examples of each group; empty when not known."""
    head_classes: Sequence[str]
    """Names of the head's rows; empty where they are in the order of the labels."""
    notes: Notes
    """How labels were read."""


def prepare(
    features: ArrayLike | Rows,
    y: ArrayLike,
    a: ArrayLike | None = None,
    *,
    logits: ArrayLike | Rows | None = None,
    row_id: ArrayLike | None = None,
    head: Head | HeadArrays | None = None,
    classes: Sequence[str | int] | None = None,
    attribute: str | None = None,
    attribute_values: Sequence[str | int] | None = None,
    masks: Mapping[str, ArrayLike] | None = None,
    train_counts: Mapping[Any, int] | None = None,
) -> Upload:
    """An upload, checked. Raises `InvalidRequest` for what does not fit together or would lose something."""
    x = _feature_rows(features)
    n_examples = x.shape[0]
    by_class = indexed("y", y, n_examples, classes, "classes")
    by_value = None if a is None else indexed("a", a, n_examples, attribute_values, "attribute_values")
    arrays: dict[str, AnyArray | Rows] = {"y": by_class.indices}
    if by_value is not None:
        arrays["a"] = by_value.indices
    if logits is not None:
        arrays["logits"] = _logits(logits, n_examples)
    if row_id is not None:
        arrays["row_id"] = _row_ids(row_id, n_examples)
    columns = {
        coerce.text("a name in masks", name): _mask(name, mask, n_examples)
        for name, mask in coerce.items("masks", masks, "{'outdoors': is_outdoors}")
    }
    if columns:
        arrays["masks"] = np.stack(list(columns.values()), axis=1)
    last_layer = None if head is None else as_head(head)
    if last_layer is not None:
        arrays |= _head_arrays(last_layer, x.shape[1])
    return Upload(
        # The server wants features last: it stores their rows, with their labels, as they come.
        arrays=arrays | {"features": x},
        labels=_labels(by_class, by_value, attribute, attribute_values, list(columns)),
        train_counts=[] if train_counts is None else _training_counts(train_counts, by_class, by_value),
        head_classes=[] if last_layer is None else class_names(last_layer),
        notes=_notes(by_class, by_value),
    )


def _feature_rows(features: ArrayLike | Rows) -> AnyArray | Rows:
    """Features (N, D) as they are stored; bfloat16 becomes float32, exactly. Raises `InvalidRequest`."""
    x = features if isinstance(features, Rows) else floats("features", features, ("float32", "float16"))
    if x.ndim != 2 or 0 in x.shape:
        raise invalid(f"features must have shape (N, D), neither 0; got {x.shape}", ErrorKind.WRONG_SHAPE)
    return x


def _logits(value: ArrayLike | Rows, n_examples: int) -> AnyArray | Rows:
    logits = value if isinstance(value, Rows) else floats("logits", value, ("float32",), widened=("float16",))
    if logits.ndim != 2 or logits.shape[0] != n_examples:
        raise invalid(f"logits must have shape ({n_examples}, C); got {logits.shape}", ErrorKind.WRONG_SHAPE)
    return logits


def _row_ids(value: ArrayLike, n_examples: int) -> NDArray[np.uint64]:
    ids = row_ids(value, "row_id")
    if ids.shape != (n_examples,):
        raise invalid(
            f"row_id must have shape ({n_examples},), one entry per row of features; got {ids.shape}",
            ErrorKind.WRONG_SHAPE,
            array="row_id",
        )
    return ids


def _mask(name: str, value: ArrayLike, n_examples: int) -> AnyArray:
    """(N,) bool: which rows belong to the set `name`; 0 and 1 mean no and yes."""
    array = host_array(f"masks[{name!r}]", value)
    if array.shape != (n_examples,):
        raise invalid(f"mask {name!r} must have shape ({n_examples},); got {array.shape}", ErrorKind.WRONG_SHAPE)
    if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise invalid(f"mask {name!r} must be bool; got {array.dtype.name}: convert it", ErrorKind.WRONG_DTYPE)
    return array.astype(np.bool_)


def _head_arrays(head: Head, n_features: int) -> dict[str, AnyArray]:
    if head.weight.shape[1] != n_features:
        raise invalid(
            f"head must have weight (C, {n_features}) and bias (C,); got {head.weight.shape} and {head.bias.shape}",
            ErrorKind.WRONG_SHAPE,
        )
    return {"head.weight": head.weight, "head.bias": head.bias}


def _labels(
    by_class: Indexed,
    by_value: Indexed | None,
    attribute: str | None,
    attribute_values: object,
    masks: Sequence[str],
) -> groups_pb2.Labels:
    """What is called how, as far as it is known. Raises `InvalidRequest`."""
    if by_value is None and attribute_values is not None:
        raise invalid(
            "attribute_values= names the values of a, and there is no a: give it, or leave the names out",
            ErrorKind.ATTRIBUTE_MISSING,
        )
    return coerce.build(
        groups_pb2.Labels,
        classes=by_class.names,
        attribute=coerce.optional_text("attribute", attribute),
        attribute_values=None if by_value is None else by_value.names,
        masks=masks,
    )


def _notes(by_class: Indexed, by_value: Indexed | None) -> Notes:
    """Notes that say which labels have become names."""
    read = (("y", "classes", by_class), ("a", "attribute_values", by_value))
    return tuple(
        Note(
            f"{argument} holds names: sorted, they became {names_argument} {shown(list(labels.names or ()))}",
            NoteId.CLASSES_FROM_LABELS.value,
        )
        for argument, names_argument, labels in read
        if labels is not None and labels.from_labels
    )


def _training_counts(counts: Mapping[Any, Any], by_class: Indexed, by_value: Indexed | None) -> list[int]:
    """Training examples of each group by its index. Raises `InvalidRequest` unless every group with rows has some."""
    classes = _all_names(by_class)
    values = () if by_value is None else _all_names(by_value)
    if len(classes) * max(1, len(values)) > MOST_LABELS:
        raise invalid(f"{len(classes)} classes x {len(values)} attribute values make more than {MOST_LABELS} groups")
    a = 0 if by_value is None else by_value.indices
    present = np.unique(by_class.indices * max(1, len(values)) + a)
    return training_counts(counts, classes, values, present)


def _all_names(labels: Indexed) -> Sequence[str]:
    return labels.names or [str(index) for index in range(int(labels.indices.max()) + 1)]
