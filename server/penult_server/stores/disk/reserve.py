"""Disk space kept back, so that the registry can still write down that something was deleted when the disk is full."""

import contextlib
import logging
import os
from pathlib import Path

RESERVE_BYTES = 4 * 2**20
"""Enough to forget about a thousand things at once."""

SLACK_BYTES = 2**18
"""Left free beside it: for the file that says where the server is, and the like."""
STARTING_BYTES = 2**20
"""Free bytes with which a server starts."""
log = logging.getLogger("penult")


class Reserve:
    """A file of `RESERVE_BYTES` in the root of a store."""

    def __init__(self, root: Path) -> None:
        self._path = root / "reserve"

    def keep(self) -> None:
        """Make the file, or let it grow, as far as there is space for it and a little more."""
        try:
            with self._path.open("ab") as file:
                has = os.fstat(file.fileno()).st_size
                size = min(RESERVE_BYTES, has + free_bytes(self._path.parent) - SLACK_BYTES)
                if size > has:
                    os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            self.release()
            size = has = 0
            log.warning("no disk space is kept back for deleting things (%s)", error.strerror)
        if max(size, has) < RESERVE_BYTES:
            log.warning("the disk is full: free some space, for example by `penult delete` or `penult store gc`")

    def release_if_full(self) -> None:
        """Give the space back where a server could not even start."""
        if free_bytes(self._path.parent) < STARTING_BYTES:
            self.release()

    def release(self) -> bool:
        """Give the space back to the disk; false when there was none."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
            return True
        return False


def free_bytes(directory: Path) -> int:
    """Bytes that may still be written on the disk of a directory."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
