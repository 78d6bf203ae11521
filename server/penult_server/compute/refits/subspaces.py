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
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.linear.problem import Head, Problem
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_kernels.products import product
from penult_kernels.spectra.weighted import weighted_spectrum

H = TypeVar("H", bound=Head)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leading:
    """The leading directions of some rows."""

    vectors: Floats
    """(D, K) on the host, the first with the largest eigenvalue."""
    rows: Array
    """(N, D) all rows, on the device."""

    def features(self) -> Array:
        """(N, K) float64 V^T z of all rows, on the device, made anew: those of several are not in memory at once."""
        xp, vectors = array_namespace(self.rows), asarray_like(self.vectors, self.rows)
        n_rows, n_features = (int(length) for length in self.rows.shape)
        found = xp.empty((n_rows, int(vectors.shape[1])), dtype=xp.float64, device=self.rows.device)
        for tile in blocks(n_rows, budget.DEFAULT.rows_of_pass(n_features)):
            found[tile, :] = product(xp.astype(self.rows[tile, :], xp.float64), vectors)
        return found

    def first(self, k: int, center: Head | None, offset: Floats | None) -> "Subspace":
        """The first k. Raises ValueError where there are fewer."""
        n_features = len(self.vectors)
        if k > n_features:
            raise ValueError(f"subspace must be at most {n_features}, the features of the set; got {k}")
        return Subspace(leading=self, vectors=self.vectors[:, :k], center=center, offset=offset)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subspace:
    """Some of the leading directions V."""

    leading: Leading
    vectors: Floats
    """(D, k) orthonormal, on the host."""
    center: Head | None
    """On the host; zero when None."""
    offset: Floats | None
    """(N, C) logits of the center."""

    def part_of(self, features: Array) -> Array:
        """(N, k) of the features in all directions: a copy of fewer, as rows of the solver are contiguous."""
        k = self.vectors.shape[1]
        if k == int(features.shape[1]):
            return features
        return array_namespace(features).asarray(features[:, :k], copy=True)

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


def leading(features: Array, weight: Floats, most: int) -> Leading:
    """The `most` leading directions, or all there are, of rows weighted by `weight` (N,)."""
    spectrum = weighted_spectrum(features, weight, top_k=min(most, int(features.shape[1])), vectors=True)
    return Leading(vectors=to_host(cast("Array", spectrum.vectors)), rows=features)


def center_logits(features: Array, center: Head | None) -> Floats | None:
    """(N, C) logits of the center, on the host."""
    return None if center is None else to_host(logits_of_heads(features, [center])[0])
