"""Corrections of a head inside a few directions of its features: W = W0 + A^T V^T.

V (D, k) are the leading eigenvectors of the covariance of the rows that are fitted, weighted as they are (see
`spectra.weighted`). A is the head of a problem over the features V^T z (N, k), to whose logits those of the center are
an offset. V is orthonormal, so that |W - W0| = |A|, and a certificate of A is one of W. Signs of V, and the choice of V
where eigenvalues are equal, change A but not V A.
"""

from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, blocks, to_host
from penult_kernels.linear.problem import Head, Problem
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_kernels.products import product
from penult_kernels.spectra.weighted import weighted_spectrum

H = TypeVar("H", bound=Head)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subspace:
    """Directions V and the features in them."""

    vectors: Floats
    """(D, k) orthonormal, on the host."""
    features: Array
    """(N, k) float64 V^T z, on the device."""
    center: Head | None
    """On the host; zero when None."""
    offset: Floats | None
    """(N, C) logits of the center."""

    def lowered(self, problem: Problem) -> Problem:
        """The problem over A of one over W: the center is in the offset, and a start at it is zero."""
        offset = self.offset
        if problem.offset is not None:
            offset = problem.offset if offset is None else offset + problem.offset
        return replace(problem, center=None, start=None, offset=offset)

    def raised(self, fit: H) -> H:
        """The head on all features of one on V^T z."""
        weight, bias = fit.weight @ self.vectors.T, np.asarray(fit.bias)
        if self.center is not None:
            weight, bias = weight + np.asarray(self.center.weight), bias + np.asarray(self.center.bias)
        return replace(fit, weight=weight, bias=bias)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leading:
    """The leading directions of some rows, and all rows in them."""

    vectors: Floats
    """(D, K), the first with the largest eigenvalue."""
    features: Array
    """(N, K) float64 on the device."""

    def first(self, k: int, center: Head | None, offset: Floats | None) -> Subspace:
        """The first k. Raises ValueError where there are fewer."""
        n_features = len(self.vectors)
        if k > n_features:
            raise ValueError(f"subspace must be at most {n_features}, the features of the set; got {k}")
        xp = array_namespace(self.features)
        # A copy of fewer: rows of the solver are contiguous.
        own = self.features if k == int(self.features.shape[1]) else xp.asarray(self.features[:, :k], copy=True)
        return Subspace(
            vectors=self.vectors[:, :k],
            features=own,
            center=center,
            offset=offset,
        )


def leading(features: Array, weight: Floats, most: int) -> Leading:
    """The `most` leading directions, or all there are, of rows weighted by `weight` (N,)."""
    spectrum = weighted_spectrum(features, weight, top_k=min(most, int(features.shape[1])), vectors=True)
    vectors = cast("Array", spectrum.vectors)
    xp = array_namespace(features)
    found = xp.empty((int(features.shape[0]), int(vectors.shape[1])), dtype=xp.float64, device=features.device)
    for tile in blocks(int(features.shape[0]), budget.DEFAULT.rows_of_pass(int(features.shape[1]))):
        found[tile, :] = product(xp.astype(features[tile, :], xp.float64), vectors)
    return Leading(vectors=to_host(vectors), features=found)


def center_logits(features: Array, center: Head | None) -> Floats | None:
    """(N, C) logits of the center, on the host."""
    return None if center is None else to_host(logits_of_heads(features, [center])[0])
