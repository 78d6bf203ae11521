"""Model Stock: between the start and the mean, by the angle of task vectors (Jang et al. 2024, arXiv 2403.19522)."""

import math

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array, to_host
from penult_kernels.weight_space.piece import Asked, Piece, Span, in_float64, weighted_sum


class ModelStock:
    """theta = t mean_i theta_i + (1 - t) theta_0, t = K c / (1 + (K - 1) c), in each tensor.

    c is the mean cosine of the pairs of task vectors, clamped to [0, 1], so that t is, too; a pair with a task vector
    of zeros counts as 0.
    """

    n_passes = 1
    span: Span = "tensor"

    def __init__(self, asked: Asked) -> None:
        self._n_parents = len(asked.ids)
        self._ratios: list[float] = []
        self.begin()

    def begin(self) -> None:
        self._dots = np.zeros((self._n_parents, self._n_parents))
        self._t = 0.0

    def gather(self, piece: Piece, number: int) -> None:
        first = piece.delta(0)
        xp = array_namespace(first)
        deltas = xp.stack([first, *(piece.delta(index) for index in range(1, self._n_parents))])
        self._dots += to_host(xp.matmul(deltas, deltas.T))

    def end(self, number: int) -> None:
        cosine = min(1.0, max(0.0, mean_cosine(self._dots)))
        self._t = self._n_parents * cosine / (1 + (self._n_parents - 1) * cosine)
        self._ratios.append(self._t)

    def merge(self, piece: Piece) -> Array:
        mean = weighted_sum(piece, ())
        return mean * self._t + in_float64(piece.base) * (1 - self._t)

    def factors(self) -> dict[str, float]:
        if not self._ratios:
            return {}
        return {
            "t_least": min(self._ratios),
            "t_median": float(np.median(self._ratios)),
            "t_most": max(self._ratios),
        }


def mean_cosine(dots: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> float:
    """Mean cosine of the pairs of K >= 2 vectors from their products (K, K); 0 for a pair with a vector of zeros."""
    norms = np.sqrt(np.diag(dots))
    n_parents = len(norms)
    total = 0.0
    for i in range(n_parents):
        for j in range(i + 1, n_parents):
            scale = float(norms[i] * norms[j])
            total += float(dots[i, j]) / scale if scale > 0 else 0.0
    return total / math.comb(n_parents, 2)
