"""The mean, with the variance of each tensor that averaging took away (arXiv 2404.04616, FollowOthers)."""

import math

from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.weight_space.piece import Asked, Piece, Span, in_float64, weighted_sum

RELATIVE_EPS = 1e-12
"""Fraction of the networks' variance added to that of the mean: an absolute number would bias small tensors."""


class VarianceCorrected:
    """theta = (T - mean T) sqrt(v / Var T) + mean T in each tensor, T the mean network, v the mean of Var theta_i.

    A tensor that is constant in the mean stays as it is, and so does one network alone. Finetunings of one start are
    so alike that the factor is nearly 1: it is reported.
    """

    n_passes = 1
    span: Span = "tensor"

    def __init__(self, asked: Asked) -> None:
        self._n_parents, self._shares = len(asked.ids), asked.shares
        self._found: list[float] = []
        self.begin()

    def begin(self) -> None:
        self._spreads = [Spread() for _ in range(self._n_parents + 1)]
        self._factor, self._mean = 1.0, 0.0

    def gather(self, piece: Piece, number: int) -> None:
        for spread, values in zip(self._spreads[1:], piece.parents, strict=True):
            spread.add(in_float64(values))
        self._spreads[0].add(weighted_sum(piece, self._shares))

    def end(self, number: int) -> None:
        merged, *parents = (spread.variance for spread in self._spreads)
        wanted = sum(parents) / len(parents)
        self._mean = self._spreads[0].mean
        if self._n_parents > 1 and merged > RELATIVE_EPS * wanted and wanted > 0:
            self._factor = math.sqrt(wanted / (merged + RELATIVE_EPS * wanted))
        self._found.append(self._factor)

    def merge(self, piece: Piece) -> Array:
        merged = weighted_sum(piece, self._shares)
        return merged if self._factor == 1 else (merged - self._mean) * self._factor + self._mean

    def factors(self) -> dict[str, float]:
        if not self._found:
            return {}
        return {"factor_least": min(self._found), "factor_most": max(self._found)}


class Spread:
    """Mean and variance (divisor n) of entries that pass by in pieces, merged as moments are (Chan et al. 1979)."""

    def __init__(self) -> None:
        self._n, self.mean, self._m2 = 0, 0.0, 0.0

    def add(self, values: Array) -> None:
        """A piece (n,) in float64."""
        xp = array_namespace(values)
        n = int(values.shape[0])
        mean = float(xp.mean(values))
        m2 = float(xp.sum((values - mean) ** 2))
        gap, total = mean - self.mean, self._n + n
        self._m2 += m2 + gap * gap * self._n * n / total
        self.mean += gap * n / total
        self._n = total

    @property
    def variance(self) -> float:
        """0 before the first entry."""
        return self._m2 / self._n if self._n else 0.0
