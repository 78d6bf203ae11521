"""Ways in which a file rots: bits flip, it is cut, it grows, a sector is zeros, it is gone, or another's is there."""

import random
from collections.abc import Callable
from pathlib import Path

SECTOR = 512

Way = Callable[[Path, Path, random.Random], None]
"""Does it to a file; the second is another file of the same kind."""


def flip(path: Path, _: Path, chance: random.Random) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def flip_near_the_start(path: Path, _: Path, chance: random.Random) -> None:
    """One bit of the first sixteen bytes, where lengths stand."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(min(16, len(content)))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut(path: Path, _: Path, chance: random.Random) -> None:
    """Somewhere."""
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def empty(path: Path, _: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def grow(path: Path, _: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + bytes([chance.randrange(256)]))


def zeros(path: Path, _: Path, chance: random.Random) -> None:
    """A sector."""
    content = bytearray(path.read_bytes())
    start = chance.randrange(max(len(content) // SECTOR, 1)) * SECTOR
    content[start : start + SECTOR] = bytes(len(content[start : start + SECTOR]))
    path.write_bytes(content)


def remove(path: Path, _: Path, chance: random.Random) -> None:
    path.unlink()


def swap(path: Path, other: Path, chance: random.Random) -> None:
    path.write_bytes(other.read_bytes())


WAYS: tuple[Way, ...] = (flip, flip_near_the_start, cut, empty, grow, zeros, remove, swap)
