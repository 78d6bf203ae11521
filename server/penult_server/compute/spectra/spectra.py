"""Spectra of a stored feature set, and the imbalance between their largest eigenvalues."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penult_kernels.moments.moments import about_zero
from penult_kernels.products import n_threads, on_threads
from penult_kernels.spectra.imbalance import Pair, class_pairs, group_pairs, spectral_ratio
from penult_kernels.spectra.inference import REPLICATES, ImbalanceInference, Method, holm
from penult_kernels.spectra.spectrum import (
    Spectrum,
    kept,
    spectrum_from_moments,
    spectrum_from_rows,
    undefined,
)
from penult_kernels.spectra.streamed import TooManyEigenvaluesError, spectrum_from_passes
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.memory import available_bytes, require, spectra_bytes
from penult_server.compute.spectra.error_spectra import compute_error_spectra
from penult_server.compute.spectra.inferences import check_inferences, inferences, residuals_fit
from penult_server.compute.spectra.parts import Parts, Resources
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto
from penult_server.notes import Note, notes_to_proto

INFERENCES = {
    Method.NONE: pb.IMBALANCE_INFERENCE_UNSPECIFIED,
    Method.ASYMPTOTIC: pb.IMBALANCE_INFERENCE_ASYMPTOTIC,
    Method.RESAMPLED: pb.IMBALANCE_INFERENCE_RESAMPLED,
}


def compute_spectra(request: pb.ComputeSpectraRequest, resources: Resources) -> pb.Spectra:
    """Eigenvalues of every group's (or class's) covariance, and the imbalance between them.

    A part with at least D examples is computed from the moments that were stored with the features. A smaller part is
    computed from its rows, and so are all parts if spectra are not centered, rows were selected, or no moments were
    stored. For a set too large for memory without stored moments, these are computed in one pass, and smaller parts in
    passes of their own. Every field of the request is set by now.
    """
    if request.weights == pb.SPECTRA_WEIGHTS_ERRORS:
        return compute_error_spectra(request, resources)
    parts, backend = resources.parts(request.source, request.by), resources.backend
    stored_moments = parts.has_stored_moments and request.center
    needed = parts.memory
    if stored_moments or parts.is_resident:
        needed = spectra_bytes(parts.counts, parts.manifest.n_features, has_moments=stored_moments)
    available = available_bytes(backend)
    needed_once = parts.summed_bytes
    require(needed + needed_once, available, "use another machine")
    pairs = _pairs(request, parts)
    if request.replicates or not request.HasField("replicates"):
        check_inferences(request, parts, pairs, backend)
    places = range(len(parts.groups))
    # Any thread may read stored moments; rows are loaded by one thread.
    several = min(n_threads(), len(places)) if stored_moments and backend.name == "numpy" else 1
    fits = several > 1 and (available is None or several * needed + needed_once <= available)

    add = parts.progress.each("spectra", "classes" if request.by == pb.SPECTRA_BY_CLASS else "groups", len(places))

    def of(index: int) -> Spectrum:
        found = _spectrum(request, parts, index, backend)
        add(1)
        return found

    spectra = on_threads(of, places) if fits else [of(index) for index in places]
    eigenvalues = np.stack([backend.to_host(one.eigenvalues) for one in spectra])
    inferred = resources.inferences.get(request, lambda: inferences(request, parts, pairs, backend))
    return pb.Spectra(
        feature_set=request.source.feature_set,
        groups=parts.groups,
        eigenvalues=array_to_proto(eigenvalues),
        residuals=array_to_proto(np.stack([backend.to_host(one.residuals) for one in spectra])),
        trace=array_to_proto(np.asarray([one.trace for one in spectra])),
        methods=[str(one.method) for one in spectra],
        converged=[one.converged for one in spectra],
        imbalance=_imbalance(pairs, inferred, eigenvalues[:, 0]),
        by=request.by,
        correction=request.correction,
        center=request.center,
        replicates=_drawn(request, inferred),
        confidence=request.confidence,
        seed=request.seed,
        n_rows=parts.n_rows,
        n_examples=parts.manifest.n_examples,
        rows_of_run=request.source.rows.run,
        grouping=parts.used_grouping,
        notes=notes_to_proto(
            (
                *(parts.grouped.left_out() if parts.grouped is not None else ()),
                *_said_of(inferred),
                *_missing(request, parts, pairs, inferred),
            ),
        ),
    )


def _drawn(request: pb.ComputeSpectraRequest, inferred: Sequence[ImbalanceInference]) -> int:
    """Replicates of each resampling: those asked for, or those that some comparison needed."""
    if request.HasField("replicates"):
        return request.replicates
    return REPLICATES if any(one.method == Method.RESAMPLED for one in inferred) else 0


def _said_of(inferred: Sequence[ImbalanceInference]) -> tuple[Note, ...]:
    """A note if some inference did without replicates."""
    n = sum(one.method == Method.ASYMPTOTIC for one in inferred)
    if not n:
        return ()
    text = (
        f"interval and p-value of {n} of {len(inferred)} comparisons are asymptotic, from all of their rows; "
        f"replicates={REPLICATES} draws replicates instead"
    )
    return (Note(NoteId.WITHOUT_REPLICATES, text),)


def _missing(
    request: pb.ComputeSpectraRequest, parts: Parts, pairs: Sequence[Pair], inferred: Sequence[ImbalanceInference]
) -> tuple[Note, ...]:
    """A note if replicates would have been needed of rows that do not fit in memory."""
    if request.HasField("replicates"):
        return ()
    of_pairs = [
        f"{parts.groups[pair.minority].name!r} and {parts.groups[pair.majority].name!r}"
        for pair, one in zip(pairs, inferred, strict=True)
        if one.method == Method.NONE and not residuals_fit(parts, pair)
    ]
    if not of_pairs:
        return ()
    text = (
        f"no interval and no p-value of {', '.join(of_pairs)}: they need replicates, which draw from the pair's rows "
        f"in memory, and {parts.memory / 2**20:,.0f} MiB are kept for features. A server with a larger "
        f"--resident-bytes gives them for replicates={REPLICATES}; p_adjusted counts the other comparisons alone"
    )
    return (Note(NoteId.NOT_INFERRED, text),)


def _from_moments(request: pb.ComputeSpectraRequest, parts: Parts) -> bool:
    return parts.has_moments and (request.center or not parts.is_resident)


def _spectrum(request: pb.ComputeSpectraRequest, parts: Parts, index: int, backend: Backend) -> Spectrum:
    parts.check()
    count = parts.counts[index]
    if count <= request.correction:
        # Nothing is read for what has no covariance: a set may name many groups that have no rows.
        n_features = parts.manifest.n_features
        return undefined(n_features, kept(request.top_k, n_features), parts.nothing, vectors=False)
    if _from_moments(request, parts) and count >= parts.manifest.n_features:
        moments = parts.moments(index)
        m2 = moments.m2[0] if request.center else about_zero(moments)[0]
        return spectrum_from_moments(
            backend.to_device(m2),
            count,
            mean=moments.mean[0],
            top_k=request.top_k,
            correction=request.correction,
        )
    if not parts.is_resident:
        return _in_passes(request, parts, index)
    return spectrum_from_rows(
        parts.rows(index), top_k=request.top_k, correction=request.correction, center=request.center
    )


def _in_passes(request: pb.ComputeSpectraRequest, parts: Parts, index: int) -> Spectrum:
    try:
        return spectrum_from_passes(
            parts.passes(index),
            parts.counts[index],
            parts.manifest.n_features,
            like=parts.nothing,
            memory=parts.memory,
            top_k=request.top_k,
            correction=request.correction,
            center=request.center,
        )
    except TooManyEigenvaluesError as error:
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, str(error), top_k=request.top_k) from error


def _pairs(request: pb.ComputeSpectraRequest, parts: Parts) -> tuple[Pair, ...]:
    counts = np.asarray(parts.counts)
    return class_pairs(counts) if request.by == pb.SPECTRA_BY_CLASS else group_pairs(counts, parts.n_attributes)


def _imbalance(
    pairs: Sequence[Pair], inferred: Sequence[ImbalanceInference], largest: NDArray[np.float64]
) -> list[pb.Imbalance]:
    adjusted = holm([one.p_value for one in inferred])
    return [
        pb.Imbalance(
            y=pair.y,
            minority=pair.minority,
            majority=pair.majority,
            n_minority=pair.n_minority,
            n_majority=pair.n_majority,
            ratio=spectral_ratio(largest, pair),
            matched_ratio=inference.matched_ratio,
            low=inference.low,
            high=inference.high,
            p_value=inference.p_value,
            p_adjusted=p_adjusted,
            replicate_error=inference.replicate_error,
            inference=INFERENCES[inference.method],
        )
        for pair, inference, p_adjusted in zip(pairs, inferred, adjusted, strict=True)
    ]
