"""The mean of networks, or their sum by given shares (Wortsman et al. 2022, arXiv 2203.05482, "uniform soup")."""

from penult_kernels.arrays import Array
from penult_kernels.weight_space.piece import Asked, OnePass, Piece, weighted_sum


class Uniform(OnePass):
    """theta = sum_i s_i theta_i."""

    def __init__(self, asked: Asked) -> None:
        self._shares = asked.shares

    def merge(self, piece: Piece) -> Array:
        return weighted_sum(piece, self._shares)
