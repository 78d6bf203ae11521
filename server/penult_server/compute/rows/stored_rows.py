"""Rows of a stored set that is too large for memory, read a chunk at a time."""

import threading
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

from penult_server.compute.backend import Backend
from penult_server.stores.reading import StoredFeatures


class StoredRows:
    """The rows of a set, all or those at ascending positions, as `penult_kernels.rows.RowSource` has them.

    The last chunk that was read is kept, so that a pass in order reads each once. May be used by several threads.
    """

    is_in_memory = False

    def __init__(self, stored: StoredFeatures, positions: NDArray[np.int64] | None, backend: Backend) -> None:
        self._stored = stored
        self._positions = positions
        self._backend = backend
        self._lock = threading.Lock()
        self._index = -1
        self._chunk: NDArray[Any] = stored.new_block("features")
        self._rows_of_chunk = len(self._chunk)

    @property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        manifest = self._stored.manifest
        return (manifest.n_examples if self._positions is None else self._positions.size), manifest.n_features

    @property
    def like(self) -> Any:
        """(0, D) on the device."""
        return self._backend.to_device(self._chunk[:0])

    def block(self, rows: slice) -> Any:
        """(n, D) rows start .. stop - 1, on the device."""
        every: NDArray[np.int64] = np.arange(rows.start, rows.stop, dtype=np.int64)
        wanted: NDArray[np.int64] = every if self._positions is None else self._positions[rows]
        found = np.empty((wanted.size, self.shape[1]), dtype=self._chunk.dtype)
        chunk_of = wanted // self._rows_of_chunk
        with self._lock:
            for index in np.unique(chunk_of):
                places = np.flatnonzero(chunk_of == index)
                found[places] = self._read(int(index))[wanted[places] - index * self._rows_of_chunk]
        return self._backend.to_device(found)

    def gather(self, index: Any, out: Any = None) -> Never:
        """Rows that are not in memory are not gathered."""
        raise AssertionError("rows that are read a chunk at a time are asked for in blocks")

    def _read(self, index: int) -> NDArray[Any]:
        if index != self._index:
            self._index = -1  # a read that fails leaves none
            self._stored.block("features", index, self._chunk)
            self._index = index
        return self._chunk
