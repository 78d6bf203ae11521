"""The exact k-th largest magnitude of entries that pass by in pieces, twice, without holding them.

Magnitudes are compared as float32. Of two such numbers that are not negative the larger has the larger bits, so a
first pass counts the upper 16 bits in 65,536 bins, and a second one the lower 16 bits of those in the bin that holds
the k-th.
"""

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, to_host

N_BINS = 2**16
_HALF = np.uint32(16)
_LOWER = np.uint32(N_BINS - 1)


def magnitudes(values: Array) -> Array:
    """|values| in float32, of their library."""
    xp = array_namespace(values)
    return xp.astype(xp.abs(values), xp.float32)


class RankedMagnitude:
    """Finds the magnitude of one rank in two passes."""

    def __init__(self) -> None:
        self.n_entries = 0
        self._upper = np.zeros(N_BINS, dtype=np.int64)
        self._lower = np.zeros(N_BINS, dtype=np.int64)
        self._bin = 0
        self._rank_in_bin = 0

    def count_upper(self, found: Array) -> None:
        """First pass: a piece of the magnitudes."""
        bits = _bits(found)
        self._upper += np.bincount(bits >> _HALF, minlength=N_BINS)
        self.n_entries += bits.size

    def choose(self, n_kept: int) -> None:
        """Between the passes: the rank is that of the smallest of the `n_kept` largest, 1 ... n_entries.

        Raises ValueError for another rank.
        """
        if not 1 <= n_kept <= self.n_entries:
            raise ValueError(f"n_kept must lie in 1 ... {self.n_entries}, the entries that passed; got {n_kept}")
        largest_first = np.cumsum(self._upper[::-1])
        place = int(np.searchsorted(largest_first, n_kept))
        self._bin = N_BINS - 1 - place
        self._rank_in_bin = n_kept - (int(largest_first[place - 1]) if place else 0)

    def count_lower(self, found: Array) -> None:
        """Second pass: the same piece of the magnitudes."""
        bits = _bits(found)
        inside = bits[(bits >> _HALF) == self._bin]
        self._lower += np.bincount(inside & _LOWER, minlength=N_BINS)

    def value(self) -> float:
        """The magnitude of that rank: at least `n_kept` entries are as large, more where entries are equal to it."""
        place = int(np.searchsorted(np.cumsum(self._lower[::-1]), self._rank_in_bin))
        bits = np.uint32((self._bin << 16) | (N_BINS - 1 - place))
        return float(bits.view(np.float32))


def _bits(found: Array) -> NDArray[np.uint32]:
    return np.ascontiguousarray(to_host(found), dtype=np.float32).view(np.uint32)
