"""Trim, elect the sign, average what agrees (Yadav et al. 2023, arXiv 2306.01708), over one flat vector."""

from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.weight_space.piece import Asked, Piece, Span
from penult_kernels.weight_space.trimming import N_PASSES, Trim

ELECT = N_PASSES
"""The pass in which signs are elected, for those that no sum elects."""


class Ties:
    """theta = theta_0 + scale tau, tau the mean of the entries whose sign is the elected one.

    Of every task vector the `density` of largest magnitude is kept, counted over the whole vector. The elected sign is
    that of the sum of what is kept; where that is 0, the sign that most entries elect (as in the authors' notebook).
    """

    n_passes = N_PASSES + 1
    span: Span = "all"

    def __init__(self, asked: Asked) -> None:
        self._n_parents = len(asked.ids)
        self._density, self._scale = asked.numbers["density"], asked.numbers["scale"]
        self.begin()

    def begin(self) -> None:
        self._trim = Trim(self._n_parents, lambda n_entries: int(self._density * n_entries))
        self._votes = 0.0

    def gather(self, piece: Piece, number: int) -> None:
        if number < ELECT:
            self._trim.gather(piece, number)
        else:
            total = self._kept_sum(piece)
            xp = array_namespace(total)
            self._votes += float(xp.sum(xp.sign(total)))

    def end(self, number: int) -> None:
        if number < ELECT:
            self._trim.end(number)

    def merge(self, piece: Piece) -> Array:
        total = self._kept_sum(piece)
        xp = array_namespace(total)
        majority = float((self._votes > 0) - (self._votes < 0))
        sign = xp.where(total == 0, xp.full_like(total, majority), xp.sign(total))
        agreed, count = xp.zeros_like(total), xp.zeros_like(total)
        for index in range(self._n_parents):
            kept = self._trim.kept(piece, index)
            agrees = kept * sign > 0
            agreed += xp.where(agrees, kept, xp.zeros_like(kept))
            count += xp.astype(agrees, count.dtype)
        return piece.moved(agreed / xp.where(count == 0, xp.ones_like(count), count) * self._scale)

    def factors(self) -> dict[str, float]:
        return {}

    def _kept_sum(self, piece: Piece) -> Array:
        total = self._trim.kept(piece, 0)
        for index in range(1, self._n_parents):
            total += self._trim.kept(piece, index)
        return total
