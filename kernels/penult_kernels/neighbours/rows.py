"""Rows in which neighbours are looked for: in memory, or read a block at a time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like


class RowSource(Protocol):
    """N rows of D numbers that can be read in any order, best in ascending blocks."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        ...

    @property
    def is_in_memory(self) -> bool:
        """Whether any rows may be gathered at the cost of their bytes."""
        ...

    def block(self, rows: slice) -> Array:
        """(n, D) rows start .. stop - 1, in any real floating type."""
        ...

    def gather(self, index: Array, out: Array | None = None) -> Array:
        """(n, D) rows by their numbers; only of what is in memory. NumPy fills `out`."""
        ...


@dataclass(frozen=True, slots=True)
class ArrayRows:
    """Rows of an array, all or those at `positions`, in that order."""

    features: Array
    """(M, D)"""
    positions: NDArray[np.int64] | None = None
    """(N,) on the host."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        n, d = self.features.shape
        return (n if self.positions is None else self.positions.size), d

    @property
    def is_in_memory(self) -> bool:
        """Always."""
        return True

    def block(self, rows: slice) -> Array:
        """(n, D) rows start .. stop - 1."""
        if self.positions is None:
            return self.features[rows, :]
        return self._take(asarray_like(self.positions[rows], self.features), None)

    def gather(self, index: Array, out: Array | None = None) -> Array:
        """(n, D) rows by their numbers."""
        if self.positions is not None:
            xp = array_namespace(self.features)
            index = xp.take(asarray_like(self.positions, self.features), index, axis=0)
        return self._take(index, out)

    def _take(self, index: Array, out: Array | None) -> Array:
        if is_numpy_array(self.features):
            return self.features.take(index, axis=0, out=out, mode="clip")
        return array_namespace(self.features).take(self.features, index, axis=0)
