"""Eigenvectors of the covariance of features, in which the Hessians of L2 problems are almost diagonal.

One decomposition serves all problems over the features, whatever their penalties, rows and weights, and may be kept
from one solve to the next: it changes the time, never the answer.
"""

import math
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array, is_narrow
from penult_kernels.choose import eigenbasis_pays
from penult_kernels.row_scaling import tiles_of

ROWS_PER_FEATURE = 16
"""So many rows per feature are sampled: curvatures err by about the root of its inverse, and those of directions with
little penalty must not."""
LARGEST_IN_FLOAT32 = 1e15
"""Products of numbers up to this size may be added up in float32."""
ALIKE = 0.5
"""One basis serves two scales when the logarithm of their ratio has at most this standard deviation."""
MOST_BASES = 4
"""So many bases are kept, the latest."""


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
    """The eigenbases of one array of features, kept by whoever keeps that. Used by one thread at a time.

    A basis is made as soon as it would have saved, in all solves since the last one was made, what it costs.
    """

    found: list[Eigenbasis] = field(default_factory=list[Eigenbasis])
    missed: float = 0.0
    """Multiplications of products since the last basis was made that had to do without one."""

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""
        return sum(4 * int(one.scale.shape[0]) ** 2 + 16 * int(one.scale.shape[0]) for one in self.found)

    def get(self, features: Array, scale: Array, work: float) -> Eigenbasis | None:
        """A basis that suits rows divided by `scale`, or None where none would pay.

        `work` is what one product of all heads with their rows takes, in multiplications.
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
    eigenvalues = xp.sum(in_float64 * (scaled @ in_float64), axis=0)
    return Eigenbasis(scale=scale, vectors=vectors, eigenvalues=xp.where(eigenvalues > 0, eigenvalues, 0.0))


def _covariance(features: Array) -> Array:
    """Covariance of rows from all over them, float64; products of a tile are float32 where the features are."""
    xp = array_namespace(features)
    n_rows, n_features = (int(size) for size in features.shape)
    count = min(n_rows, ROWS_PER_FEATURE * n_features)
    chosen = None if count == n_rows else np.linspace(0, n_rows - 1, count).round().astype(np.int64)
    tiles = (tile for _, tile in tiles_of(features, chosen, narrow=is_narrow(features)))
    first = next(tiles)
    # About the mean of the first tile, so that nothing of the size of the mean is squared.
    shift = xp.mean(first, axis=0)
    total = xp.zeros((n_features,), dtype=xp.float64, device=features.device)
    product = xp.zeros((n_features, n_features), dtype=xp.float64, device=features.device)
    for tile in chain((first,), tiles):
        centered = tile - shift
        total = total + xp.sum(centered, axis=0, dtype=xp.float64)
        if float(xp.max(xp.abs(centered))) > LARGEST_IN_FLOAT32:
            centered = xp.astype(centered, xp.float64)
        product = product + xp.astype(centered.T @ centered, xp.float64)
    off = total / count
    return product / count - off[:, None] * off
