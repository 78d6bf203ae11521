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
from penult_kernels.products import gram, product
from penult_kernels.row_scaling import tiles_of

ROWS_PER_FEATURE = 16
"""That are sampled: curvatures err by about the root of its inverse, and what little penalty they have must not."""
WORK_OF_EIGENVECTORS = 10.0
"""Products of D x D that a decomposition costs, about."""
LARGEST_IN_FLOAT32 = 1e15
"""Whose products may be added up there."""
PASSES_SAVED = 100.0
"""Products with the rows that it saves every column, about."""
ALIKE = 0.5
"""Standard deviation of the logarithm of the ratio of two scales that one basis may serve."""
MOST_BASES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Eigenbasis:
    """Of the covariance of rows divided by `scale`."""

    scale: Array
    """(D,) float64."""
    vectors: Array
    """(D, D) in columns, float32."""
    eigenvalues: Array
    """(D,) float64, none negative."""


@dataclass(slots=True, eq=False)
class Eigenbases:
    """Those of one array of features, kept by whoever keeps that. Used by one thread at a time.

    A basis is made as soon as it would have saved, in all solves since the last one was made, what it costs.
    """

    found: list[Eigenbasis] = field(default_factory=list[Eigenbasis])
    missed: float = 0.0
    """Multiplications that a basis would have saved so far."""

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""
        return sum(4 * int(one.scale.shape[0]) ** 2 + 16 * int(one.scale.shape[0]) for one in self.found)

    def get(self, features: Array, scale: Array, work: float) -> Eigenbasis | None:
        """One that suits rows divided by `scale`, or None where none would pay.

        `work` is what one product of all heads with their rows takes, in multiplications.
        """
        for basis in self.found:
            if are_alike(basis.scale, scale):
                return basis
        n_rows, n_features = (int(size) for size in features.shape)
        self.missed += PASSES_SAVED * work
        products = WORK_OF_EIGENVECTORS * n_features + min(n_rows, ROWS_PER_FEATURE * n_features)
        if self.missed < products * n_features**2:
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
    """From ROWS_PER_FEATURE D of the rows, or from all."""
    xp = array_namespace(features)
    scaled = _covariance(features) / scale[:, None] / scale
    # Vectors of half the precision, on a GPU in half the time; Rayleigh's quotients give the small eigenvalues back.
    largest = xp.max(xp.abs(scaled))
    vectors = xp.linalg.eigh(xp.astype(scaled / xp.where(largest > 0, largest, 1.0), xp.float32))[1]
    wide = xp.astype(vectors, xp.float64)
    eigenvalues = xp.sum(wide * product(scaled, wide), axis=0)
    return Eigenbasis(scale=scale, vectors=vectors, eigenvalues=xp.where(eigenvalues > 0, eigenvalues, 0.0))


def _covariance(features: Array) -> Array:
    """Of rows from all over them, float64; products of a tile are float32 where the features are."""
    xp = array_namespace(features)
    n_rows, n_features = (int(size) for size in features.shape)
    count = min(n_rows, ROWS_PER_FEATURE * n_features)
    chosen = None if count == n_rows else np.linspace(0, n_rows - 1, count).round().astype(np.int64)
    tiles = (tile for _, tile in tiles_of(features, chosen, narrow=is_narrow(features)))
    first = next(tiles)
    # About the mean of the first tile, so that nothing of the size of the mean is squared.
    shift = xp.mean(first, axis=0)
    total = xp.zeros((n_features,), dtype=xp.float64, device=features.device)
    m2 = xp.zeros((n_features, n_features), dtype=xp.float64, device=features.device)
    for tile in chain((first,), tiles):
        centred = tile - shift
        total = total + xp.sum(centred, axis=0, dtype=xp.float64)
        if float(xp.max(xp.abs(centred))) > LARGEST_IN_FLOAT32:
            centred = xp.astype(centred, xp.float64)
        m2 = m2 + xp.astype(gram(centred.T), xp.float64)
    off = total / count
    return m2 / count - off[:, None] * off
