"""The commit of a feature set: the metadata of its arrays, its moments, its manifest, and its place."""

# Zarr's arrays are generic over metadata that it does not name.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeArgument=false

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from penult_kernels.moments.packing import TILE, pack_symmetric, packed_length, unpack_symmetric
from penult_kernels.moments.partials import Partial, clear_unused
from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.sealed import sealed_text
from penult_server.stores.manifest import FeatureManifest, parse_manifest
from penult_server.stores.places.store import Attempt, Files, Written
from penult_server.stores.writing.header import FeatureHeader, chunk_shapes
from penult_server.stores.writing.kinds import Kind, as_recorded, notes_of
from penult_server.stores.writing.rows import WrittenRows, chunk_key, joined


def commit_features(
    attempt: Attempt,
    header: FeatureHeader,
    ranges: Sequence[WrittenRows],
    *,
    digest: str,
    moments: Partial | None,
    kinds: Sequence[tuple[int, int, Kind]] = (),
    extract_rate: float = 0.0,
) -> FeatureManifest:
    """Make a feature set of the ranges that were written to an attempt, in any order, and give it its place.

    `kinds`: with what the moments of which ranges (first, stop) were multiplied.
    A set of the same digest that is already there and undamaged is kept; returns the manifest of what is stored.
    Raises ValueError where the ranges do not make up all rows.
    """
    rows = joined(ranges, header.n_examples)
    files = dict(rows.files)
    if moments is not None:
        files |= _put_moments(attempt, moments)
    files |= {name: attempt.put(name, content) for name, content in _metadata(header, moments).items()}
    files = dict(sorted(files.items(), key=lambda one: one[0].split("/")))
    described = {one.name: getattr(header, one.name) for one in fields(header) if one.name not in ("head", "digest")}
    described["notes"] = (*header.notes, *notes_of(kind for _, _, kind in kinds))
    manifest = FeatureManifest(
        **described,
        moments_by=as_recorded(kinds),
        digest=digest,
        group_counts=rows.group_counts,
        has_head=header.head is not None,
        has_moments=moments is not None,
        created=time.time(),
        extract_rate=extract_rate,
        stored_bytes=sum(one.size for one in files.values()),
        files={name: one.sha256 for name, one in files.items()},
    )
    there: list[FeatureManifest] = []

    def keeps(stored: Files) -> bool:
        """Whether the set that is there is whole."""
        try:
            existing = parse_manifest(stored.manifest(), digest)
        except FileNotFoundError:
            return False
        except ServiceError as error:
            if error.kind not in (ErrorKind.STORE_CORRUPT, ErrorKind.VERSION_MISMATCH):
                raise
            return False
        there.append(existing)
        return not stored.damaged(existing.files)

    is_new = attempt.commit(digest, sealed_text(asdict(manifest)), files, keeps)
    return manifest if is_new or not there else there[-1]


def _metadata(header: FeatureHeader, moments: Partial | None) -> dict[str, bytes]:
    """The files of Zarr's metadata, and those of the head, which is small."""
    content: dict[str, Buffer] = {}
    group = zarr.open_group(MemoryStore(content), mode="w", zarr_format=3)
    for name, (shape, dtype) in chunk_shapes(header).items():
        _declare(group, name, (header.n_examples, *shape[1:]), dtype, shape)
    for name, part in zip(("head_weight", "head_bias"), header.head or (), strict=False):
        whole = np.asarray(part, dtype=np.float64)
        group.create_array(name, data=whole, compressors=None, config={"write_empty_chunks": True})
    if moments is not None:
        inner = group.create_group("moments.zarr")
        inner.attrs["tile"] = TILE
        for name, shape in _moment_shapes(moments).items():
            _declare(inner, name, shape, _MOMENT_TYPES[name], (1, *shape[1:]) if len(shape) > 1 else shape)
    return {key: value.to_bytes() for key, value in content.items()}


def _declare(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: "np.dtype[Any]", chunks: tuple[int, ...]
) -> None:
    """An array without its content."""
    group.create_array(
        name, shape=shape, dtype=dtype, chunks=chunks, compressors=None, config={"write_empty_chunks": True}
    )


_MOMENT_TYPES = {"count": np.dtype("<i8"), "mean": np.dtype("<f8"), "m2_upper": np.dtype("<f8")}


def _moment_shapes(moments: Partial) -> Mapping[str, tuple[int, ...]]:
    n_groups, n_features = moments.mean.shape
    packed = packed_length(n_features, TILE)
    return {"count": (n_groups,), "mean": (n_groups, n_features), "m2_upper": (n_groups, packed)}


def _put_moments(attempt: Attempt, moments: Partial) -> dict[str, Written]:
    """A file for each group, and one for their counts; one group is packed at a time."""

    def put(name: str, index: int, values: NDArray[Any]) -> tuple[str, Written]:
        key = f"moments.zarr/{chunk_key(name, index, values.ndim)}"
        return key, attempt.put(key, np.ascontiguousarray(values, _MOMENT_TYPES[name]))

    clear_unused(moments)
    files = dict([put("count", 0, moments.count)])
    for group in range(len(moments.mean)):
        files |= dict(
            [
                put("mean", group, moments.mean[group : group + 1]),
                put("m2_upper", group, _packed(moments, group)),
            ]
        )
    return files


def _packed(moments: Partial, group: int) -> NDArray[np.float64]:
    """(1, L) the triangle of one group, in strips of `TILE`."""
    packed = moments.m2[group : group + 1]
    if moments.tile == TILE:
        return packed
    return pack_symmetric(unpack_symmetric(packed, moments.n_features, moments.tile), TILE)
