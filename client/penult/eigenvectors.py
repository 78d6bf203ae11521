"""Eigenvectors of group covariances."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult.records import Group, short
from penult.types import By


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Eigenvectors:
    """The top K eigenvectors of the covariance of each of G groups or classes, in D features."""

    feature_set: str
    by: By
    groups: tuple[Group, ...]
    eigenvalues: NDArray[np.float64]
    """(G, K) descending."""
    vectors: NDArray[np.float64]
    """(G, K, D), rows of unit length: vectors[g, k] belongs to eigenvalues[g, k]."""
    correction: int
    center: bool

    def __repr__(self) -> str:
        return f"Eigenvectors({short(self.feature_set)}, by={self.by!r}, (G, K, D) = {self.vectors.shape})"
