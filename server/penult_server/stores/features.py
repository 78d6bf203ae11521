"""Writing feature sets: row chunks of a Zarr v3 group, with the group moments folded in on the way.

One directory a set, named by its digest: arrays `features`, `y`, `a`, `row_id`, `logits`, `head_weight`,
`head_bias`, the moments, and `manifest.json` with a digest of every file. Chunks hold whole rows and are
not compressed: float features gain little and reading them is the service's hot path.
"""

# Zarr's arrays are generic over metadata that it does not name.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeArgument=false

import hashlib
import shutil
import tempfile
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.moments.accumulation import MomentAccumulator
from penult_kernels.moments.packing import TILE, pack_symmetric
from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.records import Attribute, LabelNames
from penult_server.stores.disk.durable import STAGING_PREFIX, rename_directory, sync_path, sync_tree
from penult_server.stores.feature_chunks import Chunk, ChunkFiles, Chunks
from penult_server.stores.manifest import (
    FeatureManifest,
    damaged_files,
    hash_files,
    read_manifest,
    write_manifest,
)

ARRAY_TYPES = {
    "y": "int64",
    "a": "int64",
    "row_id": "uint64",
    "logits": "float32",
    "attributes": "int64",
    "masks": "bool",
}
"""Types of the arrays that are stored with the features."""


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


class FeatureWriter:
    """Takes rows in order, any number at a time, and leaves a whole feature set or nothing.

    A context manager. `finish` makes the set visible; leaving the block without it, or by an error,
    removes what was written.
    """

    def __init__(self, root: Path, header: FeatureHeader) -> None:
        self._header = header
        self._parent = root / "features"
        self._parent.mkdir(parents=True, exist_ok=True)
        self._staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=self._parent))
        try:
            arrays = _create_arrays(self._staging, header)
            self._moments = _accumulator(header) if keeps_moments(header) else None
        except BaseException:  # nobody enters the block that would remove it
            self._remove()
            raise
        self._files = ChunkFiles(self._staging, arrays)
        self._counts = np.zeros(header.labels.n_groups, dtype=np.int64)
        self._content = hashlib.sha256()
        shapes = {name: (one.chunks, one.dtype.newbyteorder("<")) for name, one in arrays.items()}
        self._chunks = Chunks(shapes, [self._files.write, self._identify, self._fold])

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._chunks.close()
        self._remove()

    def append(
        self,
        *,
        features: NDArray[np.floating],
        y: NDArray[np.int64],
        a: NDArray[np.int64],
        row_id: NDArray[np.uint64],
        logits: NDArray[np.floating] | None = None,
        attributes: NDArray[np.int64] | None = None,
        masks: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add rows: features (n, D), y, a and row_id (n,), and where the header names them logits (n, n_logits),
        attributes (n, number of attributes), masks (n, M).

        Raises ServiceError: WRONG_SHAPE, LABEL_OUT_OF_RANGE, NOT_FINITE (naming row and column).
        """
        # What is checked and folded is what is stored: a value too large for float16 is infinite there.
        with np.errstate(over="ignore"):
            features = np.asarray(features, dtype=self._header.dtype)
        rows: dict[str, NDArray[np.generic]] = {"features": features, "y": y, "a": a, "row_id": row_id}
        optional = {"logits": logits, "attributes": attributes, "masks": masks}
        rows |= {name: values for name, values in optional.items() if values is not None}
        self._check(rows)
        self._chunks.add(rows)

    def finish(self, *, extract_rate: float = 0.0) -> FeatureManifest:
        """Write the rest, flush everything to the disk and give the set its place.

        A set of the same digest that is already there and undamaged is kept.
        Raises ServiceError (INCOMPLETE_UPLOAD) when rows are missing.
        """
        if self._chunks.n_rows != self._header.n_examples:
            raise ServiceError(
                ErrorKind.INCOMPLETE_UPLOAD,
                f"expected {self._header.n_examples} rows, got {self._chunks.n_rows}; nothing was stored, send all "
                "of them",
                expected=self._header.n_examples,
                got=self._chunks.n_rows,
            )
        self._chunks.finish()
        self._write_moments()
        digest = self._header.digest or self._content_digest()
        files, size = hash_files(self._staging, self._files.digests)
        manifest = self._manifest(digest, extract_rate, files, size)
        write_manifest(self._staging, manifest)
        sync_tree(self._staging)
        return _place(self._staging, self._parent / digest, manifest)

    def _remove(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)

    def _check(self, rows: dict[str, NDArray[np.generic]]) -> None:
        header, n = self._header, len(rows["features"])
        expected = {name: (n, *shape) for name, shape in _row_shapes(header).items()}
        for name in {*expected, *rows}:
            got = rows[name].shape if name in rows else None
            if got != expected.get(name):
                raise ServiceError(
                    ErrorKind.WRONG_SHAPE, f"{name} of {n} rows must be {expected.get(name)}, got {got}", array=name
                )
        first = self._chunks.n_rows
        check_labels(rows["y"], len(header.labels.classes), "y", first)
        check_labels(rows["a"], header.labels.n_attributes, "a", first)
        for column, attribute in enumerate(header.attributes):
            check_labels(rows["attributes"][:, column], len(attribute.values), attribute.name, first)
        for name in ("features", "logits"):
            if name in rows:
                check_finite(rows[name], name, first)

    def _identify(self, chunk: Chunk) -> None:
        for name, values in chunk.rows.items():
            self._content.update(name.encode() + chunk.first.to_bytes(8, "little"))
            self._content.update(values.data)

    def _fold(self, chunk: Chunk) -> None:
        rows = chunk.rows
        g = group_index(rows["y"], rows["a"], self._header.labels)
        self._counts += np.bincount(g, minlength=len(self._counts))
        if self._moments:
            self._moments.add(rows["features"], g)

    def _write_moments(self) -> None:
        if self._moments is None:
            return
        moments = self._moments.finish()
        group = zarr.open_group(self._staging / "moments.zarr", mode="w", zarr_format=3)
        group.attrs["tile"] = TILE
        for name, values in {
            "count": moments.count,
            "mean": moments.mean,
            "m2_upper": pack_symmetric(moments.m2, TILE),
        }.items():
            array = group.create_array(
                name,
                shape=values.shape,
                dtype=values.dtype,
                chunks=(1, *values.shape[1:]) if values.ndim > 1 else values.shape,
                compressors=None,
                config={"write_empty_chunks": True},
            )
            array[...] = values

    def _content_digest(self) -> str:
        """Identity of uploaded arrays: what was stored, what the labels are called, and `train_shares`.

        `train_shares` change no array, but the metrics that are stored under this digest.
        """
        labels = self._header.labels
        named = (labels.classes, labels.attribute, labels.attribute_values, labels.masks, self._header.attributes)
        unnamed = ("classes by index",) if labels.classes_by_index else ()
        names = repr((*named, self._header.dtype, *unnamed))
        self._content.update(names.encode())
        if self._header.train_shares:
            self._content.update(repr(self._header.train_shares).encode())
        for part in self._header.head or ():
            self._content.update(np.ascontiguousarray(part, dtype=np.float64).data)
        return self._content.hexdigest()

    def _manifest(self, digest: str, extract_rate: float, files: dict[str, str], size: int) -> FeatureManifest:
        header = self._header
        described = {
            one.name: getattr(header, one.name) for one in fields(header) if one.name not in ("head", "digest")
        }
        return FeatureManifest(
            **described,
            digest=digest,
            group_counts=tuple(int(count) for count in self._counts),
            has_head=header.head is not None,
            has_moments=self._moments is not None,
            created=time.time(),
            extract_rate=extract_rate,
            stored_bytes=size,
            files=files,
        )


def _accumulator(header: FeatureHeader) -> MomentAccumulator:
    return MomentAccumulator(header.labels.n_groups, header.n_features, dtype=np.dtype(header.dtype))


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
    finite = np.isfinite(values)
    if not finite.all():
        row, column = (int(index) for index in np.argwhere(~finite)[0])
        raise ServiceError(
            ErrorKind.NOT_FINITE,
            f"{name} must be finite, got {values[row, column]} in row {first + row}, column {column}; "
            "nothing was stored",
            array=name,
            row=first + row,
            column=column,
        )


def _row_shapes(header: FeatureHeader) -> dict[str, tuple[int, ...]]:
    """Shape of one row of every array that the set has, in the order in which they enter its digest."""
    optional = {
        "logits": header.n_logits,
        "attributes": len(header.attributes),
        "masks": len(header.labels.masks),
    }
    shapes: dict[str, tuple[int, ...]] = {"features": (header.n_features,), "y": (), "a": (), "row_id": ()}
    return shapes | {name: (width,) for name, width in optional.items() if width}


def _create_arrays(directory: Path, header: FeatureHeader) -> dict[str, zarr.Array]:
    group = zarr.open_group(directory, mode="w", zarr_format=3)
    n, rows = header.n_examples, chunk_rows(header.n_features, np.dtype(header.dtype).itemsize)
    types = ARRAY_TYPES | {"features": header.dtype}
    shapes = {name: ((n, *shape), types[name]) for name, shape in _row_shapes(header).items()}
    arrays = {
        name: group.create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=(min(rows, max(n, 1)), *shape[1:]),
            compressors=None,
            config={"write_empty_chunks": True},
        )
        for name, (shape, dtype) in shapes.items()
    }
    for name, part in zip(("head_weight", "head_bias"), header.head or (), strict=False):
        whole = np.asarray(part, dtype=np.float64)
        group.create_array(name, data=whole, compressors=None, config={"write_empty_chunks": True})
    return arrays


def _place(staging: Path, target: Path, manifest: FeatureManifest) -> FeatureManifest:
    """Give the staged set its name. An undamaged set of that name is kept; a damaged one is set aside."""
    if target.exists():
        try:
            existing = read_manifest(target)
            if not damaged_files(target, existing):
                return existing
        except ServiceError:
            pass
        target.rename(target.with_name(f".damaged-{target.name}-{time.time_ns()}"))
        sync_path(target.parent)
    rename_directory(staging, target)
    return manifest
