"""Eigenvalues of a symmetric positive semidefinite matrix: all, or the largest, by the faster method.

A full decomposition costs a fixed multiple of n^3; block Lanczos iteration costs a few hundred products with the
matrix, but may miss eigenvalues. Three checks guard its answer:

1. Residual norms |A v - lambda v|, computed from the pairs: each value lies within its residual norm of an exact
   eigenvalue.
2. A Cholesky factorisation of sigma I - (A - V diag(lambda) V^T), sigma just above the smallest value found. It
   exists only if no other eigenvalue exceeds sigma (Sylvester's law of inertia), so none was missed, neither in a
   cluster nor one of several equal ones.
3. If either fails, the full decomposition is computed instead.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.products import product
from penult_kernels.spectra.lanczos import Eigenpairs, largest_eigenpairs

ITERATE_FROM = 3072
"""Smallest size of a matrix at which iteration is used; below, the full decomposition is as fast."""
ITERATE_FROM_WITH_VECTORS = 1024
"""Smallest size of a matrix at which iteration is used if eigenvectors are wanted, which make a full decomposition
several times as slow."""
LARGEST_FRACTION = 1 / 24
"""Iteration is used for at most this fraction of the eigenvalues."""
LARGEST_BASIS = 1 / 4
"""Iteration gives up when its basis has this fraction of the matrix's columns."""
BLOCK = 8
"""Columns of a Lanczos block."""
TOLERANCE = 1e-10
"""Residuals asked for: at most this fraction of the largest eigenvalue, and its square root as a fraction of each."""


class Method(StrEnum):
    """How eigenvalues were found."""

    FULL = "full"
    """A full decomposition."""
    LANCZOS = "lanczos"
    """Block Lanczos iteration for the largest ones."""
    UNDEFINED = "undefined"
    """Not at all: there are too few rows for the divisor."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Eigen:
    """The k largest eigenvalues of a matrix, and bounds on their errors."""

    values: Array
    """(k,) float64, descending."""
    residuals: Array
    """(k,) each value lies within this distance of an exact eigenvalue."""
    vectors: Array | None
    """(n, k) orthonormal columns, where they were asked for."""
    method: Method
    converged: bool


def decompose(symmetric: Array, k: int, *, vectors: bool = False) -> Eigen:
    """The k largest eigenvalues of a positive semidefinite matrix.

    Parameters
    ----------
    symmetric : array of shape (n, n)
        Finite float64; only known to be symmetric to rounding.
    k : int
        1 <= k <= n.
    vectors : bool
        Return the eigenvectors too.
    """
    if iterates(int(symmetric.shape[0]), k, vectors=vectors):
        found = iterate(symmetric, k)
        if found is not None:
            return Eigen(
                values=found.values,
                residuals=found.residuals,
                vectors=found.vectors if vectors else None,
                method=Method.LANCZOS,
                converged=True,
            )
    return decompose_fully(symmetric, k, vectors=vectors)


def iterates(n: int, k: int, *, vectors: bool) -> bool:
    """Whether iteration is expected to be quicker than a full decomposition."""
    return n >= (ITERATE_FROM_WITH_VECTORS if vectors else ITERATE_FROM) and k <= n * LARGEST_FRACTION


def iterate(symmetric: Array, k: int) -> Eigenpairs | None:
    """The k largest eigenpairs by iteration, or None if they cannot be certified."""
    n = int(symmetric.shape[0])
    pairs = largest_eigenpairs(
        lambda columns: product(symmetric, columns),
        symmetric,
        n,
        k,
        block=BLOCK,
        max_basis=max(k + BLOCK, int(n * LARGEST_BASIS)),
        tolerance=TOLERANCE,
    )
    return pairs if pairs.converged and nothing_larger(symmetric, pairs) else None


def nothing_larger(symmetric: Array, pairs: Eigenpairs) -> bool:
    """Whether every eigenvalue that `pairs` leaves out is at most the smallest that it holds.

    "At most" to within the largest residual and the rounding of the factorisation, 4 n eps lambda_1.
    """
    xp = array_namespace(symmetric)
    n = int(symmetric.shape[0])
    slack = 4 * n * float(xp.finfo(xp.float64).eps) * abs(float(pairs.values[0])) + float(xp.max(pairs.residuals))
    bound = float(pairs.values[-1]) + slack
    rest = product(pairs.vectors * pairs.values, pairs.vectors.T) - symmetric
    rest += bound * xp.eye(n, dtype=xp.float64, device=symmetric.device)
    try:
        factor = xp.linalg.cholesky(rest)
    except np.linalg.LinAlgError:
        return False
    # Not every library raises: CuPy by default returns an invalid factor. A valid one reproduces the matrix.
    probe = asarray_like(np.random.default_rng(0).standard_normal((n, 1)), symmetric)
    error = xp.linalg.vector_norm(factor @ (factor.T @ probe) - rest @ probe)
    return bool(error <= 1e-10 * xp.linalg.vector_norm(rest @ probe))


def decompose_fully(symmetric: Array, k: int, *, vectors: bool = False) -> Eigen:
    """The k largest eigenvalues by a full decomposition.

    Without eigenvectors the residual stated is n eps |A|, the backward error of the LAPACK routines behind it.
    """
    xp = array_namespace(symmetric)
    columns = None
    if vectors:
        values, every = xp.linalg.eigh(symmetric)
        values, columns = xp.flip(values)[:k], xp.flip(every, axis=1)[:, :k]
        residuals = xp.linalg.vector_norm(symmetric @ columns - columns * values, axis=0)
    else:
        values = xp.flip(xp.linalg.eigvalsh(symmetric))
        # Values descend, so that the largest in size stands at an end.
        size = xp.maximum(values[0], -values[-1])
        values = values[:k]
        error = size * (float(xp.finfo(xp.float64).eps) * int(symmetric.shape[0]))
        residuals = xp.broadcast_to(error, values.shape)
    return Eigen(values=values, residuals=residuals, vectors=columns, method=Method.FULL, converged=True)
