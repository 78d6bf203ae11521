"""Means weighted by how much each entry matters to its network (Matena and Raffel 2022, arXiv 2111.09832)."""

import math

from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.weight_space.piece import Asked, Piece, Span, in_float64, weighted_sum

LEAST_IMPORTANCE = 1e-12
"""Fraction of the mean weight of an entry under which a weight decides nothing, and the plain mean is taken."""


class Fisher:
    """theta = sum_i s_i f_i theta_i / sum_i s_i f_i in every entry, f_i = F_i / |F_i|_2 over all that is merged.

    F_i is `Piece.importance`, the diagonal of network i's Fisher information. Entries that matter to no network, by
    less than 1e-12 of the mean, take the plain mean; their fraction is told. One network alone stays as it is.
    """

    n_passes = 1
    span: Span = "all"

    def __init__(self, asked: Asked) -> None:
        self._shares = asked.shares or (1.0,) * len(asked.ids)
        self._plain_shares = asked.shares
        self._n_entries, self._n_plain = 0, 0
        self.begin()

    def begin(self) -> None:
        self._sums = [0.0] * len(self._shares)
        self._squares = [0.0] * len(self._shares)
        self._factors = list(self._shares)
        self._floor = 0.0

    def gather(self, piece: Piece, number: int) -> None:
        for index, values in enumerate(_importance(piece, len(self._shares))):
            xp = array_namespace(values)
            self._sums[index] += float(xp.sum(values))
            self._squares[index] += float(xp.sum(values * values))
        self._n_entries += int(piece.parents[0].shape[0])

    def end(self, number: int) -> None:
        norms = [math.sqrt(one) for one in self._squares]
        self._factors = [share / norm if norm else 0.0 for share, norm in zip(self._shares, norms, strict=True)]
        total = sum(factor * one for factor, one in zip(self._factors, self._sums, strict=True))
        self._floor = LEAST_IMPORTANCE * total / max(1, self._n_entries)

    def merge(self, piece: Piece) -> Array:
        plain = weighted_sum(piece, self._plain_shares)
        if len(piece.parents) == 1:
            return plain
        xp = array_namespace(plain)
        above, below = xp.zeros_like(plain), xp.zeros_like(plain)
        for factor, values, entries in zip(
            self._factors, _importance(piece, len(self._shares)), piece.parents, strict=True
        ):
            weight = values * factor
            above += weight * in_float64(entries)
            below += weight
        decided = below > self._floor
        self._n_plain += int(xp.sum(xp.astype(~decided, xp.int64)))
        return xp.where(decided, above / xp.where(decided, below, xp.ones_like(below)), plain)

    def factors(self) -> dict[str, float]:
        return {"plain_mean_fraction": self._n_plain / self._n_entries} if self._n_entries else {}


def _importance(piece: Piece, n_parents: int) -> list[Array]:
    """K arrays (n,) in float64. Raises ValueError where they were not given."""
    if len(piece.importance) != n_parents:
        raise ValueError(f"a piece of {piece.name!r} has importance of {len(piece.importance)} networks of {n_parents}")
    return [in_float64(one) for one in piece.importance]
