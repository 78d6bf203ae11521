"""Files opened once, and looked at by their descriptor before a byte is read.

Nothing here waits: a FIFO, a device or a socket is refused by its kind, a file that is too large by its size.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

PIECE_BYTES = 2**22
"""Bytes read between two looks at whether somebody still wants them."""
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link that was put there meanwhile"),
)
_OF_THE_KERNEL = ("/proc", "/sys")
"""Where files have no size and are made while they are read."""
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class IrregularError(OSError):
    """What is there is no regular file; `strerror` says what it is instead."""

    def __init__(self, what: str) -> None:
        super().__init__(0, f"it is {what}; expected a regular file")


def open_below(root: Path, path: Path, most_bytes: int) -> BinaryIO:
    """A regular file, by a path without links that lies below `root`.

    Every folder on the way is opened from the one before, and no link is followed: one that was put there since the
    path was resolved is refused, and nothing outside `root` is opened.

    Raises IrregularError, OSError, ServiceError (TOO_LARGE).
    """
    *folders, name = path.relative_to(root).parts or (".",)
    if path.as_posix().startswith(tuple(f"{one}/" for one in _OF_THE_KERNEL)):
        raise IrregularError("made by the system while it is read")
    folder = os.open(root, _FOLDER)
    try:
        for one in folders:
            below = os.open(one, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        descriptor = os.open(name, _FILE | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)
    return _checked(descriptor, path, most_bytes)


def open_regular(path: Path, most_bytes: int) -> BinaryIO:
    """A regular file by any path; links are followed. Raises IrregularError, OSError, ServiceError (TOO_LARGE)."""
    check_regular(path.stat().st_mode)
    return _checked(os.open(path, _FILE), path, most_bytes)


def check_regular(mode: int) -> None:
    """Raise IrregularError unless the mode is that of a regular file."""
    if not stat.S_ISREG(mode):
        raise IrregularError(next((said for is_kind, said in _KINDS if is_kind(mode)), "of no kind that is known"))


def pieces(file: BinaryIO, beat: Callable[[], None]) -> Iterator[bytes]:
    """The content of a file in pieces; `beat` is called before each, and may raise."""
    beat()
    while piece := file.read(PIECE_BYTES):
        yield piece
        beat()


def too_large(path: Path, size: int, most_bytes: int) -> ServiceError:
    """The error for a file that is larger than such files may be."""
    return ServiceError(
        ErrorKind.TOO_LARGE,
        f"{str(path)[:200]!r} has {size} bytes, and such a file at most {most_bytes}; divide it, or store less in it",
        file=path,
        size=size,
        limit=most_bytes,
    )


def _checked(descriptor: int, path: Path, most_bytes: int) -> BinaryIO:
    """The open file, if it is a regular one of a legal size."""
    try:
        status = os.fstat(descriptor)
        check_regular(status.st_mode)
        if status.st_size > most_bytes:
            raise too_large(path, status.st_size, most_bytes)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
