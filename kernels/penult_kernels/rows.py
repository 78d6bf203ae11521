"""Rows that are read a block at a time, of an array or of what does not fit in memory: none is gathered as a whole."""

from dataclasses import dataclass
from typing import Protocol, TypeGuard

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

    @property
    def like(self) -> Array:
        """(0, D) of their type, library and device."""
        ...

    def block(self, rows: slice) -> Array:
        """(n, D) rows start .. stop - 1, in any real floating type."""
        ...

    def gather(self, index: Array, out: Array | None = None) -> Array:
        """(n, D) rows by their numbers; only of what is in memory. NumPy fills `out`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ArrayRows:
    """Rows of an array, all or those at `positions`, in that order."""

    features: Array
    """(M, D)"""
    positions: NDArray[np.int64] | None = None
    """(N,) on the host."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        n, d = (int(length) for length in self.features.shape)
        return (n if self.positions is None else self.positions.size), d

    @property
    def is_in_memory(self) -> bool:
        """Always."""
        return True

    @property
    def like(self) -> Array:
        """(0, D)"""
        return self.features[:0, :]

    def some(self, index: NDArray[np.int64]) -> "ArrayRows":
        """Some of these rows, by their numbers on the host."""
        if index.size == self.shape[0]:
            return self
        return ArrayRows(self.features, index if self.positions is None else self.positions[index])

    def block(self, rows: slice) -> Array:
        """(n, D) rows start .. stop - 1."""
        if self.positions is None:
            return self.features[rows, :]
        return self._take(asarray_like(self.positions[rows], self.features), None)

    def columns(self, part: slice) -> Array:
        """(N, n) features start .. stop - 1 of all rows."""
        if self.positions is None:
            return self.features[:, part]
        if is_numpy_array(self.features):
            return self.features[self.positions, part]  # `take` would copy the columns of all rows first
        xp = array_namespace(self.features)
        return xp.take(self.features[:, part], asarray_like(self.positions, self.features), axis=0)

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


def is_source(rows: Array | RowSource) -> TypeGuard[RowSource]:
    """Whether rows are read by a source, and are no array."""
    return hasattr(rows, "is_in_memory")
