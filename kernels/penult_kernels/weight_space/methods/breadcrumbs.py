"""Task vectors without their smallest and largest entries (Davari and Belilovsky 2024, arXiv 2312.06795)."""

from penult_kernels.arrays import Array
from penult_kernels.weight_space.piece import Asked, Piece, Span
from penult_kernels.weight_space.trimming import N_PASSES, Trim


class Breadcrumbs:
    """theta = theta_0 + scale sum_i m_i tau_i, in each tensor without the share `smallest` and the share `largest`.

    Both counts are rounded down, and at least one entry is kept: of a small tensor no largest entry is left out.
    """

    n_passes = N_PASSES
    span: Span = "tensor"

    def __init__(self, asked: Asked) -> None:
        self._n_parents = len(asked.ids)
        self._smallest, self._largest = asked.numbers["smallest"], asked.numbers["largest"]
        self._scale = asked.numbers["scale"]
        self.begin()

    def begin(self) -> None:
        self._trim = Trim(
            self._n_parents,
            lambda n_entries: n_entries - int(self._smallest * n_entries),
            lambda n_entries: int(self._largest * n_entries) + 1,
        )

    def gather(self, piece: Piece, number: int) -> None:
        self._trim.gather(piece, number)

    def end(self, number: int) -> None:
        self._trim.end(number)

    def merge(self, piece: Piece) -> Array:
        total = self._trim.kept(piece, 0)
        for index in range(1, self._n_parents):
            total += self._trim.kept(piece, index)
        return piece.moved(total * self._scale)

    def factors(self) -> dict[str, float]:
        return {}
