"""Reading a log in pieces, while it is written."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a log."""

    content: bytes
    offset: int
    """Where it begins."""
    size: int
    """Bytes of the whole log."""


def read_piece(path: Path, offset: int, most: int) -> Piece:
    """At most `most` bytes from `offset` on, which counts from the end when negative; nothing where there is no log."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return Piece(content=b"", offset=0, size=0)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Piece(content=b"", offset=0, size=0)
        start = min(status.st_size, offset if offset >= 0 else max(0, status.st_size + offset))
        return Piece(content=os.pread(descriptor, most, start), offset=start, size=status.st_size)
    finally:
        os.close(descriptor)
