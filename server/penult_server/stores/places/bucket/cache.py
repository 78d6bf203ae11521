"""Files of a bucket kept on this machine, by their digests, up to a number of bytes; compared at every reading."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from penult_server.stores.disk.reserve import free_bytes
from penult_server.stores.places.local import read_hashed
from penult_server.stores.places.store import AlteredError

LEFT_FREE_BYTES = 2**30
"""Bytes of the disk that the cache leaves to others."""
IN_USE_SECONDS = 600.0
"""How long a folder that was fetched stays at least: whoever asked for it reads it by its path."""
_HIDDEN = ".new-"


class Cache:
    """A directory of files named by their sha256, and of folders with the files of a thing. Several processes may share
    it. What cannot be kept is not: nothing here raises for a full disk."""

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self._directory = directory
        self._most = most_bytes
        self._added = most_bytes
        """Bytes added by this process since it last looked; the first time it looks at once."""
        self._lock = threading.Lock()

    def has(self, sha256: str) -> bool:
        """Whether a file is here; whether it is whole is known once it is read."""
        return (self._directory / sha256).exists()

    def fill(self, sha256: str, out: NDArray[Any]) -> bool:
        """Read a file into memory; false where it is not here, or not what it was."""
        path = self._directory / sha256
        try:
            is_whole = read_hashed(path, out) == sha256
            os.utime(path)
        except AlteredError:
            is_whole = False
        except OSError:
            return False
        if not is_whole:
            path.unlink(missing_ok=True)
            return False
        return True

    def read(self, sha256: str) -> bytes | None:
        """A file; None where it is not here, or not what it was."""
        path = self._directory / sha256
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            path.unlink(missing_ok=True)
            return None
        return content

    def keep(self, sha256: str, content: memoryview) -> None:
        """Keep a file that was compared with its digest."""
        if content.nbytes > self._most:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if free_bytes(self._directory) < content.nbytes + LEFT_FREE_BYTES:
                self._make_space(self._most // 2)
                if free_bytes(self._directory) < content.nbytes + LEFT_FREE_BYTES:
                    return
            descriptor, name = tempfile.mkstemp(prefix=_HIDDEN, dir=self._directory)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                os.rename(name, self._directory / sha256)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError:
            return
        self._count(content.nbytes)

    def folder(self, name: str) -> Path:
        """A folder of a thing's own, which counts as used now."""
        path = self._directory / name
        path.mkdir(parents=True, exist_ok=True)
        os.utime(path)
        return path

    def added(self, n_bytes: int) -> None:
        """Bytes that were written to a folder."""
        self._count(n_bytes)

    def _count(self, n_bytes: int) -> None:
        with self._lock:
            self._added += n_bytes
            if self._added <= self._most // 16:
                return
            self._added = 0
        self._make_space(self._most)

    def _make_space(self, most: int) -> None:
        """Remove what was used longest ago, until so many bytes are left."""
        found: list[tuple[float, int, os.DirEntry[str]]] = []
        with contextlib.suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found.append((entry.stat().st_mtime, _size(entry), entry))
        total = sum(size for _, size, _ in found)
        for used, size, entry in sorted(found, key=lambda one: one[0]):
            if total <= most:
                return
            if entry.is_dir():
                if time.time() - used < IN_USE_SECONDS:
                    continue
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)
            total -= size


def _size(entry: os.DirEntry[str]) -> int:
    if not entry.is_dir():
        return entry.stat().st_size
    return sum(path.stat().st_size for path in Path(entry.path).rglob("*") if path.is_file())
