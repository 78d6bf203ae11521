"""A point on the great circle through two networks (Shoemake 1985)."""

import math

from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.weight_space.piece import Asked, Piece, Span, in_float64

NEARLY_PARALLEL = 1e-6
"""Where the sine of the angle is less, the line is taken instead: the circle through opposite points is not defined."""


class Slerp:
    """theta = (sin((1 - t) omega) theta_1 + sin(t omega) theta_2) / sin(omega), omega their angle.

    The angle is that of the whole flat vectors, or with `per_tensor` of each tensor. With a base, the vectors are the
    task vectors, and the result is added to the base.
    """

    n_passes = 1

    def __init__(self, asked: Asked) -> None:
        self._t = asked.numbers["t"]
        self.span: Span = "tensor" if asked.numbers["per_tensor"] else "all"
        self._angles: list[float] = []
        self.begin()

    def begin(self) -> None:
        self._products = [0.0, 0.0, 0.0]
        self._weights = (1 - self._t, self._t)

    def gather(self, piece: Piece, number: int) -> None:
        first, second = self._ends(piece)
        xp = array_namespace(first)
        for place, (a, b) in enumerate(((first, first), (first, second), (second, second))):
            self._products[place] += float(xp.sum(a * b))

    def end(self, number: int) -> None:
        first, both, second = self._products
        scale = math.sqrt(first * second)
        angle = math.acos(min(1.0, max(-1.0, both / scale))) if scale > 0 else 0.0
        self._angles.append(angle)
        sine = math.sin(angle)
        if sine > NEARLY_PARALLEL:
            self._weights = (math.sin((1 - self._t) * angle) / sine, math.sin(self._t * angle) / sine)

    def merge(self, piece: Piece) -> Array:
        first, second = self._ends(piece)
        found = first * self._weights[0] + second * self._weights[1]
        return found if piece.base is None else piece.moved(found)

    def factors(self) -> dict[str, float]:
        return {"angle_least": min(self._angles), "angle_most": max(self._angles)} if self._angles else {}

    def _ends(self, piece: Piece) -> tuple[Array, Array]:
        if piece.base is None:
            return in_float64(piece.parents[0]), in_float64(piece.parents[1])
        return piece.delta(0), piece.delta(1)
