"""Disk space kept back, so that the registry can still write down that something was deleted when the disk is full."""

import contextlib
import logging
import os
from pathlib import Path

RESERVE_BYTES = 4 * 2**20
"""Enough to forget about a thousand things at once."""

log = logging.getLogger("penult")


class Reserve:
    """A file of `RESERVE_BYTES` in the root of a store."""

    def __init__(self, root: Path) -> None:
        self._path = root / "reserve"

    def keep(self) -> None:
        """Make the file, where there is space for it."""
        try:
            with self._path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError as error:
            self.release()
            log.warning("no disk space is kept back for deleting things (%s)", error.strerror)

    def release(self) -> bool:
        """Give the space back to the disk; false when there was none."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
            return True
        return False
