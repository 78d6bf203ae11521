"""Principal axes of rows: exact, from moments where there are more rows than features, else from the rows' products.

Shapes: n rows, D features, p axes.
"""

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from penult_kernels import budget
from penult_kernels.arrays import Array, blocks
from penult_kernels.finite import check_finite
from penult_kernels.moments.accumulation import moments_of
from penult_kernels.moments.moments import check_positive, matrix_shape
from penult_kernels.products import gram, product
from penult_kernels.spectra.eigen import LARGEST_FRACTION, decompose_fully, iterate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axes:
    """A linear map z -> (z - mean) @ basis."""

    mean: Array
    """(D,) float64."""
    basis: Array
    """(D, p) float64, orthonormal; of each column the entry of the largest size is positive."""
    variance: Array
    """(p,) along the axes, descending (divisor n)."""


def principal_axes(rows: Array, p: int) -> Axes:
    """The p axes of the largest variance; fewer where the rows span fewer dimensions, none where all are equal.

    Parameters
    ----------
    rows : array of shape (n, D)
        Any real floating type; centered in float64.
    p : int
        At least 1.

    Raises
    ------
    ValueError
        When there is no row, or p is below 1.
    NotFiniteError
        When a row holds NaN or infinity.
    """
    n, n_features = matrix_shape(rows, name="rows")
    check_positive(n, name="the number of rows")
    check_positive(p, name="p")
    k = min(p, n, n_features)
    mean, values, basis = _by_moments(rows, k) if n > n_features else _by_products(rows, k)
    xp = array_namespace(rows)
    largest = xp.max(xp.abs(basis), axis=0)
    ones = xp.ones_like(largest)
    signs = xp.where(xp.any(basis == largest, axis=0), ones, -ones)
    return Axes(mean=mean, basis=basis * signs, variance=values / n)


def project(rows: Array, mean: Array, basis: Array) -> Array:
    """(rows - mean) @ basis in float64, (n, p), a tile of rows at a time."""
    xp = array_namespace(rows)
    shape = (int(rows.shape[0]), int(basis.shape[1]))
    found = xp.empty(shape, dtype=xp.float64, device=rows.device)
    for block in blocks(shape[0], budget.DEFAULT.rows_of_pass(int(rows.shape[1]))):
        found[block, :] = product(xp.astype(rows[block, :], xp.float64) - mean, basis)
    return found


def _by_moments(rows: Array, k: int) -> tuple[Array, Array, Array]:
    moments = moments_of(rows, np.zeros(int(rows.shape[0]), np.int64), 1)
    values, vectors = _largest(moments.m2[0, :, :], k, max(rows.shape))
    return moments.mean[0, :], values, vectors


def _by_products(rows: Array, k: int) -> tuple[Array, Array, Array]:
    xp = array_namespace(rows)
    check_finite(rows, name="rows")
    in_float64 = xp.astype(rows, xp.float64)
    mean = xp.sum(in_float64, axis=0) / int(rows.shape[0])
    in_float64 -= mean
    values, vectors = _largest(gram(in_float64), k, max(rows.shape))
    # Columns of the product are orthogonal to the rounding of the largest; those of the factor to their own.
    basis, _ = xp.linalg.qr(product(in_float64.T, vectors))
    return mean, values, basis


def _largest(symmetric: Array, k: int, size: int) -> tuple[Array, Array]:
    """The k largest eigenpairs, but for those whose eigenvalue is zero to rounding.

    Few are iterated for at any size: at 512 features the two largest take a tenth of the time of a decomposition.
    """
    xp = array_namespace(symmetric)
    is_few = k <= int(symmetric.shape[0]) * LARGEST_FRACTION
    found = (iterate(symmetric, k) if is_few else None) or decompose_fully(symmetric, k, vectors=True)
    least = size * float(xp.finfo(xp.float64).eps) * float(found.values[0])
    kept = int(xp.sum(xp.astype(found.values > max(least, 0.0), xp.int64)))
    vectors: Array = found.vectors
    return found.values[:kept], vectors[:, :kept]
