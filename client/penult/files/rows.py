"""Arrays that are not in memory: their type and shape, and their rows in blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]

BLOCK_BYTES = 4 * 2**20
"""Bytes of rows that are in memory at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """An array whose rows are read when they are wanted."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[AnyArray]]
    """All rows from the first to the last, in blocks of about `BLOCK_BYTES`; every call starts anew."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def read(self) -> AnyArray:
        """The whole array."""
        found = list(self.blocks())
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.empty(self.shape, self.dtype)

    def as_type(self, dtype: Any) -> "Rows":
        """The same rows converted block by block."""
        wanted = np.dtype(dtype)
        if wanted == self.dtype:
            return self
        return Rows(wanted, self.shape, lambda: (_converted(block, wanted) for block in self.blocks()))

    def where(self, keep: NDArray[np.bool_]) -> "Rows":
        """The rows for which `keep` (N,) is true."""

        def kept() -> Iterator[AnyArray]:
            at = 0
            for block in self.blocks():
                chosen = block[keep[at : at + len(block)]]
                at += len(block)
                if len(chosen):
                    yield chosen

        return Rows(self.dtype, (int(keep.sum()), *self.shape[1:]), kept)


def _converted(block: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    with np.errstate(over="ignore"):
        return block.astype(dtype)


def rows_at_once(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Rows of a block of an array."""
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    return max(1, BLOCK_BYTES // max(1, row_bytes))


def in_memory(array: AnyArray) -> Rows:
    """An array, or a memory map, as rows."""
    if not array.shape:
        return Rows(array.dtype, (), lambda: iter((array,)))
    step = rows_at_once(array.shape, array.dtype)
    return Rows(
        array.dtype,
        array.shape,
        lambda: (np.asarray(array[at : at + step]) for at in range(0, len(array), step)),
    )
