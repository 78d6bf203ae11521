"""Eigenvalues of the covariance of a group, from its moments or from its rows.

Conventions: eigenvalues descend and are float64; K = min(top_k, D), or D when top_k is 0; the divisor
is weight - correction (0 is the convention of LaBonte et al. 2024, arXiv 2407.13957). Where that is not
positive the covariance does not exist and every value is NaN. Nothing is clamped: an eigenvalue that is
zero in exact arithmetic may come out as a number of either sign of size about D * eps * lambda_1.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks
from penult_kernels.finite import check_finite
from penult_kernels.moments.moments import check_correction, matrix_shape
from penult_kernels.products import gram, product
from penult_kernels.rows import ArrayRows, RowSource
from penult_kernels.spectra.eigen import Method, decompose


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spectrum:
    """The largest eigenvalues of one covariance, and bounds on their errors."""

    eigenvalues: Array
    """(K,) float64, descending."""
    residuals: Array
    """(K,) float64: each eigenvalue lies within this distance of an exact one of the rows' covariance. The norm
    |S v - lambda v| where eigenvectors v were computed, else D * eps * lambda_1, the backward error of a full
    decomposition; plus the rounding of S itself (`with_rounding`)."""
    trace: float
    """Sum of all D eigenvalues: the total variance."""
    method: Method
    converged: bool
    """False if an iteration stopped before its residuals were small enough."""
    vectors: Array | None = None
    """(D, K) orthonormal columns, on request."""


def spectrum_from_moments(
    m2: Array, count: float, *, mean: Array = None, top_k: int = 0, correction: int = 0, vectors: bool = False
) -> Spectrum:
    """Spectrum of m2 / (count - correction).

    Parameters
    ----------
    m2 : array of shape (D, D)
        Symmetric second moment about the mean (or, for uncentered spectra, about zero).
    count : float
        Rows behind it, or the sum of their weights.
    mean : array of shape (D,), optional
        Mean of the rows: the residuals then include the rounding of a distant mean. Without it they are as for mean 0.
    top_k : int
        Eigenvalues kept, the largest; 0 for all.
    correction : int
        Subtracted from the count to give the divisor.
    vectors : bool
        Return the eigenvectors too.

    Raises
    ------
    ValueError
        When m2 is not a square matrix of finite numbers, or top_k or correction is negative.
    """
    xp = array_namespace(m2)
    shape = matrix_shape(m2, name="m2")
    if shape[0] != shape[1]:
        raise ValueError(f"m2 must be square, (D, D), got {shape}")
    n_kept = kept(top_k, shape[1])
    check_correction(correction)
    if count <= correction:
        return undefined(shape[1], n_kept, m2, vectors=vectors)
    check_finite(m2, name="m2")
    found = spectrum_of(xp.astype(m2, xp.float64, copy=False), n_kept, count - correction, vectors=vectors)
    return with_rounding(found, max(count, shape[1]), mean, merged=True)


def spectrum_from_rows(
    rows: Array | ArrayRows,
    *,
    top_k: int = 0,
    correction: int = 0,
    center: bool = True,
    vectors: bool = False,
) -> Spectrum:
    """Spectrum of the covariance of the rows.

    The non-zero eigenvalues of Z^T Z (D x D) and Z Z^T (N x N) are the same, so the smaller of the two is
    formed; with N < D the remaining D - N eigenvalues are exactly 0. No D x D matrix exists then, which
    is what makes flattened hidden states (D of 30,000 and more) possible.

    Parameters
    ----------
    rows : array of shape (N, D), or such rows of an array
        Any real floating type; products are taken in float64, of a block of rows at a time.
    top_k : int
        Eigenvalues kept, the largest; 0 for all.
    correction : int
        Subtracted from N to give the divisor.
    center : bool
        Second moment about the mean; about zero when False.
    vectors : bool
        Return the eigenvectors too.

    Raises
    ------
    ValueError
        When rows is not a matrix of finite floating-point numbers, or top_k or correction is negative.
    """
    source = as_rows(rows)
    n_rows, n_features = source.shape
    n_kept = kept(top_k, n_features)
    check_correction(correction)
    if n_rows <= correction:
        return undefined(n_features, n_kept, source.features, vectors=vectors)
    about = mean_of(source)
    if not center:
        about = array_namespace(about).zeros_like(about)
    divisor = n_rows - correction
    n_summed = max(n_rows, n_features)
    if n_rows >= n_features:
        found = spectrum_of(_inner_product(source, about), n_kept, divisor, vectors=vectors)
        return with_rounding(found, n_summed, about)
    outer = outer_product(source, about)
    if vectors:
        return with_rounding(_through_rows(source, about, outer, n_kept, divisor), n_summed, about)
    found = spectrum_of(outer, min(n_kept, n_rows), divisor, vectors=False)
    return with_zeros(with_rounding(found, n_summed, about), n_kept)


def as_rows(rows: Array | ArrayRows) -> ArrayRows:
    """Rows of an array, all of one that is given itself. Raises ValueError unless it is a matrix of floats."""
    matrix_shape(rows, name="rows")
    return rows if isinstance(rows, ArrayRows) else ArrayRows(rows)


def mean_of(rows: RowSource, *, name: str = "rows") -> Array:
    """(D,) mean in float64, zero of no rows. Raises NotFiniteError for a row with NaN or infinity."""
    xp = array_namespace(rows.like)
    n_rows, n_features = rows.shape
    total = xp.zeros((n_features,), dtype=xp.float64, device=rows.like.device)
    for block in _row_slices(rows):
        part = rows.block(block)
        numbers: NDArray[np.int64] = np.arange(block.start, block.stop, dtype=np.int64)
        check_finite(part, name=name, numbers=numbers)
        total += xp.sum(part, axis=0, dtype=xp.float64)
    return total / max(n_rows, 1)


def row_blocks(rows: ArrayRows, about: Array) -> Iterator[tuple[slice, Array]]:
    """Slices and rows minus `about` in float64, a block of rows (N', D) at a time, each in the memory of the last."""
    work: Array = None
    for block in _row_slices(rows):
        work = _in_float64(rows.block(block), work)
        part = work[: block.stop - block.start, :]
        part -= about
        yield block, part


def _row_slices(rows: RowSource) -> Iterator[slice]:
    """Slices of rows that are converted together; fewer on a CPU, whose cache then still holds them."""
    n_rows, n_features = rows.shape
    on_cpu = is_numpy_array(rows.like)
    return blocks(n_rows, budget.DEFAULT.rows_of_pass(n_features)) if on_cpu else _slices(n_rows, n_features)


def _slices(length: int, width: int) -> Iterator[slice]:
    """Slices of as many rows of `width` numbers as are converted to float64 at a time."""
    return blocks(length, max(1, budget.DEFAULT.product_rows_bytes // 8 // max(1, width)))


def _in_float64(values: Array, work: Array | None) -> Array:
    """The values in the first rows of `work`, or as an array of their own without it."""
    if work is None:
        xp = array_namespace(values)
        return xp.astype(values, xp.float64)
    work[: values.shape[0], :] = values
    return work


def _column_blocks(rows: ArrayRows, about: Array | None) -> Iterator[tuple[slice, Array]]:
    """Slices and columns, minus `about` if given, in float64, a block of columns (N, D') at a time."""
    xp = array_namespace(rows.features)
    n_rows, n_features = rows.shape
    for block in _slices(n_features, n_rows):
        z = xp.astype(rows.columns(block), xp.float64)
        if about is not None:
            z -= about[block]
        yield block, z
        del z


def outer_product(rows: Array | ArrayRows, about: Array | None = None) -> Array:
    """Z Z^T (N, N) of the rows, minus `about` if given, a block of columns at a time."""
    source = as_rows(rows)
    n_rows, like = source.shape[0], source.features
    xp = array_namespace(like)
    total = xp.zeros((n_rows, n_rows), dtype=xp.float64, device=like.device)
    for _, z in _column_blocks(source, about):
        total += gram(z)
    return total


def _inner_product(rows: ArrayRows, about: Array) -> Array:
    """Z^T Z (D, D) of the rows minus `about`, a block of rows at a time."""
    n_features, like = rows.shape[1], rows.features
    xp = array_namespace(like)
    total = xp.zeros((n_features, n_features), dtype=xp.float64, device=like.device)
    for _, z in row_blocks(rows, about):
        total += gram(z.T)
    return total


def spectrum_of(symmetric: Array, n_kept: int, divisor: float, *, vectors: bool) -> Spectrum:
    """Spectrum of symmetric / divisor."""
    xp = array_namespace(symmetric)
    found = decompose(symmetric, n_kept, vectors=vectors)
    return Spectrum(
        eigenvalues=found.values / divisor,
        residuals=found.residuals / divisor,
        trace=float(xp.linalg.trace(symmetric)) / divisor,
        method=found.method,
        converged=found.converged,
        vectors=found.vectors,
    )


def _through_rows(rows: ArrayRows, about: Array, outer: Array, n_kept: int, divisor: float) -> Spectrum:
    """Spectrum with eigenvectors from the decomposition of Z Z^T: v = Z^T u, made orthonormal.

    Where Z^T u vanishes, and beyond N, the eigenvalue is zero and any direction orthogonal to the rest will do.
    """
    xp = array_namespace(outer)
    n_rows, n_features = rows.shape
    found = spectrum_of(outer, min(n_kept, n_rows), divisor, vectors=True)
    left = cast("Array", found.vectors)
    span = asarray_like(np.random.default_rng(0).standard_normal((n_features, n_kept)), outer)
    for columns, z in _column_blocks(rows, about):
        span[columns, : left.shape[1]] = product(z.T, left)
    vectors, _ = xp.linalg.qr(span)
    padded = with_zeros(replace(found, vectors=None), n_kept)
    image = xp.zeros_like(vectors)
    for _, z in row_blocks(rows, about):
        image += product(z.T, product(z, vectors))
    residuals = xp.linalg.vector_norm(image / divisor - vectors * padded.eigenvalues, axis=0)
    return replace(padded, vectors=vectors, residuals=residuals)


def with_rounding(found: Spectrum, n_summed: float, mean: Array, *, merged: bool = False) -> Spectrum:
    """The spectrum with the rounding of the covariance S added to its residuals.

    By Weyl's inequality no eigenvalue moves further than the norm of the error of S. A sum of n terms is taken to be
    off by at most u = 4 sqrt(n) eps of the sum of their magnitudes, which holds but with a chance of 2 n exp(-32)
    where rounding errors are of mixed sign (Higham and Mary 2019, "A new approach to probabilistic rounding error
    analysis"). Products are then off by at most u trace, and a mean by e = u |mean|, which adds e^2 to products about
    it. If portions about their own means were merged (Chan, Golub and LeVeque 1983), the distances between the means
    are off by e too, which adds 2 sqrt(lambda_1) e.

    Parameters
    ----------
    n_summed : terms of the longest sum.
    mean : (D,) that was subtracted from the rows, or None.
    merged : whether portions were merged.
    """
    size = 0.0 if mean is None else float(array_namespace(mean).linalg.vector_norm(mean))
    unit = 4 * math.sqrt(n_summed) * float(np.finfo(np.float64).eps)
    off = unit * size
    largest = max(float(found.eigenvalues[0]), 0.0)
    rounding = unit * abs(found.trace) + off**2 + (2 * math.sqrt(largest) * off if merged else 0.0)
    return replace(found, residuals=found.residuals + rounding)


def with_zeros(found: Spectrum, n_kept: int) -> Spectrum:
    """The spectrum with the zeros that N < D rows have by construction; their residual is 0."""
    xp = array_namespace(found.eigenvalues)
    n_zeros = n_kept - int(found.eigenvalues.shape[0])
    if n_zeros <= 0:
        return found
    zeros = xp.zeros((n_zeros,), dtype=xp.float64, device=found.eigenvalues.device)
    # A rounding-level negative eigenvalue belongs after the exact zeros.
    return replace(
        found,
        eigenvalues=xp.sort(xp.concat([found.eigenvalues, zeros]), descending=True),
        residuals=xp.concat([found.residuals, zeros]),
    )


def undefined(n_features: int, n_kept: int, like: Array, *, vectors: bool) -> Spectrum:
    """The spectrum of a covariance without a positive divisor: NaN."""
    xp = array_namespace(like)
    nan = xp.full((n_kept,), xp.nan, dtype=xp.float64, device=like.device)
    return Spectrum(
        eigenvalues=nan,
        residuals=nan,
        trace=math.nan,
        method=Method.UNDEFINED,
        converged=True,
        vectors=xp.full((n_features, n_kept), xp.nan, dtype=xp.float64, device=like.device) if vectors else None,
    )


def kept(top_k: int, n_features: int) -> int:
    """K = min(top_k, D), D when top_k is 0. Raises ValueError when it is negative."""
    if top_k < 0:
        raise ValueError(f"top_k must be at least 0 (0 keeps all {n_features}), got {top_k}")
    return min(top_k or n_features, n_features)
