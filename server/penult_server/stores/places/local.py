"""A store in a directory of this machine: attempts are hidden directories beside the things that they become."""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_server.stores.disk.durable import STAGING_PREFIX, rename_directory, sync_path, sync_tree, write_synced
from penult_server.stores.places.fence import check_fence
from penult_server.stores.places.store import MANIFEST, AlteredError, Attempt, Content, Keeps, Written

PIECE_BYTES = 2**18
"""Bytes of a file that are read before they are hashed: they stay in a core's cache."""


class LocalStore:
    """Things of a kind lie in `<root>/<kind>/<digest>/`. A server removes what writers have left."""

    def __init__(self, root: Path) -> None:
        self._root = root

    copies = None

    def attempt(self, kind: str, name: str = "") -> Attempt:
        """Begin to write a thing; with the name of one that somebody has started, take part in it."""
        parent = self._root / kind
        if name:
            return LocalAttempt(parent / name)
        parent.mkdir(parents=True, exist_ok=True)
        return LocalAttempt(Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=parent)))

    def find(self, kind: str, digest: str) -> bool:
        """Whether a thing is there."""
        return (self._root / kind / digest / MANIFEST).is_file()

    def digests(self, kind: str) -> list[str]:
        """Digests of all that is there."""
        folder = self._root / kind
        return sorted(one.name for one in folder.iterdir() if self.find(kind, one.name)) if folder.is_dir() else []

    def remove(self, directory: Path) -> bool:
        """Nothing of a thing lies elsewhere."""
        return True

    def collect(self, older_than: float) -> list[str]:
        """What writers left lies in their folders, where the server finds it."""
        return []

    def keep(self, folder: str, name: str) -> None:
        """Who serves the root sees its disk."""

    def has(self, folder: str, name: str) -> bool:
        """Whether a directory is there."""
        return (self._root / folder / name).is_dir()

    def drop(self, folder: str, name: str) -> None:
        """Nothing lies elsewhere."""

    def share(self, folder: str, name: str, file: Path) -> None:
        """Who serves the root sees its disk."""

    def check(self) -> None:
        """A disk's promises are not tried."""


class LocalAttempt:
    """A directory whose name nobody looks for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def name(self) -> str:
        """What another process opens it by."""
        return self.directory.name

    def put(self, name: str, content: Content, *, flush: bool = False) -> Written:
        """Write a file."""
        path, data = self.directory / name, bytes_of(content)
        if flush:
            return Written(write_synced(path, data), data.nbytes)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return Written(hashlib.sha256(data).hexdigest(), data.nbytes)

    def fill(self, name: str, out: NDArray[Any]) -> None:
        """Read a file back. Raises FileNotFoundError, ValueError."""
        path = self.directory / name
        with path.open("rb", buffering=0) as file:
            if file.readinto(bytes_of(out)) != out.nbytes or file.read(1):
                raise AlteredError(f"{path.name} has not {out.nbytes} bytes")

    def drop(self, name: str) -> None:
        """Remove a file, and its folder where that is empty then."""
        path = self.directory / name
        path.unlink(missing_ok=True)
        if path.parent != self.directory and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def commit(self, digest: str, manifest: str, files: Mapping[str, Written], keeps: Keeps) -> bool:
        """Flush everything and give the directory its name. A thing of that name that is damaged is set aside."""
        (self.directory / MANIFEST).write_text(manifest, encoding="utf-8")
        sync_tree(self.directory)
        check_fence()
        target = self.directory.with_name(digest)
        if target.exists():
            if keeps(LocalFiles(target)):
                return False
            target.rename(target.with_name(f".damaged-{target.name}-{time.time_ns()}"))
            sync_path(target.parent)
        return rename_directory(self.directory, target)

    def discard(self) -> None:
        """Remove what is left."""
        shutil.rmtree(self.directory, ignore_errors=True)


class LocalFiles:
    """The files in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def manifest(self) -> str:
        """The text of its manifest. Raises FileNotFoundError."""
        return (self._directory / MANIFEST).read_text(encoding="utf-8")

    def read(self, name: str, sha256: str) -> bytes:
        """A file, compared with its digest. Raises FileNotFoundError, AlteredError."""
        content = (self._directory / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise AlteredError(name)
        return content

    def fill(self, name: str, out: NDArray[Any], sha256: str) -> None:
        """Read a file into memory, without a copy. Raises FileNotFoundError, AlteredError."""
        if read_hashed(self._directory / name, out) != sha256:
            raise AlteredError(name)

    def missing(self, names: Mapping[str, str]) -> list[str]:
        """Which of the names are not there."""
        return [name for name in names if not (self._directory / name).is_file()]

    def damaged(self, digests: Mapping[str, str]) -> list[str]:
        """Names of files that are missing or altered."""
        return [name for name, digest in digests.items() if not _is_whole(self._directory / name, digest)]

    def directory(self) -> Path:
        """Where they lie."""
        return self._directory


def bytes_of(content: Content) -> memoryview:
    """The bytes, without a copy. An array must be contiguous."""
    if isinstance(content, np.ndarray):
        return content.reshape(-1).view(np.uint8).data
    return memoryview(content)


def read_hashed(path: Path, out: NDArray[Any]) -> str:
    """Read a file into memory of its size; its sha256 (hex). Raises OSError; AlteredError for another size.

    Each piece is hashed while the processor has it at hand: 1.3 times as fast as one after the other.
    """
    total, view, at = hashlib.sha256(), bytes_of(out), 0
    with path.open("rb", buffering=0) as file:
        while n_bytes := file.readinto(view[at : at + PIECE_BYTES]):
            total.update(view[at : at + n_bytes])
            at += n_bytes
        if at != out.nbytes or file.read(1):
            raise AlteredError(f"{path.name} has not {out.nbytes} bytes")
    return total.hexdigest()


def _is_whole(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except FileNotFoundError:
        return False
