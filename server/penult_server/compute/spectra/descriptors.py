"""Descriptors of the spectra of a stored feature set, and principal angles between the subspaces of two."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.moments.moments import about_zero
from penult_kernels.spectra import descriptors as kernels
from penult_kernels.spectra.spectrum import spectrum_from_moments, spectrum_from_rows
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.memory import available_bytes, require, spectra_bytes
from penult_server.compute.spectra.eigenvectors import spectrum_with_vectors
from penult_server.compute.spectra.parts import Parts, Resources
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto


def compute_descriptors(request: pb.ComputeDescriptorsRequest, resources: Resources) -> pb.Descriptors:
    """Every descriptor of every group or class. Every field of the request is set by now."""
    parts = _parts(request.source, request.by, resources)
    add = parts.progress.each(
        "spectra", "classes" if request.by == pb.SPECTRA_BY_CLASS else "groups", len(parts.groups)
    )
    spectra: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for index in range(len(parts.groups)):
        spectra.append(_eigenvalues(parts, index, resources.backend))
        add(1)
    first, last = request.power_law_first, request.power_law_last
    measures: list[tuple[kernels.Definition, list[float]]] = [
        (kernels.PARTICIPATION_RATIO, [kernels.participation_ratio(one) for one, _ in spectra]),
        (kernels.EFFECTIVE_RANK, [kernels.effective_rank(one) for one, _ in spectra]),
        (kernels.RANK_ME, [kernels.rank_me(singular) for _, singular in spectra]),
        (kernels.POWER_LAW, [kernels.power_law_exponent(one, first, last) for one, _ in spectra]),
    ]
    return pb.Descriptors(
        feature_set=request.source.feature_set,
        by=request.by,
        groups=parts.groups,
        descriptors=[
            pb.Descriptor(
                id=definition.id,
                formula=definition.formula.format(first=first, last=last),
                source=definition.source,
                values=array_to_proto(np.asarray(values)),
            )
            for definition, values in measures
        ],
        grouping=parts.used_grouping,
        variance_shares=_variance_shares(
            parts if request.by == pb.SPECTRA_BY_GROUP else _parts(request.source, pb.SPECTRA_BY_GROUP, resources)
        ),
    )


def compute_principal_angles(request: pb.ComputePrincipalAnglesRequest, resources: Resources) -> pb.PrincipalAngles:
    """Angles between the spans of the top eigenvectors of two groups or classes."""
    sides = [_subspace(side, request.top_k, resources) for side in (request.first, request.second)]
    (first, u, _), (second, v, _) = sides
    used = [grouping or groups_pb2.UsedGrouping() for _, _, grouping in sides]
    if u.shape[0] != v.shape[0]:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"angles are between subspaces of one space; the feature sets have {u.shape[0]} and {v.shape[0]} features",
        )
    return pb.PrincipalAngles(
        first=first,
        second=second,
        feature_sets=[request.first.source.feature_set, request.second.source.feature_set],
        angles=array_to_proto(kernels.principal_angles(u, v)),
        formula=kernels.PRINCIPAL_ANGLES.formula,
        groupings=used if any(one.digest for one in used) else (),
    )


def _parts(source: pb.FeatureSource, by: "pb.SpectraBy.ValueType", resources: Resources) -> Parts:
    """The groups or classes of a feature set, if there is memory for their products."""
    parts = resources.parts(source, by)
    from_moments = parts.has_moments and not parts.is_resident
    needed = spectra_bytes(parts.counts, parts.manifest.n_features, has_moments=from_moments)
    require(needed + parts.summed_bytes, available_bytes(resources.backend), "use another machine")
    return parts


def _eigenvalues(parts: Parts, index: int, backend: Backend) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (D,) of the centered covariance, and the min(N, D) singular values of the rows as they are."""
    parts.check()
    count = parts.counts[index]
    n_singular = min(count, parts.manifest.n_features)
    if parts.has_moments and count >= parts.manifest.n_features:
        moments = parts.moments(index)
        centered = spectrum_from_moments(backend.to_device(moments.m2[0]), count)
        second = spectrum_from_moments(backend.to_device(about_zero(moments)[0]), count)
    else:
        rows = parts.rows(index)
        centered, second = spectrum_from_rows(rows), spectrum_from_rows(rows, center=False)
    squares = np.maximum(count * backend.to_host(second.eigenvalues)[:n_singular], 0.0)
    return backend.to_host(centered.eigenvalues), np.sqrt(squares)


def _variance_shares(parts: Parts) -> list[pb.VarianceShare]:
    found = [_mean_and_scatter(parts, index) for index in range(len(parts.groups))]
    shares = kernels.variance_shares(
        np.asarray(parts.counts),
        np.stack([mean for mean, _ in found]),
        np.asarray([scatter for _, scatter in found]),
        parts.n_attributes,
    )
    definitions = (kernels.CLASS_SHARE, kernels.ATTRIBUTE_SHARE, kernels.GROUP_SHARE)
    return [
        pb.VarianceShare(id=definition.id, formula=definition.formula, value=value)
        for definition, value in zip(definitions, shares, strict=True)
    ]


def _mean_and_scatter(parts: Parts, index: int) -> tuple[NDArray[np.float64], float]:
    if parts.is_resident or not parts.has_moments:
        return kernels.mean_and_scatter(parts.rows(index))
    moments = parts.moments(index)
    return moments.mean[0], float(np.trace(moments.m2[0]))


def _subspace(
    side: pb.Subspace, top_k: int, resources: Resources
) -> tuple[groups_pb2.Group, Any, groups_pb2.UsedGrouping | None]:
    """The group that is meant, its top eigenvectors (D, K), and the grouping that it is of."""
    parts = _parts(side.source, side.by, resources)
    index = parts.index_of(side.part)
    group = parts.groups[index]
    if group.count <= top_k:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{group.name!r} has {group.count} examples, which span at most {max(group.count - 1, 0)} directions about "
            f"their mean; ask for a smaller top_k than {top_k}",
            top_k=top_k,
        )
    found = spectrum_with_vectors(parts, index, top_k, resources.backend)
    _check_rank(group, resources.backend.to_host(found.eigenvalues), parts.manifest.n_features)
    return group, found.vectors, parts.used_grouping


def _check_rank(group: groups_pb2.Group, eigenvalues: NDArray[np.float64], n_features: int) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) where some eigenvectors are of no variance: any others would do as well."""
    noise = n_features * np.finfo(np.float64).eps * eigenvalues[0]
    rank = int(np.count_nonzero(eigenvalues > noise))
    if rank < len(eigenvalues):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{group.name!r} varies in {rank} directions only, for some of its features are constant or depend on "
            f"others; ask for a top_k of at most {rank}"
            if rank
            else f"{group.name!r} does not vary at all, so that no direction of it is a principal one; choose another",
            top_k=len(eigenvalues),
        )
