"""Feature sets to and from the wire: streams of named pieces of arrays."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_proto.arrays import AnyArray, numpy_dtype, shape_text
from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_LABELS
from penult_proto.pieces.framing import Arrival, announce, expect_end, gather, pieces
from penult_proto.v1 import arrays_pb2
from penult_proto.v1 import features_pb2 as pb
from penult_server.class_names import Classes, match_classes
from penult_server.compute.arriving import AnyPiece, ArrayFill
from penult_server.compute.upload_sizes import check_names, check_space
from penult_server.errors import ServiceError, sent_by_client, unknown
from penult_server.messages import feature_set_to_proto
from penult_server.notes import Note
from penult_server.records import LabelNames
from penult_server.stores.features import FeatureHeader, FeatureWriter, check_finite, check_labels
from penult_server.stores.reading import StoredFeatures

WIRE_NAMES = {"head.weight": "head_weight", "head.bias": "head_bias"}
"""Names on the wire that are not names of stored arrays."""
STORED_NAMES = {stored: wire for wire, stored in WIRE_NAMES.items()}
EXPECTED_DTYPES = {
    "features": ("float32", "float16"),
    "y": ("int64",),
    "a": ("int64",),
    "row_id": ("uint64",),
    "logits": ("float32",),
    "masks": ("bool",),
    "head.weight": ("float64", "float32"),
    "head.bias": ("float64", "float32"),
}


@sent_by_client()
def receive(root: Path, header: pb.UploadHeader, pieces: Iterator[AnyPiece]) -> pb.FeatureSet:
    """Store an upload, whose arrays come in pieces.

    `features` is the last array, so that its rows can be written and folded into the group moments as they
    come; the others, which are small, are held in memory.
    Raises ServiceError: INCOMPLETE_UPLOAD, INVALID_ARGUMENT, WRONG_SHAPE, WRONG_DTYPE, NOT_FINITE,
    LABEL_OUT_OF_RANGE, EMPTY_GROUP.
    """
    headers = list(header.arrays)
    _check_headers(headers)
    check_names(header)
    check_space(root, headers)
    small = gather(headers[:-1], pieces)
    n, d = headers[-1].shape
    labels = _labels(header.labels, small, has_labels=header.HasField("labels"))
    _check_masks(labels, small)
    row_id = small.get("row_id", np.arange(n, dtype=np.uint64))
    if _has_repeats(row_id):
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, "row_id must be unique, got some of them twice", array="row_id")
    logits = small.get("logits")
    head, notes = _head(small, labels, tuple(header.head_classes))
    description = FeatureHeader(
        n_examples=n,
        n_features=d,
        dtype=numpy_dtype(headers[-1].dtype, "features").name,
        labels=labels,
        n_logits=0 if logits is None else logits.shape[1],
        head=head,
        feature_kind="uploaded",
        notes=notes,
        train_shares=_train_shares(header.train_counts, labels),
    )
    a = small.get("a", np.zeros(n, dtype=np.int64))
    held = small | {"a": a, "row_id": row_id}
    features = ArrayFill(headers[-1], pieces)
    with FeatureWriter(root, description) as writer:
        at = 0
        while at < n:
            place = writer.place(n - at)
            features.fill(place["features"])
            rows = slice(at, at + len(place["features"]))
            for name in place.keys() - {"features"}:
                place[name][...] = held[name][rows]
            writer.take(place)
            at = rows.stop
        expect_end(pieces)
        return feature_set_to_proto(writer.finish())


def send(root: Path, request: pb.ReadFeaturesRequest) -> Iterator[pb.ReadFeaturesResponse]:
    """The arrays of a stored set: a header, then their pieces in order.

    Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT, INVALID_ARGUMENT (an array it does not have).
    """
    stored = StoredFeatures(root, request.feature_set)
    available = [STORED_NAMES.get(name, name) for name in stored.array_names]
    wanted = list(request.arrays) or available
    for name in wanted:
        if name not in available:
            raise unknown(ErrorKind.INVALID_ARGUMENT, "array", name, available)
    if len(set(wanted)) < len(wanted):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"arrays must name each array once, got {wanted}", field="arrays"
        )
    header = pb.ReadHeader(feature_set=feature_set_to_proto(stored.manifest))
    for name in wanted:
        array = stored.array(WIRE_NAMES.get(name, name))
        header.arrays.append(announce(name, array.dtype, array.shape))
    yield pb.ReadFeaturesResponse(header=header)
    for name in wanted:
        offset = 0
        for block in stored.blocks(WIRE_NAMES.get(name, name)):
            for chunk in pieces(name, block, offset=offset):
                yield pb.ReadFeaturesResponse(chunk=chunk)
            offset += block.nbytes


def _check_headers(headers: list[arrays_pb2.ArrayHeader]) -> None:
    """Names, types and shapes fit together before the first byte is taken."""
    names = [header.name for header in headers]
    for name in names:
        if name not in EXPECTED_DTYPES:
            raise unknown(ErrorKind.INVALID_ARGUMENT, "array", name, list(EXPECTED_DTYPES))
    if len(set(names)) != len(names) or "y" not in names or names[-1:] != ["features"]:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"an upload has y and, as its last array, features, each once; got {names}",
        )
    if ("head.weight" in names) != ("head.bias" in names):
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, "head.weight and head.bias go together: give both or none")
    shape = tuple(headers[-1].shape)
    if len(shape) != 2 or min(shape) < 1:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"features must be (N, D) with N and D at least 1, got {shape_text(shape)}",
            array="features",
        )
    for header in headers:
        dtype = numpy_dtype(header.dtype, header.name).name
        if dtype not in EXPECTED_DTYPES[header.name]:
            expected = " or ".join(EXPECTED_DTYPES[header.name])
            raise ServiceError(
                ErrorKind.WRONG_DTYPE, f"{header.name} must be {expected}, got {dtype}", array=header.name
            )
        _check_shape(header, shape)


def _has_repeats(row_id: NDArray[np.uint64]) -> bool:
    """Whether an id is there twice; ids that ascend, which are the most common, are not sorted."""
    if bool((row_id[1:] > row_id[:-1]).all()):
        return False
    ordered = np.sort(row_id)
    return bool((ordered[1:] == ordered[:-1]).any())


def _check_shape(header: arrays_pb2.ArrayHeader, features: tuple[int, ...]) -> None:
    shape = tuple(header.shape)
    n, d = features
    legal = {
        "features": shape == features,
        "logits": len(shape) == 2 and shape[0] == n and shape[1] >= 1,
        "masks": len(shape) == 2 and shape[0] == n and shape[1] >= 1,
        "head.weight": len(shape) == 2 and shape[0] >= 1 and shape[1] == d,
        "head.bias": len(shape) == 1,
    }
    if not legal.get(header.name, shape == (n,)):
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"{header.name} has shape {shape_text(shape)}, which does not fit features {features}",
            array=header.name,
        )
    Arrival(header)


def _labels(given: Any, small: dict[str, AnyArray], *, has_labels: bool) -> LabelNames:
    """Names of the labels: the ones given, else their indices."""
    n_classes = max(int(small["y"].max()) + 1, 0)
    n_attributes = max(int(small["a"].max()) + 1, 0) if "a" in small else 0
    for name, count in (("y", n_classes), ("a", n_attributes)):
        if count > MOST_LABELS:
            raise ServiceError(
                ErrorKind.LABEL_OUT_OF_RANGE,
                f"{name} goes up to {count - 1}; labels count from 0 and at most {MOST_LABELS} are allowed",
                array=name,
            )
    labels = LabelNames(
        classes=tuple(str(index) for index in range(n_classes)),
        attribute="a" if "a" in small else "",
        attribute_values=tuple(str(index) for index in range(n_attributes)),
        classes_by_index=True,
    )
    if has_labels:
        labels = LabelNames(
            classes=tuple(given.classes) or labels.classes,
            attribute=given.attribute or labels.attribute,
            attribute_values=tuple(given.attribute_values) or labels.attribute_values,
            masks=tuple(given.masks),
            classes_by_index=not given.classes,
        )
    if (labels.attribute or labels.attribute_values) and "a" not in small:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            "an attribute or its values are named, but there is no array a; upload it, or leave the names out",
        )
    for field, names in (("classes", labels.classes), ("attribute_values", labels.attribute_values)):
        if len(set(names)) < len(names) or "" in names:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{field} needs a name of its own for every index, got {list(names)[:20]}",
                field=field,
            )
    if labels.n_groups > MOST_LABELS:
        raise ServiceError(
            ErrorKind.LABEL_OUT_OF_RANGE,
            f"{len(labels.classes)} classes x {labels.n_attributes} attribute values make {labels.n_groups} groups, "
            f"more than {MOST_LABELS}; labels count from 0 (are these row ids?)",
        )
    check_labels(small["y"], len(labels.classes), "y")
    if "a" in small:
        check_labels(small["a"], len(labels.attribute_values), "a")
    return labels


def _train_shares(counts: Sequence[int], labels: LabelNames) -> tuple[float, ...]:
    """(G,) share of each group among the training examples; empty when their counts are not given."""
    if not counts:
        return ()
    total = sum(counts)
    if len(counts) != labels.n_groups or min(counts) < 0 or not total:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"train_counts must hold a count of at least 0 for each of the {labels.n_groups} groups (classes "
            f"{list(labels.classes)[:20]} x {labels.n_attributes} attribute values) with a positive sum; got "
            f"{len(counts)} counts with the sum {total}",
            array="train_counts",
        )
    return tuple(count / total for count in counts)


def _check_masks(labels: LabelNames, small: dict[str, AnyArray]) -> None:
    """Every column of the masks (N, M) has a name of its own."""
    masks = small.get("masks")
    n_masks = 0 if masks is None else masks.shape[1]
    if n_masks != len(labels.masks) or len(set(labels.masks)) != n_masks or "" in labels.masks:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"masks has {n_masks} columns, each needs a name of its own; got the names {list(labels.masks)}",
            array="masks",
        )


def _head(
    small: dict[str, AnyArray], labels: LabelNames, names: tuple[str, ...]
) -> tuple[tuple[AnyArray, AnyArray] | None, tuple[Note, ...]]:
    """The head with its rows in the order of the labels' classes; without names they are in that order already."""
    if "head.weight" not in small:
        return None, ()
    weight, bias = small["head.weight"], small["head.bias"]
    if bias.shape != weight.shape[:1]:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"head.bias has shape {bias.shape}, head.weight {weight.shape} needs {weight.shape[:1]}",
            array="head.bias",
        )
    check_finite(weight, "head.weight")
    check_finite(bias[:, None], "head.bias")
    if not names:
        return (weight, bias), ()
    if len(names) != len(bias):
        raise ServiceError(
            ErrorKind.WRONG_SHAPE, f"the head has {len(bias)} rows and {len(names)} class names", array="head.weight"
        )
    own = Classes(names=labels.classes, by_index=labels.classes_by_index, whose="the feature set")
    match = match_classes(Classes(names=names, whose="the head"), own)
    return (match.rows(weight), match.rows(bias)), match.notes
