"""Spectra of a stored feature set."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.imbalance import imbalance
from penult_kernels.moments import pool
from penult_kernels.spectra import spectrum_from_moments, spectrum_from_rows
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.resident import Resident, ResidentFeatures
from penult_server.messages import array_to_proto, classes_to_proto, groups_to_proto
from penult_server.stores.reading import StoredFeatures


def compute_spectra(
    request: pb.ComputeSpectraRequest,
    residents: ResidentFeatures,
    open_set: Callable[[str], StoredFeatures],
    backend: Backend,
    check: Callable[[], None],
) -> pb.Spectra:
    """Eigenvalues of every group's (or class's) covariance, and the imbalance inside the classes.

    A part with at least D examples is answered from the moments that were stored with the features, a
    smaller one (and all of them when uncentred, or when no moments were kept) from its rows.
    """
    stored = open_set(request.feature_set)
    labels = stored.manifest.labels
    by_class = request.by == pb.SPECTRA_BY_CLASS
    describe = classes_to_proto if by_class else groups_to_proto
    groups = describe(labels, stored.manifest.group_counts)
    parts = _Parts(request, stored, residents, backend, check)
    answers = [parts.spectrum(index, group.count) for index, group in enumerate(groups)]
    eigenvalues = np.stack([eigenvalues for eigenvalues, _ in answers])
    records = (
        ()
        if by_class
        else imbalance(eigenvalues[:, 0], np.asarray([group.count for group in groups]), labels.n_attributes)
    )
    return pb.Spectra(
        feature_set=request.feature_set,
        groups=groups,
        eigenvalues=array_to_proto(eigenvalues),
        trace=array_to_proto(np.asarray([trace for _, trace in answers])),
        imbalance=[
            pb.Imbalance(
                y=one.y,
                minority=one.minority,
                majority=one.majority,
                n_minority=one.n_minority,
                n_majority=one.n_majority,
                ratio=one.ratio,
            )
            for one in records
        ],
        by=request.by,
        correction=request.correction,
        uncentered=request.uncentered,
    )


class _Parts:
    """The groups or classes of one query; moments and rows are loaded when the first part needs them."""

    def __init__(
        self,
        request: pb.ComputeSpectraRequest,
        stored: StoredFeatures,
        residents: ResidentFeatures,
        backend: Backend,
        check: Callable[[], None],
    ) -> None:
        self._request = request
        self._stored = stored
        self._residents = residents
        self._backend = backend
        self._check = check
        self._m2: Any = None
        self._resident: Resident | None = None

    def spectrum(self, index: int, count: int) -> tuple[NDArray[np.float64], float]:
        """Eigenvalues (K,) and trace of one part."""
        self._check()
        request, manifest = self._request, self._stored.manifest
        if count <= request.correction or count == 0:
            return np.full(request.top_k, np.nan), float("nan")
        if count >= manifest.n_features and manifest.has_moments and not request.uncentered:
            m2 = self._backend.to_device(self._second_moments()[index])
            found = spectrum_from_moments(m2, count, top_k=request.top_k, correction=request.correction)
        else:
            found = spectrum_from_rows(
                self._rows(index),
                top_k=request.top_k,
                correction=request.correction,
                center=not request.uncentered,
            )
        return self._backend.to_host(found.eigenvalues), found.trace

    def _second_moments(self) -> NDArray[np.float64]:
        """(G, D, D), pooled into classes when the query is by class."""
        if self._m2 is None:
            moments = self._stored.moments()
            labels = self._stored.manifest.labels
            if self._request.by == pb.SPECTRA_BY_CLASS:
                classes = [group // labels.n_attributes for group in range(labels.n_groups)]
                moments = pool(moments, classes, len(labels.classes))
            self._m2 = moments.m2
        return self._m2

    def _rows(self, index: int) -> Any:
        if self._resident is None:
            self._resident = self._residents.get(self._request.feature_set, self._check)
        by_class = self._request.by == pb.SPECTRA_BY_CLASS
        part = self._resident.y if by_class else self._resident.g
        return self._resident.features[self._backend.to_device(np.flatnonzero(part == index))]
