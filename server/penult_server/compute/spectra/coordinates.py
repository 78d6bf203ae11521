"""Rows seen along the top principal components of all of them, for pictures."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.rows import ArrayRows
from penult_kernels.spectra.spectrum import mean_of, spectrum_from_moments, spectrum_from_rows
from penult_proto.pieces.framing import announce, pieces
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.memory import available_bytes, require, spectra_bytes
from penult_server.compute.spectra.eigenvectors import signed
from penult_server.compute.spectra.parts import Parts, Resources
from penult_server.messages import labels_to_proto

TILE = 8192
"""Rows that are projected together."""
Floats = NDArray[np.float64]


def read_coordinates(
    request: pb.ReadCoordinatesRequest, resources: Resources, device: Callable[[], AbstractContextManager[None]]
) -> Iterator[pb.ReadCoordinatesResponse]:
    """The header, then the arrays of `CoordinatesHeader`. Every field of the request is set by now."""
    with device():
        parts = resources.parts(request.source, pb.SPECTRA_BY_GROUP)
        arrays, shares = _coordinates(parts, request.top_k, resources.backend)
    header = pb.CoordinatesHeader(
        feature_set=request.source.feature_set,
        labels=labels_to_proto(parts.manifest.labels),
        request=request,
        shares=shares,
        arrays=[announce(name, array.dtype, array.shape) for name, array in arrays.items()],
    )
    yield pb.ReadCoordinatesResponse(header=header)
    for name, array in arrays.items():
        for chunk in pieces(name, array):
            yield pb.ReadCoordinatesResponse(chunk=chunk)


def _coordinates(parts: Parts, top_k: int, backend: Backend) -> tuple[dict[str, NDArray[Any]], list[float]]:
    needed = spectra_bytes([parts.n_rows], parts.manifest.n_features, has_moments=parts.has_moments)
    require(needed, available_bytes(backend), "use another machine")
    mean, vectors, shares = _components(parts, top_k, backend)
    labels = parts.row_labels()
    coordinates = np.empty((len(labels["row_id"]), top_k), np.float32)
    at = 0
    for block in parts.row_blocks(TILE):
        coordinates[at : at + len(block)] = backend.to_host(
            (backend.xp.asarray(block, dtype=backend.xp.float64) - mean) @ vectors
        )
        at += len(block)
        parts.check()
    return {**labels, "coordinates": coordinates}, shares


def _components(parts: Parts, top_k: int, backend: Backend) -> tuple[Any, Any, list[float]]:
    """Mean (D,) and top eigenvectors (D, K) of the covariance of all rows, and the share of each in the variance."""
    if parts.has_moments and parts.n_rows >= parts.manifest.n_features:
        moments = parts.all_moments()
        mean, m2 = backend.to_device(moments.mean[0]), backend.to_device(moments.m2[0])
        found = spectrum_from_moments(m2, parts.n_rows, top_k=top_k, vectors=True)
    else:
        rows = parts.rows(None) if parts.is_resident else _gathered(parts, backend)
        mean = mean_of(rows)
        found = spectrum_from_rows(rows, top_k=top_k, vectors=True)
    vectors = backend.to_device(np.ascontiguousarray(signed(backend.to_host(found.vectors).T).T))
    values, trace = backend.to_host(found.eigenvalues), float(found.trace)
    return mean, vectors, [float(value) / trace if trace > 0 else 0.0 for value in values]


def _gathered(parts: Parts, backend: Backend) -> ArrayRows:
    """The rows of a set that is not kept in memory, fewer than features or without memory for their moments."""
    rows = backend.xp.empty((parts.n_rows, parts.manifest.n_features), dtype=parts.manifest.dtype)
    at = 0
    for block in parts.row_blocks(TILE):
        rows[at : at + len(block)] = block
        at += len(block)
    return ArrayRows(rows)
