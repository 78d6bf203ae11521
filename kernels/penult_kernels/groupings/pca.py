"""Principal axes of rows: exact, from moments where there are more rows than features, else from the rows' products.

Shapes: n rows, D features, p axes.
"""

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from penult_kernels import budget
from penult_kernels.arrays import Array, blocks
from penult_kernels.finite import check_finite
from penult_kernels.moments.accumulation import MomentAccumulator
from penult_kernels.moments.moments import check_positive, matrix_shape
from penult_kernels.products import gram, product
from penult_kernels.rows import ArrayRows, RowSource, is_source
from penult_kernels.spectra.eigen import LARGEST_FRACTION, decompose_fully, iterate

BUFFERS = 4
"""Rows that are added to moments at a time, in the rows of a buffer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axes:
    """A linear map z -> (z - mean) @ basis."""

    mean: Array
    """(D,) float64."""
    basis: Array
    """(D, p) float64, orthonormal; of each column the entry of the largest size is positive."""
    variance: Array
    """(p,) along the axes, descending (divisor n)."""


def principal_axes(rows: Array | RowSource, p: int) -> Axes:
    """The p axes of the largest variance; fewer where the rows span fewer dimensions, none where all are equal.

    Parameters
    ----------
    rows : array of shape (n, D), or a row source
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
    source = rows if is_source(rows) else ArrayRows(rows)
    mean, values, basis = _by_moments(source, k) if n > n_features else _by_products(source, k)
    xp = array_namespace(basis)
    largest = xp.max(xp.abs(basis), axis=0)
    ones = xp.ones_like(largest)
    signs = xp.where(xp.any(basis == largest, axis=0), ones, -ones)
    return Axes(mean=mean, basis=basis * signs, variance=values / n)


def project(rows: Array | RowSource, mean: Array, basis: Array) -> Array:
    """(rows - mean) @ basis in float64, (n, p), a tile of rows at a time."""
    source = rows if is_source(rows) else ArrayRows(rows)
    xp = array_namespace(source.like)
    shape = (source.shape[0], int(basis.shape[1]))
    found = xp.empty(shape, dtype=xp.float64, device=source.like.device)
    for block in blocks(shape[0], budget.DEFAULT.rows_of_pass(source.shape[1])):
        found[block, :] = product(xp.astype(source.block(block), xp.float64) - mean, basis)
    return found


def _by_moments(rows: RowSource, k: int) -> tuple[Array, Array, Array]:
    (n, n_features), like = rows.shape, rows.like
    sums = MomentAccumulator(1, n_features, dtype=like.dtype, xp=array_namespace(like), device=like.device)
    for block in blocks(n, BUFFERS * budget.of(like).buffer_rows):
        sums.add(rows.block(block), np.zeros(block.stop - block.start, np.int64))
    moments = sums.finish()
    values, vectors = _largest(moments.m2[0, :, :], k, max(rows.shape))
    return moments.mean[0, :], values, vectors


def _by_products(rows: RowSource, k: int) -> tuple[Array, Array, Array]:
    in_memory = rows.block(slice(0, rows.shape[0]))
    xp = array_namespace(in_memory)
    check_finite(in_memory, name="rows")
    in_float64 = xp.astype(in_memory, xp.float64)
    del in_memory
    mean = xp.sum(in_float64, axis=0) / rows.shape[0]
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
