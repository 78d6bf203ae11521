"""What is known of a feature set before its first row, and what its rows must look like."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.records import Attribute, LabelNames
from penult_server.stores.manifest import FeatureManifest

ARRAY_TYPES = {
    "y": "int64",
    "a": "int64",
    "row_id": "uint64",
    "logits": "float32",
    "attributes": "int64",
    "masks": "bool",
}
"""Types of the arrays that are stored with the features."""


CHECKED_NUMBERS = 2**17
"""Numbers that are checked at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureHeader:
    """What is known of a feature set before its first row."""

    n_examples: int
    n_features: int
    dtype: str
    """ "float32" or "float16"."""
    labels: LabelNames
    n_logits: int = 0
    head: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
    """Weight (C, D) and bias (C,) of the head; None without one."""
    digest: str | None = None
    """Identity of what the features are computed from; None takes the digest of the arrays themselves."""
    feature_kind: str = "pooled"
    checkpoint: str = ""
    dataset: str = ""
    dataset_digest: str = ""
    split: str = ""
    train_shares: tuple[float, ...] = field(default=())
    absent_groups: tuple[int, ...] = field(default=())
    """Groups without an example in any split of the dataset."""
    attributes: tuple[Attribute, ...] = field(default=())
    """All attributes of the dataset, in the order of the columns of the array `attributes`."""
    notes: tuple[Note, ...] = field(default=())


def keeps_moments(header: FeatureHeader | FeatureManifest) -> bool:
    """Whether group moments are stored: where they are smaller than the rows, and within the budget.

    For fewer rows, spectra from the rows themselves are quicker to compute than moments are to read.
    """
    moments = header.labels.n_groups * header.n_features * (header.n_features + 1) // 2 * 8
    rows = header.n_examples * header.n_features * np.dtype(header.dtype).itemsize
    return moments <= min(rows, budget.DEFAULT.moments_bytes)


def group_index(y: NDArray[Any], a: NDArray[Any], labels: LabelNames) -> NDArray[np.int64]:
    """(n,) group of every row, g = y * n_attributes + a."""
    return np.asarray(y, np.int64) * labels.n_attributes + np.asarray(a, np.int64)


def chunk_rows(n_features: int, itemsize: int) -> int:
    """Rows per chunk: a power of two near `Budget.chunk_bytes`, so that chunks of equal sets line up."""
    return 1 << max((budget.DEFAULT.chunk_bytes // max(n_features * itemsize, 1)).bit_length() - 1, 0)


def check_labels(labels: NDArray[Any], n_labels: int, name: str, first: int = 0) -> None:
    """Raise ServiceError (LABEL_OUT_OF_RANGE) naming the first row whose label is not in 0 .. n_labels-1."""
    wrong = np.flatnonzero((labels < 0) | (labels >= n_labels))
    if len(wrong):
        row = int(wrong[0])
        raise ServiceError(
            ErrorKind.LABEL_OUT_OF_RANGE,
            f"{name} must lie in 0 .. {n_labels - 1}, got {labels[row]} in row {first + row}",
            array=name,
            row=first + row,
            value=labels[row],
        )


def check_finite(values: NDArray[np.generic], name: str, first: int = 0) -> None:
    """Raise ServiceError (NOT_FINITE) naming the first row and column that holds NaN or infinity."""
    # In blocks whose answers stay in the cache.
    for start in range(0, len(values), step := max(1, CHECKED_NUMBERS // max(1, values.shape[1]))):
        finite = np.isfinite(values[start : start + step])
        if finite.all():
            continue
        row, column = (int(index) for index in np.argwhere(~finite)[0])
        row += start
        raise ServiceError(
            ErrorKind.NOT_FINITE,
            f"{name} must be finite, got {values[row, column]} in row {first + row}, column {column}; "
            "nothing was stored",
            array=name,
            row=first + row,
            column=column,
        )


def row_shapes(header: FeatureHeader) -> dict[str, tuple[int, ...]]:
    """Shape of one row of every array that the set has, in the order in which they enter its digest."""
    optional = {
        "logits": header.n_logits,
        "attributes": len(header.attributes),
        "masks": len(header.labels.masks),
    }
    shapes: dict[str, tuple[int, ...]] = {"features": (header.n_features,), "y": (), "a": (), "row_id": ()}
    return shapes | {name: (width,) for name, width in optional.items() if width}


def chunk_shapes(header: FeatureHeader) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape of a chunk and type, as in its file, of every array with rows; all chunks have as many rows."""
    rows = min(chunk_rows(header.n_features, np.dtype(header.dtype).itemsize), max(header.n_examples, 1))
    types = ARRAY_TYPES | {"features": header.dtype}
    return {
        name: ((rows, *shape), np.dtype(types[name]).newbyteorder("<")) for name, shape in row_shapes(header).items()
    }
