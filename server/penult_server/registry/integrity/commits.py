"""How many transactions were committed, kept beside the registry: a registry that has fewer has lost some.

SQLite's -wal holds what was committed last; when it is lost or damaged, the file opens as it was before, and says
nothing. So every transaction counts itself in the registry, and after its commit in a file of its own. That file is
not flushed: it may lag behind after a power cut, which is no alarm, but it is never ahead of what was committed.
"""

import contextlib
import os
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

WIDTH = 20


def count_file(registry: Path) -> Path:
    """The file of a registry."""
    return registry.with_name(f"{registry.name}.commits")


class CommitCount:
    """The number of transactions, in the file."""

    def __init__(self, registry: Path) -> None:
        self._path = count_file(registry)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)

    def read(self) -> int:
        """What the file says; 0 where it says nothing."""
        text = os.pread(self._file, WIDTH, 0)
        return int(text) if text.isdigit() else 0

    def write(self, count: int) -> None:
        """Note a commit. In place, and without flushing; a full disk matters as little as a lost note."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, b"%0*d" % (WIDTH, count), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def check(self, noted: int, committed: int) -> None:
        """Raise ServiceError (STORE_CORRUPT) where the registry has fewer commits than the file has noted."""
        if noted > committed:
            raise ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"{self._path.with_suffix('')} is missing the last {noted - committed} of {noted} changes: its -wal "
                "was lost or damaged, or an older file was put in its place. Restore a backup (`penult store "
                "restore`), or run `penult store repair`, which keeps what is there and adds what the manifests have",
            )
