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
from penult_server.stores.places.store import Attempt, Content, Keeps, Written

MANIFEST = "manifest.json"


class LocalStore:
    """Things of a kind lie in `<root>/<kind>/<digest>/`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def attempt(self, kind: str, name: str = "") -> Attempt:
        """Begin to write a thing; with the name of an attempt that has begun, take part in that."""
        parent = self._root / kind
        if name:
            return LocalAttempt(parent / name)
        parent.mkdir(parents=True, exist_ok=True)
        return LocalAttempt(Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=parent)))


class LocalAttempt:
    """A directory whose name nobody looks for; a server removes at its start what writers that died have left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def name(self) -> str:
        """What another process opens it by."""
        return self._directory.name

    def put(self, name: str, content: Content, *, flush: bool = False) -> Written:
        """Write a file."""
        path, data = self._directory / name, _bytes_of(content)
        if flush:
            return Written(write_synced(path, data), data.nbytes)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return Written(hashlib.sha256(data).hexdigest(), data.nbytes)

    def fill(self, name: str, out: NDArray[Any]) -> None:
        """Read a file back. Raises FileNotFoundError, ValueError."""
        with (self._directory / name).open("rb", buffering=0) as file:
            if file.readinto(_bytes_of(out)) != out.nbytes or file.read(1):
                raise ValueError(f"{name} has not {out.nbytes} bytes")

    def drop(self, name: str) -> None:
        """Remove a file, and its folder where that is empty then."""
        path = self._directory / name
        path.unlink(missing_ok=True)
        if path.parent != self._directory and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def commit(self, digest: str, manifest: str, files: Mapping[str, Written], keeps: Keeps) -> bool:
        """Flush everything and give the directory its name. A thing of that name that is damaged is set aside."""
        (self._directory / MANIFEST).write_text(manifest, encoding="utf-8")
        sync_tree(self._directory)
        target = self._directory.with_name(digest)
        if target.exists():
            if keeps(target):
                return False
            target.rename(target.with_name(f".damaged-{target.name}-{time.time_ns()}"))
            sync_path(target.parent)
        return rename_directory(self._directory, target)

    def discard(self) -> None:
        """Remove what is left."""
        shutil.rmtree(self._directory, ignore_errors=True)


def _bytes_of(content: Content) -> memoryview:
    """The bytes, without a copy. An array must be contiguous."""
    if isinstance(content, np.ndarray):
        return memoryview(content.reshape(-1).view(np.uint8))
    return memoryview(content)
