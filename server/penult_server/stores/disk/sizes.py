"""Bytes of files: their sizes, not the blocks that they take; each once, however many links it has."""

import os
from collections.abc import Iterator
from pathlib import Path


class Sizes:
    """Adds up files. A file with several links counts where it is first met."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def of(self, path: Path | str) -> int:
        """Bytes of a file, or of all files below a directory; 0 for what is not there."""
        return sum(self._bytes(status) for status in _files(path))

    def _bytes(self, status: os.stat_result) -> int:
        if status.st_nlink > 1:
            file = (status.st_dev, status.st_ino)
            if file in self._seen:
                return 0
            self._seen.add(file)
        return status.st_size


def _files(path: Path | str) -> Iterator[os.stat_result]:
    """The regular files of a tree; links are not followed. What is removed meanwhile is passed over."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    try:
                        yield entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
    except NotADirectoryError:
        yield os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
