"""Task vectors of which entries of some magnitudes are kept: passes that find the bounds, and what is kept."""

from collections.abc import Callable

from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.weight_space.magnitudes import RankedMagnitude, magnitudes
from penult_kernels.weight_space.piece import Piece

Rank = Callable[[int], int]
"""From the number of entries to how many of the largest a bound is the smallest of; 0 for no bound."""
N_PASSES = 2


class Trim:
    """Bounds of the magnitudes of every network's task vector, at least `low` and, where given, at most `high`."""

    def __init__(self, n_parents: int, low: Rank, high: Rank | None = None) -> None:
        self._low, self._high = low, high
        self._found = [(RankedMagnitude(), RankedMagnitude()) for _ in range(n_parents)]

    def gather(self, piece: Piece, number: int) -> None:
        """A piece in pass 0 or 1."""
        for index, bounds in enumerate(self._found):
            found = magnitudes(piece.delta(index))
            for bound in bounds if self._high else bounds[:1]:
                if number == 0:
                    bound.count_upper(found)
                else:
                    bound.count_lower(found)

    def end(self, number: int) -> None:
        """The end of pass 0 or 1."""
        if number:
            return
        for low, high in self._found:
            low.choose(max(1, self._low(low.n_entries)))
            if self._high:
                high.choose(max(1, self._high(high.n_entries)))

    def kept(self, piece: Piece, index: int) -> Array:
        """(n,) float64: the task vector of a network, 0 where its magnitude is out of bounds."""
        delta = piece.delta(index)
        xp = array_namespace(delta)
        found = magnitudes(delta)
        low, high = self._found[index]
        inside = found >= low.value()
        if self._high:
            inside = xp.logical_and(inside, found <= high.value())
        return xp.where(inside, delta, xp.zeros_like(delta))
