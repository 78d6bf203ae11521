"""Eigenvalues of the covariance of a group, from its moments or from its rows.

Conventions: eigenvalues descend and are float64; K = min(top_k, D), or D when top_k is 0; the divisor
is n - correction (0 is the convention of LaBonte et al. 2024, arXiv 2407.13957). Where that is not
positive the covariance does not exist and every value is NaN. Nothing is clamped: an eigenvalue that is
zero in exact arithmetic may come out as a number of either sign of size about D * eps * lambda_1.
"""

import math

from array_api_compat import array_namespace

from penult_kernels.arrays import Array, blocks
from penult_kernels.moments import check_correction, matrix_shape

ELEMENTS_PER_PRODUCT = 1 << 23
"""Entries of the rows widened to float64 at a time (64 MiB)."""


def spectrum_from_moments(m2: Array, count: int, *, top_k: int = 0, correction: int = 0) -> Array:
    """Eigenvalues of m2 / (count - correction).

    Parameters
    ----------
    m2 : array of shape (D, D)
        Symmetric second moment about the mean (or, for uncentred spectra, about zero).
    count : int
        Rows behind it.
    top_k : int
        Eigenvalues kept, the largest; 0 for all.
    correction : int
        Subtracted from the count to give the divisor.

    Returns
    -------
    array of shape (K,)
        Descending float64, NaN where count <= correction.

    Raises
    ------
    ValueError
        When m2 is not a square matrix of finite numbers, or top_k or correction is negative.
    """
    xp = array_namespace(m2)
    shape = matrix_shape(m2, name="m2")
    if shape[0] != shape[1]:
        raise ValueError(f"m2 must be square, (D, D), got {shape}")
    n_kept = _n_kept(top_k, shape[1])
    check_correction(correction)
    if count <= correction:
        return xp.full((n_kept,), xp.nan, dtype=xp.float64, device=m2.device)
    return _eigenvalues(xp.astype(m2, xp.float64), name="m2")[:n_kept] / (count - correction)


def spectrum_from_rows(rows: Array, *, top_k: int = 0, correction: int = 0, center: bool = True) -> tuple[Array, float]:
    """Eigenvalues of the covariance of the rows, and the sum of all D of them.

    The non-zero eigenvalues of Z^T Z (D x D) and Z Z^T (N x N) are the same, so the smaller of the two is
    formed; with N < D the remaining D - N eigenvalues are exactly 0. No D x D matrix exists then, which
    is what makes flattened hidden states (D of 30,000 and more) possible.

    Parameters
    ----------
    rows : array of shape (N, D)
        Any real floating type; products are taken in float64.
    top_k : int
        Eigenvalues kept, the largest; 0 for all.
    correction : int
        Subtracted from N to give the divisor.
    center : bool
        Second moment about the mean; about zero when False.

    Returns
    -------
    eigenvalues : array of shape (K,)
        Descending float64, NaN where N <= correction.
    trace : float
        Sum of all eigenvalues, kept or not: the total variance.

    Raises
    ------
    ValueError
        When rows is not a matrix of finite floating-point numbers, or top_k or correction is negative.
    """
    xp = array_namespace(rows)
    n_rows, n_features = matrix_shape(rows, name="rows")
    n_kept = _n_kept(top_k, n_features)
    check_correction(correction)
    if n_rows <= correction:
        return xp.full((n_kept,), xp.nan, dtype=xp.float64, device=rows.device), math.nan
    about = xp.zeros((n_features,), dtype=xp.float64, device=rows.device)
    if center:
        about = xp.sum(rows, axis=0, dtype=xp.float64) / n_rows
    product = _outer_product(rows, about) if n_rows < n_features else _inner_product(rows, about)
    eigenvalues = _eigenvalues(product, name="rows")
    n_zeros = n_features - int(eigenvalues.shape[0])
    padded = xp.concat([eigenvalues, xp.zeros((n_zeros,), dtype=xp.float64, device=rows.device)])
    # A rounding-level negative eigenvalue belongs after the exact zeros.
    ordered = xp.sort(padded, descending=True)
    divisor = n_rows - correction
    return ordered[:n_kept] / divisor, float(xp.linalg.trace(product)) / divisor


def _outer_product(rows: Array, about: Array) -> Array:
    """Z Z^T (N, N) of the rows less `about`, a block of columns at a time."""
    xp = array_namespace(rows)
    n_rows, n_features = rows.shape
    total = xp.zeros((n_rows, n_rows), dtype=xp.float64, device=rows.device)
    for columns in blocks(n_features, max(1, ELEMENTS_PER_PRODUCT // n_rows)):
        z = xp.astype(rows[:, columns], xp.float64) - about[columns]
        total = total + z @ z.T
    return total


def _inner_product(rows: Array, about: Array) -> Array:
    """Z^T Z (D, D) of the rows less `about`, a block of rows at a time."""
    xp = array_namespace(rows)
    n_rows, n_features = rows.shape
    total = xp.zeros((n_features, n_features), dtype=xp.float64, device=rows.device)
    for block in blocks(n_rows, max(1, ELEMENTS_PER_PRODUCT // max(1, n_features))):
        z = xp.astype(rows[block, :], xp.float64) - about
        total = total + z.T @ z
    return total


def _eigenvalues(symmetric: Array, *, name: str) -> Array:
    """All eigenvalues, descending."""
    xp = array_namespace(symmetric)
    if not bool(xp.all(xp.isfinite(symmetric))):
        raise ValueError(f"{name} must be finite, got NaN or infinity: look at how the features were made")
    return xp.flip(xp.linalg.eigvalsh(symmetric))


def _n_kept(top_k: int, n_features: int) -> int:
    if top_k < 0:
        raise ValueError(f"top_k must be at least 0 (0 keeps all {n_features}), got {top_k}")
    return min(top_k or n_features, n_features)
