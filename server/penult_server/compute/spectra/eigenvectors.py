"""Eigenvectors of every group's (or class's) covariance, sent one group at a time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from penult_kernels.moments.moments import about_zero
from penult_kernels.spectra.spectrum import Spectrum, spectrum_from_moments, spectrum_from_rows
from penult_proto.pieces.framing import announce, pieces
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.memory import available_bytes, require, spectra_bytes
from penult_server.compute.spectra.parts import Parts, Resources


def read_eigenvectors(
    request: pb.ReadEigenvectorsRequest, resources: Resources, device: Callable[[], AbstractContextManager[None]]
) -> Iterator[pb.ReadEigenvectorsResponse]:
    """The header, then the eigenvalues (K,) and eigenvectors (K, D) of each part as soon as they are computed.

    The device is held while they are computed, and free while they are sent. Every field of the request is set
    by now.
    """
    with device():
        parts = resources.parts(request.source, request.by)
        needed = spectra_bytes(parts.counts, parts.manifest.n_features, has_moments=parts.has_moments)
        require(needed + parts.summed_bytes, available_bytes(resources.backend), "use another machine")
    n_parts, k, d = len(parts.groups), request.top_k, parts.manifest.n_features
    header = pb.EigenvectorsHeader(
        feature_set=request.source.feature_set, groups=parts.groups, request=request, grouping=parts.used_grouping
    )
    for name, shape in (("eigenvalues", (n_parts, k)), ("eigenvectors", (n_parts, k, d))):
        header.arrays.append(announce(name, np.dtype(np.float64), shape))
    yield pb.ReadEigenvectorsResponse(header=header)
    for index in range(n_parts):
        with device():
            found = spectrum_with_vectors(
                parts, index, k, resources.backend, correction=request.correction, center=request.center
            )
            values, vectors = resources.backend.to_host(found.eigenvalues), resources.backend.to_host(found.vectors).T
        for name, array in (("eigenvalues", values), ("eigenvectors", signed(vectors))):
            for chunk in pieces(name, array, offset=index * array.nbytes):
                yield pb.ReadEigenvectorsResponse(chunk=chunk)


def spectrum_with_vectors(
    parts: Parts, index: int, top_k: int, backend: Backend, *, correction: int = 0, center: bool = True
) -> Spectrum:
    """Top eigenvalues and eigenvectors of one part, from its moments where it has some, else from its rows."""
    parts.check()
    count = parts.counts[index]
    if parts.has_moments and count >= parts.manifest.n_features:
        moments = parts.moments(index)
        m2 = moments.m2[0] if center else about_zero(moments)[0]
        return spectrum_from_moments(backend.to_device(m2), count, top_k=top_k, correction=correction, vectors=True)
    return spectrum_from_rows(parts.rows(index), top_k=top_k, correction=correction, center=center, vectors=True)


def signed(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors (K, D) with a unique sign: the entry of largest magnitude of each is positive."""
    largest = np.take_along_axis(vectors, np.argmax(np.abs(vectors), axis=1)[:, None], axis=1)
    return vectors * np.where(largest < 0, -1.0, 1.0)
