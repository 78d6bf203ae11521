"""One eigendecomposition that preconditions the Newton systems of all L2 problems over the same features.

The Hessian of a block is about h S + l2 I in each class column, with S the covariance of the standardised
features and h the mean curvature sum_i s_i p_i (1 - p_i) (Böhning 1992 bounds it by such a matrix). With S = Q L
Q^T and L diagonal, an inverse costs two products with Q, and one Q serves all penalties and weightings.
S may come from stored moments of all rows, or from a part of them: it changes the time, never the answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.moments import Moments
from penult_kernels.refit_batch import Batch
from penult_kernels.refit_blocks import tiles_of

ROWS_SAMPLED = 8192
WORK_OF_EIGENVECTORS = 10.0
"""Products of D x D that an eigendecomposition costs, about."""
PASSES_SAVED = 100.0
"""Products with the rows that it saves every column, about."""
SMALLEST_CURVATURE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Preconditioner:
    """Of the features in the space solved."""

    vectors: Array
    """(D, D) eigenvectors of the covariance, float32."""
    eigenvalues: Array
    """(D,) float64."""
    mean: Array
    """(D,) float64. A bias about the mean, c + V mean, has next to nothing to do with V."""

    def inverse(self, batch: Batch, curvature: Array, residual: Array) -> Array:
        """Approximate inverse Hessians of the blocks times residuals (B, q, D + 1), for h = curvature (B, q)."""
        xp = array_namespace(residual)
        fitted = batch.is_fitted[:, None]
        of_weight = curvature[:, :, None] * self.eigenvalues + (batch.l2[:, None, None] + SMALLEST_CURVATURE)
        of_bias = curvature + SMALLEST_CURVATURE + (batch.l2 * batch.bias_penalty**2)[:, None]
        bias = residual[:, :, -1]
        about = residual[:, :, :-1] - (bias * fitted)[:, :, None] * self.mean
        turned = xp.astype(xp.astype(about, xp.float32) @ self.vectors, xp.float64) / of_weight
        weight = xp.astype(xp.astype(turned, xp.float32) @ self.vectors.T, xp.float64)
        moved = (bias / of_bias - weight @ self.mean) * fitted
        return xp.concat([weight, moved[:, :, None]], axis=2)

    def at(self, batch: Batch, p: Array) -> Callable[[Array], Array]:
        """The same at probabilities p (n, B, q)."""
        curvature = array_namespace(p).sum(batch.share[:, :, None] * p * (1.0 - p), axis=0)
        return lambda residual: self.inverse(batch, curvature, residual)


def is_worthwhile(batch: Batch) -> bool:
    """Whether the eigenvectors cost less than the passes that they save."""
    n_used, _, n_columns = batch.target.shape
    n_features = batch.scaling.mean.shape[0]
    saved = PASSES_SAVED * n_used * batch.n_blocks * n_columns * n_features
    return n_used >= n_features and saved > WORK_OF_EIGENVECTORS * n_features**3


def make_preconditioner(batch: Batch, moments: Moments | None) -> Preconditioner:
    """From moments of all rows by group where given, else from some rows of the batch spread evenly."""
    xp = array_namespace(batch.share)
    mean, covariance = _sampled(batch) if moments is None else _pooled(moments)
    scale = batch.scaling.scale
    scaled = covariance / scale[:, None] / scale
    # Vectors of half the precision in half the time; Rayleigh's quotients give the small eigenvalues back.
    vectors = xp.linalg.eigh(xp.astype(scaled, xp.float32))[1]
    wide = xp.astype(vectors, xp.float64)
    eigenvalues = xp.sum(wide * (scaled @ wide), axis=0)
    return Preconditioner(
        vectors=vectors,
        eigenvalues=xp.where(eigenvalues > 0, eigenvalues, 0.0),
        mean=(mean - batch.scaling.mean) / scale,
    )


def _pooled(moments: Moments) -> tuple[Array, Array]:
    """Mean (D,) and covariance (D, D) of all rows."""
    xp = array_namespace(moments.m2)
    total = float(xp.sum(moments.weight))
    shares = moments.weight / total
    mean = shares @ moments.mean
    off = moments.mean - mean
    within = xp.sum(moments.m2, axis=0) / total
    return mean, within + (shares[:, None] * off).T @ off


def _sampled(batch: Batch) -> tuple[Array, Array]:
    """The same of about ROWS_SAMPLED of the rows, every so many, a tile at a time."""
    xp = array_namespace(batch.share)
    n_used = batch.share.shape[0]
    chosen = np.arange(0, n_used, max(1, n_used // ROWS_SAMPLED), dtype=np.int64)
    source = batch.features if batch.dense is None else batch.dense
    rows = chosen if batch.dense is not None or batch.rows is None else batch.rows[chosen]
    tiles = (tile for _, tile in tiles_of(source, rows))
    first = next(tiles)
    # About the mean of the first tile, so that nothing of the size of the mean is squared.
    shift = xp.mean(first, axis=0)
    total, product = xp.zeros_like(shift), 0.0
    for tile in chain((first,), tiles):
        centred = tile - shift
        total = total + xp.sum(centred, axis=0)
        product = product + centred.T @ centred
    off = total / chosen.size
    return shift + off, product / chosen.size - off[:, None] * off
