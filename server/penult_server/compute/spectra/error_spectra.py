"""Error spectra: eigenvalues of the covariance of rows weighted by how wrong a checkpoint is about them."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from penult_kernels.spectra.imbalance import class_pairs, group_pairs, spectral_ratio
from penult_kernels.spectra.spectrum import Spectrum, kept, undefined
from penult_kernels.spectra.weighted import largest_interval, weighted_spectrum
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.memory import available_bytes, bootstrap_bytes, require, weighted_bytes
from penult_server.compute.spectra.parts import Parts, Resources
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto

ALL = "all rows"


def compute_error_spectra(request: pb.ComputeSpectraRequest, resources: Resources) -> pb.Spectra:
    """Eigenvalues of the weighted covariance of every group, every class, or all rows. Every field is set by now.

    Raises ServiceError: INVALID_ARGUMENT without logits; OUT_OF_MEMORY for sets that are not kept in memory; and what
    `Parts` raises.
    """
    is_whole = request.by == pb.SPECTRA_BY_ALL
    parts = resources.parts(request.source, pb.SPECTRA_BY_GROUP if is_whole else request.by)
    groups = [groups_pb2.Group(name=ALL, y=-1, a=-1, count=parts.n_rows)] if is_whole else parts.groups
    _check_memory(request, parts, [group.count for group in groups], resources)
    errors = parts.errors()
    add = parts.progress.each("spectra", "groups", len(groups))
    spectra: list[Spectrum] = []
    intervals: list[tuple[float, float]] = []
    for index, group in enumerate(groups):
        parts.check()
        if group.count:
            rows = parts.rows(None if is_whole else index)
            of_rows = errors if rows.positions is None else errors[rows.positions]
            # Relative to the largest error of the part: nothing overflows, and some row weighs 1.
            own = np.exp(request.gamma * (of_rows - of_rows.max()))
            found = weighted_spectrum(rows, own, top_k=request.top_k)
            report = parts.progress.stage("replicates", "resamples")
            factors = largest_interval(
                rows,
                own,
                replicates=request.replicates,
                confidence=request.confidence,
                seed=request.seed,
                stream=index,
                check=parts.check,
                report=_from_group(report, index, len(groups)),
            )
        else:
            n_features = parts.manifest.n_features
            found = undefined(n_features, kept(request.top_k, n_features), parts.nothing, vectors=False)
            factors = (math.nan, math.nan)
        spectra.append(found)
        largest = float(found.eigenvalues[0])
        intervals.append((largest * factors[0], largest * factors[1]))
        add(1)
    to_host = resources.backend.to_host
    eigenvalues = np.stack([to_host(one.eigenvalues) for one in spectra])
    return pb.Spectra(
        feature_set=request.source.feature_set,
        groups=groups,
        eigenvalues=array_to_proto(eigenvalues),
        residuals=array_to_proto(np.stack([to_host(one.residuals) for one in spectra])),
        trace=array_to_proto(np.asarray([one.trace for one in spectra])),
        methods=[str(one.method) for one in spectra],
        converged=[one.converged for one in spectra],
        imbalance=[] if is_whole else _ratios(request, parts, eigenvalues[:, 0]),
        by=request.by,
        correction=request.correction,
        center=request.center,
        replicates=request.replicates,
        confidence=request.confidence,
        seed=request.seed,
        n_rows=parts.n_rows,
        n_examples=parts.manifest.n_examples,
        rows_of_run=request.source.rows.run,
        grouping=parts.used_grouping,
        weights=request.weights,
        gamma=request.gamma,
        interval=array_to_proto(np.asarray(intervals)) if request.replicates else None,
    )


def _check_memory(request: pb.ComputeSpectraRequest, parts: Parts, counts: list[int], resources: Resources) -> None:
    if not parts.is_resident:
        raise ServiceError(
            ErrorKind.OUT_OF_MEMORY,
            f"weights are of rows in memory, where feature set {parts.manifest.digest[:12]} does not fit "
            f"({parts.memory / 2**30:.1f} GiB are kept for features); start the server with a larger --resident-bytes",
            budget=parts.memory,
        )
    needed = weighted_bytes(counts, parts.manifest.n_features)
    if request.replicates:
        needed = max(needed, bootstrap_bytes(max(counts, default=0), parts.manifest.n_features))
    require(needed, available_bytes(resources.backend), "look at fewer rows (rows=...)")


def _from_group(report: Callable[[float, float], None], index: int, n_groups: int) -> Callable[[int, int], None]:
    return lambda done, total: report(index * total + done, n_groups * total)


def _ratios(request: pb.ComputeSpectraRequest, parts: Parts, largest: NDArray[np.float64]) -> list[pb.Imbalance]:
    """Ratios of largest eigenvalues; matched sizes, intervals and tests are of rows that count alike."""
    counts, nan = np.asarray(parts.counts), math.nan
    by_class = request.by == pb.SPECTRA_BY_CLASS
    return [
        pb.Imbalance(
            y=pair.y,
            minority=pair.minority,
            majority=pair.majority,
            n_minority=pair.n_minority,
            n_majority=pair.n_majority,
            ratio=spectral_ratio(largest, pair),
            matched_ratio=nan,
            low=nan,
            high=nan,
            p_value=nan,
            p_adjusted=nan,
            replicate_error=nan,
        )
        for pair in (class_pairs(counts) if by_class else group_pairs(counts, parts.n_attributes))
    ]
