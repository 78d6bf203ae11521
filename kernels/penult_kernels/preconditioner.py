"""Approximate inverse Hessians of L2 problems, by an eigenbasis of the features.

The Hessian of a block is about h S + l2 I in each class column, with S the covariance of the rows in the space solved
and h the mean curvature sum_i s_i p_i (1 - p_i) (Böhning 1992 bounds it by such a matrix). With S = Q L Q^T and L
diagonal, an inverse costs two products with Q.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside
from penult_kernels.eigenbasis import Eigenbasis
from penult_kernels.refit_batch import Batch

SMALLEST_CURVATURE = 1e-12
"""Added to every curvature, so that none is zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Preconditioner:
    """An approximate inverse Hessian of each block of a batch."""

    basis: Eigenbasis
    mean: Array
    """(B, 1, D) weighted mean of the rows in the space solved, float64. A bias about the mean, c + V mean, has next
    to nothing to do with V."""

    def of_weights(self, batch: Batch, curvature: Array) -> Array:
        """Approximate curvatures (B, q, D) along the eigenvectors, for h = curvature (B, q)."""
        return curvature[:, :, None] * self.basis.eigenvalues + batch.l2[:, None, None]

    def inverse(self, batch: Batch, curvature: Array, residual: Array) -> Array:
        """Approximate inverse Hessians of the blocks times residuals (B, q, D + 1), for h = curvature (B, q)."""
        xp = array_namespace(residual)
        vectors = self.basis.vectors
        fitted = batch.is_fitted[:, None]
        of_weight = self.of_weights(batch, curvature) + SMALLEST_CURVATURE
        of_bias = curvature + SMALLEST_CURVATURE + batch.bias_stiffness()[:, None]
        bias = residual[:, :, -1]
        about = residual[:, :, :-1] - (bias * fitted)[:, :, None] * self.mean
        along = xp.astype(xp.astype(about, xp.float32) @ vectors, xp.float64) / of_weight
        weight = xp.astype(xp.astype(along, xp.float32) @ vectors.T, xp.float64)
        moved = (bias / of_bias - xp.sum(weight * self.mean, axis=2)) * fitted
        return xp.concat([weight, moved[:, :, None]], axis=2)

    def at(self, batch: Batch, p: Array) -> Callable[[Array], Array]:
        """What multiplies residuals (B, q, D + 1) with the inverses at probabilities p (n, B, q)."""
        curvature = array_namespace(p).sum(batch.share[:, :, None] * p * (1.0 - p), axis=0)
        return lambda residual: self.inverse(batch, curvature, residual)

    def of(self, place: int) -> "Preconditioner":
        """The inverse of one of the blocks."""
        return replace(self, mean=self.mean[place : place + 1, :, :])

    def take(self, kept: NDArray[np.int64]) -> "Preconditioner":
        """The inverses of some of the blocks."""
        return replace(self, mean=array_namespace(self.mean).take(self.mean, beside(kept, self.mean), axis=0))


def joined(parts: Sequence[Preconditioner]) -> Preconditioner:
    """The preconditioner of all blocks of some, which have one eigenbasis."""
    means = [part.mean for part in parts]
    return replace(parts[0], mean=array_namespace(means[0]).concat(means, axis=0))


def make_preconditioner(batch: Batch, basis: Eigenbasis) -> Preconditioner:
    """The preconditioner of the blocks of a batch, which takes half a pass over its rows."""
    xp = array_namespace(batch.share)
    share = xp.broadcast_to(batch.share[:, :, None], (batch.share.shape[0], batch.n_blocks, 1))
    return Preconditioner(basis, batch.adjoint(share)[:, :, :-1])
