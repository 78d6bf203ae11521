"""Eigenvectors of the covariance of features, in which the Hessians of L2 problems are almost diagonal.

One decomposition serves all problems over the features, whatever their penalties, rows and weights, and may be kept
from one solve to the next. It changes the time that a solve takes, and an answer only within its certificate.

The Hessian of a block is about h S + l2 I in each class column, with S the covariance of the rows in the space solved
and h the mean curvature sum_i s_i p_i (1 - p_i) (Böhning 1992 bounds it by such a matrix). With S = Q L Q^T and L
diagonal, an approximate inverse costs two products with Q.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, fits_float32
from penult_kernels.linear.blocks.batch import Batch
from penult_kernels.linear.blocks.scaling import tiles_of
from penult_kernels.linear.l2.choose import eigenbasis_pays
from penult_kernels.products import gram, product

ROWS_PER_FEATURE = 16
"""Rows per feature in the sample. The relative error of curvatures is about the root of its inverse; weak penalties
need it to be small."""
LARGEST_IN_FLOAT32 = 1e15
"""Products of numbers up to this size may be added up in float32."""
ALIKE = 0.5
"""One basis serves two scales when the logarithm of their ratio has at most this standard deviation."""
MOST_BASES = 4
"""Bases that are kept at most: the latest."""
SMALLEST_CURVATURE = 1e-12
"""Added to every curvature, so that none is zero."""
INNER_ERROR = 0.3
"""Systems with a coupled matrix are solved to this fraction of their right sides."""
MOST_INNER = 40
"""Steps of conjugate gradients of such a system at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Eigenbasis:
    """Eigenvectors of the covariance of rows divided by `scale`."""

    scale: Array
    """(D,) float64."""
    vectors: Array
    """(D, D) in columns, float32."""
    eigenvalues: Array
    """(D,) float64, none negative."""


@dataclass(slots=True, eq=False)
class Eigenbases:
    """The eigenbases of one array of features, kept by its owner. Used by one thread at a time.

    A basis is made as soon as the solves since the last one was made would have saved its cost.
    """

    found: list[Eigenbasis] = field(default_factory=list[Eigenbasis])
    missed: float = 0.0
    """Multiplications of the products without a basis since the last one was made."""

    @property
    def nbytes(self) -> int:
        """Bytes of all bases."""
        return sum(4 * int(one.scale.shape[0]) ** 2 + 16 * int(one.scale.shape[0]) for one in self.found)

    def get(self, features: Array, scale: Array, work: float) -> Eigenbasis | None:
        """A basis that suits rows divided by `scale`, or None where none would pay.

        `work` is the number of multiplications of one product of all heads with their rows.
        """
        for basis in self.found:
            if are_alike(basis.scale, scale):
                return basis
        n_rows, n_features = (int(size) for size in features.shape)
        self.missed += work
        if not eigenbasis_pays(self.missed, min(n_rows, ROWS_PER_FEATURE * n_features), n_features):
            return None
        self.missed = 0.0
        basis = make_eigenbasis(features, scale)
        self.found = [*self.found, basis][-MOST_BASES:]
        return basis


def are_alike(scale: Array, other: Array) -> bool:
    """Whether rows divided by one scale (D,) and by another have about the same eigenvectors."""
    xp = array_namespace(scale)
    return math.sqrt(float(xp.var(xp.log(scale / other)))) <= ALIKE


def make_eigenbasis(features: Array, scale: Array) -> Eigenbasis:
    """The eigenbasis of ROWS_PER_FEATURE D of the rows, or of all where they are fewer."""
    xp = array_namespace(features)
    scaled = _covariance(features) / scale[:, None] / scale
    # Vectors of half the precision, on a GPU in half the time; Rayleigh's quotients give the small eigenvalues back.
    largest = xp.max(xp.abs(scaled))
    vectors = xp.linalg.eigh(xp.astype(scaled / xp.where(largest > 0, largest, 1.0), xp.float32))[1]
    in_float64 = xp.astype(vectors, xp.float64)
    eigenvalues = xp.sum(in_float64 * product(scaled, in_float64), axis=0)
    return Eigenbasis(scale=scale, vectors=vectors, eigenvalues=xp.where(eigenvalues > 0, eigenvalues, 0.0))


def _covariance(features: Array) -> Array:
    """Covariance, float64, of rows at equal distances; products of a tile are float32 if that holds the features."""
    xp = array_namespace(features)
    n_rows, n_features = (int(size) for size in features.shape)
    count = min(n_rows, ROWS_PER_FEATURE * n_features)
    chosen = None if count == n_rows else np.linspace(0, n_rows - 1, count).round().astype(np.int64)
    tiles = (tile for _, tile in tiles_of(features, chosen, in_float32=fits_float32(features)))
    first = next(tiles)
    # About the mean of the first tile, so that nothing of the size of the mean is squared.
    shift = xp.mean(first, axis=0)
    total = xp.zeros((n_features,), dtype=xp.float64, device=features.device)
    m2 = xp.zeros((n_features, n_features), dtype=xp.float64, device=features.device)
    for tile in chain((first,), tiles):
        centered = tile - shift
        total = total + xp.sum(centered, axis=0, dtype=xp.float64)
        if float(xp.max(xp.abs(centered))) > LARGEST_IN_FLOAT32:
            centered = xp.astype(centered, xp.float64)
        m2 = m2 + xp.astype(gram(centered.T), xp.float64)
    off = total / count
    return m2 / count - off[:, None] * off


@dataclass(frozen=True, slots=True, eq=False)
class Coupled:
    """A matrix along the eigenvectors that some blocks share."""

    matrix: Array
    """(D, D) float32."""
    mean: Array
    """(1, D) the mean of the rows about which it is, that of the blocks that share it."""
    which: NDArray[np.bool_]
    """(B,) the blocks."""


@dataclass(frozen=True, slots=True, eq=False)
class Preconditioner:
    """An approximate inverse Hessian of each block of a batch."""

    basis: Eigenbasis
    mean: Array
    """(B, 1, D) weighted mean of the rows in the space solved, float64. The Hessian hardly couples V with the bias
    about the mean, c + V mean."""
    coupled: Coupled | None = None
    """What some blocks have in the place of the diagonal matrix of eigenvalues (`l2.curvature`)."""

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
        along = xp.astype(xp.astype(about, xp.float32) @ vectors, xp.float64)
        apart = along / of_weight
        if self.coupled is not None:
            at = np.flatnonzero(self.coupled.which)
            apart[at] = _solved(self.coupled.matrix, curvature[at], batch.l2[at] + SMALLEST_CURVATURE, along[at])
        along = apart
        weight = xp.astype(xp.astype(along, xp.float32) @ vectors.T, xp.float64)
        moved = (bias / of_bias - xp.sum(weight * self.mean, axis=2)) * fitted
        return xp.concat([weight, moved[:, :, None]], axis=2)

    def at(self, batch: Batch, p: Array) -> Callable[[Array], Array]:
        """A function that multiplies residuals (B, q, D + 1) with the inverses at probabilities p (n, B, q)."""
        curvature = array_namespace(p).sum(batch.sample_weight[:, :, None] * p * (1.0 - p), axis=0)
        return lambda residual: self.inverse(batch, curvature, residual)

    def of(self, place: int) -> "Preconditioner":
        """The inverse of one of the blocks."""
        return self.take(np.asarray([place]))

    def take(self, kept: NDArray[np.int64]) -> "Preconditioner":
        """The inverses of some of the blocks."""
        mean = array_namespace(self.mean).take(self.mean, asarray_like(kept, self.mean), axis=0)
        coupled = None if self.coupled is None else replace(self.coupled, which=self.coupled.which[kept])
        return replace(self, mean=mean, coupled=coupled)


def _solved(matrix: Array, curvature: Array, l2: Array, right: Array) -> Array:
    """x (B, q, D) with (curvature matrix + l2) x = right, nearly, by conjugate gradients from the inverse diagonal."""
    xp = array_namespace(right)
    diagonal = curvature[:, :, None] * xp.astype(xp.linalg.diagonal(matrix), xp.float64) + l2[:, None, None]

    def times(x: Array) -> Array:
        flat = xp.astype(xp.reshape(x, (-1, x.shape[2])), matrix.dtype)
        return curvature[:, :, None] * xp.reshape(product(flat, matrix), x.shape) + l2[:, None, None] * x

    x, residual = xp.zeros_like(right), right
    search = towards = residual / diagonal
    along = first = xp.sum(residual * towards, axis=2)
    for _ in range(MOST_INNER):
        if bool(xp.all(along <= INNER_ERROR**2 * first)):
            break
        of_search = times(search)
        curved = xp.sum(search * of_search, axis=2)
        length = xp.where(curved > 0, along / xp.where(curved > 0, curved, 1.0), 0.0)[:, :, None]
        x, residual = x + length * search, residual - length * of_search
        towards = residual / diagonal
        before, along = along, xp.sum(residual * towards, axis=2)
        search = towards + xp.where(before > 0, along / xp.where(before > 0, before, 1.0), 0.0)[:, :, None] * search
    return x


def joined(parts: Sequence[Preconditioner]) -> Preconditioner:
    """One preconditioner of the blocks of several with the same eigenbasis."""
    means = [part.mean for part in parts]
    return replace(parts[0], mean=array_namespace(means[0]).concat(means, axis=0))


def make_preconditioner(batch: Batch, basis: Eigenbasis) -> Preconditioner:
    """The preconditioner of the blocks of a batch, which takes half a pass over its rows."""
    xp = array_namespace(batch.sample_weight)
    sample_weight = xp.broadcast_to(batch.sample_weight[:, :, None], (batch.sample_weight.shape[0], batch.n_blocks, 1))
    return Preconditioner(basis, batch.adjoint(sample_weight)[:, :, :-1])
