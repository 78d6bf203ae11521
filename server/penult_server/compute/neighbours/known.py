"""Stored neighbours that were read last, in the memory of the worker: an equal question again reads no file."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_server.notes import Note
from penult_server.stores.neighbours import StoredGraph

CAPACITY = 2**28
"""Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Neighbours, and the ids of the rows on both sides."""

    stored: StoredGraph
    query_position: NDArray[np.int64]
    """(n,) rows asked about, in their set."""
    query_id: NDArray[np.uint64]
    """(n,)"""
    among_id: NDArray[np.uint64]
    """(N,) of all rows of the set among which they were looked for."""
    notes: tuple[Note, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        ids = self.query_position.nbytes + self.query_id.nbytes + self.among_id.nbytes
        return self.stored.nbytes + ids


class KnownGraphs:
    """The last ones, by their directories; forgotten when their manifest is not the one that was read."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[object, Known]] = OrderedDict()

    def get(self, directory: Path) -> Known | None:
        """The neighbours of a directory; None where they are not known."""
        with self._lock:
            seal, known = self._known.get(directory, (None, None))
            if known is None:
                return None
            if seal != _seal_of(directory):
                del self._known[directory]
                return None
            self._known.move_to_end(directory)
            return known

    def add(self, directory: Path, known: Known) -> None:
        """Keep some, in the place of those that were not asked for the longest."""
        seal = _seal_of(directory)
        if seal is None or known.nbytes > self._capacity:
            return
        with self._lock:
            self._known[directory] = seal, known
            while sum(one.nbytes for _, one in self._known.values()) > self._capacity:
                self._known.popitem(last=False)


def _seal_of(directory: Path) -> object:
    """What changes when the manifest does; None without one."""
    try:
        found = (directory / "manifest.json").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
