"""The start moved by the sum of task vectors (Ilharco et al. 2023, arXiv 2212.04089)."""

from penult_kernels.arrays import Array
from penult_kernels.weight_space.piece import Asked, OnePass, Piece, delta_sum


class TaskArithmetic(OnePass):
    """theta = theta_0 + s sum_i (theta_i - theta_0); s < 0 unlearns."""

    def __init__(self, asked: Asked) -> None:
        self._scale = asked.numbers["scale"]

    def merge(self, piece: Piece) -> Array:
        return piece.moved(delta_sum(piece) * self._scale)
