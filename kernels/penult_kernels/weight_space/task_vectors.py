"""What networks have learned since their start, compared: norms, cosines, and the variance that their mean loses."""

import math

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.weight_space.methods.variance_corrected import Spread
from penult_kernels.weight_space.piece import Piece, in_float64, weighted_sum

Floats = NDArray[np.float64]


class TaskVectors:
    """Products of the task vectors tau_i = theta_i - theta_0 of K networks, over tensors that pass by in pieces.

    Two of them add up: what they say is then of all their entries together.
    """

    def __init__(self, n_networks: int) -> None:
        self.n_entries = 0
        self._dots = np.zeros((n_networks, n_networks))
        self._base = 0.0
        self._own, self._mean = 0.0, 0.0
        """Entries times variance, of the networks on average and of their mean, within each tensor."""
        self._spreads: list[Spread] = []

    def add(self, piece: Piece) -> None:
        """The next piece, with a base; a tensor is complete when its last entry has passed."""
        deltas = [piece.delta(index) for index in range(len(piece.parents))]
        xp = array_namespace(deltas[0])
        stacked = xp.stack(deltas)
        self._dots += to_host(xp.matmul(stacked, stacked.T))
        base = in_float64(piece.base)
        self._base += float(xp.sum(base * base))
        if piece.start == 0:
            self._spreads = [Spread() for _ in range(len(deltas) + 1)]
        self._spreads[0].add(weighted_sum(piece, ()))
        for spread, values in zip(self._spreads[1:], piece.parents, strict=True):
            spread.add(in_float64(values))
        n = int(base.shape[0])
        self.n_entries += n
        if piece.start + n == piece.size:
            merged, *own = (spread.variance for spread in self._spreads)
            self._mean += piece.size * merged
            self._own += piece.size * sum(own) / len(own)

    def __add__(self, other: "TaskVectors") -> "TaskVectors":
        found = TaskVectors(len(self._dots))
        found.n_entries = self.n_entries + other.n_entries
        found._dots = self._dots + other._dots
        found._base = self._base + other._base
        found._own, found._mean = self._own + other._own, self._mean + other._mean
        return found

    def norms(self) -> Floats:
        """(K,) |tau_i|."""
        return np.sqrt(np.diag(self._dots))

    def base_norm(self) -> float:
        """|theta_0|."""
        return math.sqrt(self._base)

    def cosines(self) -> Floats:
        """(K, K) of the task vectors; NaN for one of zeros."""
        norms = self.norms()
        norms = np.where(norms > 0, norms, np.nan)
        return np.clip(self._dots / np.outer(norms, norms), -1, 1)

    def variance_factor(self) -> float:
        """sqrt(sum n_t mean_i Var(theta_i,t) / sum n_t Var(mean_i theta_i,t)) over tensors t of n_t entries.

        How much smaller the mean is than its networks, about the mean of each tensor (arXiv 2404.04616); 1 where
        nothing is lost, NaN where the mean is constant.
        """
        return math.sqrt(self._own / self._mean) if self._mean > 0 else math.nan
