"""One eigendecomposition that preconditions the Newton systems of all L2 problems over the same features.

The Hessian of a block is about h S + l2 I in each class column, with S the covariance of the standardised
features and h the mean curvature sum_i s_i p_i (1 - p_i) (Böhning 1992 bounds it by such a matrix). With S = Q L
Q^T and L diagonal, an inverse costs two products with Q, and one Q serves all penalties and weightings.
S may come from stored moments of all rows, or from a part of them: it changes the time, never the answer.
"""

from collections.abc import Callable
from dataclasses import dataclass

from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.moments import Moments
from penult_kernels.refit_batch import Batch

ROWS_SAMPLED = 8192
WORK_OF_EIGENVECTORS = 30.0
"""Products of D x D that an eigendecomposition costs, about."""
PASSES_SAVED = 50.0
"""Products with the rows that it saves every column, about."""
SMALLEST_CURVATURE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Preconditioner:
    """Eigenvectors Q (D, D) and eigenvalues (D,) of the covariance in the space solved."""

    vectors: Array
    eigenvalues: Array

    def at(self, batch: Batch, p: Array) -> Callable[[Array], Array]:
        """Approximate inverse Hessians of the blocks at probabilities p (n, B, q), for thetas (B, q, D + 1)."""
        xp = array_namespace(p)
        curvature = xp.sum(batch.share[:, :, None] * p * (1.0 - p), axis=0) + SMALLEST_CURVATURE
        of_weight = curvature[:, :, None] * self.eigenvalues + batch.l2[:, None, None] + SMALLEST_CURVATURE
        of_bias = curvature[:, :, None] + (batch.l2 * batch.bias_penalty**2)[:, None, None]

        def inverse(residual: Array) -> Array:
            turned = (residual[:, :, :-1] @ self.vectors) / of_weight
            return xp.concat([turned @ self.vectors.T, residual[:, :, -1:] / of_bias], axis=2)

        return inverse


def is_worthwhile(batch: Batch) -> bool:
    """Whether the eigenvectors cost less than the passes that they save."""
    n_used, _, n_columns = batch.target.shape
    n_features = batch.scaling.mean.shape[0]
    saved = PASSES_SAVED * n_used * batch.n_blocks * n_columns * n_features
    return n_used >= n_features and saved > WORK_OF_EIGENVECTORS * n_features**3


def make_preconditioner(batch: Batch, moments: Moments | None) -> Preconditioner:
    """From moments of all rows by group where given, else from the first rows of the batch spread evenly."""
    xp = array_namespace(batch.share)
    covariance = _sampled(batch) if moments is None else _pooled(moments)
    scale = batch.scaling.scale
    eigenvalues, vectors = xp.linalg.eigh(covariance / scale[:, None] / scale)
    return Preconditioner(vectors=vectors, eigenvalues=xp.where(eigenvalues > 0, eigenvalues, 0.0))


def _pooled(moments: Moments) -> Array:
    """Covariance (D, D) of all rows."""
    xp = array_namespace(moments.m2)
    total = float(xp.sum(moments.weight))
    shares = moments.weight / total
    off = moments.mean - shares @ moments.mean
    within = xp.sum(moments.m2, axis=0) / total
    return within + (shares[:, None] * off).T @ off


def _sampled(batch: Batch) -> Array:
    """Covariance (D, D) of about ROWS_SAMPLED of the rows, every so many."""
    xp = array_namespace(batch.share)
    n_used = batch.share.shape[0]
    every = max(1, n_used // ROWS_SAMPLED)
    if batch.dense is not None:
        rows = batch.dense[::every, :]
    elif batch.rows is None:
        rows = batch.features[::every, :]
    else:
        rows = xp.take(batch.features, xp.asarray(batch.rows[::every], device=batch.share.device), axis=0)
    rows = xp.astype(rows, xp.float64)
    centred = rows - xp.mean(rows, axis=0)
    return centred.T @ centred / centred.shape[0]
