"""A point on the line from the start to a finetuned network (Wortsman et al. 2022, arXiv 2109.01903, WiSE-FT)."""

from penult_kernels.arrays import Array
from penult_kernels.weight_space.piece import Asked, OnePass, Piece, in_float64


class Wise(OnePass):
    """theta = (1 - t) theta_0 + t theta_1; both ends are reached bit for bit."""

    def __init__(self, asked: Asked) -> None:
        self._t = asked.numbers["t"]

    def merge(self, piece: Piece) -> Array:
        if piece.base is None:
            raise ValueError(f"a piece of {piece.name!r} has no base, from which the line begins")
        return in_float64(piece.base) * (1 - self._t) + in_float64(piece.parents[0]) * self._t
