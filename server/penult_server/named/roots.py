"""Which files of the server's machine clients may name.

With `--data-root` everybody may name what lies below one of its directories, after links are followed; without, the
owner of a server that only its own machine can reach may name anything, and everybody else nothing. What the server
itself keeps can never be named, wherever it lies.
"""

import os
import unicodedata
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_FOLDER_ENTRIES
from penult_server.errors import ServiceError
from penult_server.named.opening import IrregularError, open_below, pieces

_UNPRINTABLE = ("Cc", "Zl", "Zp")
"""Categories of characters that would begin a new line in a log, or move a terminal's cursor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRoots:
    """Where files may be named. The directories are resolved when this is made."""

    roots: tuple[Path, ...] = ()
    is_everywhere: bool = False
    """Whether any place may be named; then there are no `roots`."""
    store: Path | None = None
    """What the server keeps, which may not be named."""
    uploads: Path | None = None
    """Files in the store that were sent to be read."""
    _resolved: tuple[Path, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = [Path("/")] if self.is_everywhere else self.roots
        object.__setattr__(self, "_resolved", tuple(one.resolve() for one in named))
        object.__setattr__(self, "store", self.store.resolve() if self.store else None)
        object.__setattr__(self, "uploads", self.uploads.resolve() if self.uploads else None)

    @property
    def is_contained(self) -> bool:
        """Whether what may be named is a choice of whoever runs the server."""
        return not self.is_everywhere

    def resolved(self, path: str | Path) -> Path:
        """The path with its links followed. Whether there is anything is not asked.

        Raises ServiceError: NOT_ALLOWED, INVALID_ARGUMENT for a path that cannot be printed.
        """
        _check_printable(str(path))
        # What does not even look as if it lay below is not touched.
        plain = Path(os.path.normpath(path))
        looks_right = any(plain.is_relative_to(one) for one in (*self.roots, *self._resolved))
        if not looks_right and not self._is_uploaded(plain):
            raise self.refused(path)
        found = Path(os.path.realpath(path))
        self.root_of(found, path)
        return found

    def open(self, path: str | Path, most_bytes: int) -> BinaryIO:
        """A regular file that may be named. Raises as `resolved` and `open_below` do."""
        found = self.resolved(path)
        return open_below(self.root_of(found, path), found, most_bytes)

    def check_folder(self, path: str | Path) -> None:
        """Check that every file in a directory may be named, and is one.

        Raises ServiceError: NOT_ALLOWED, TOO_LARGE for too many entries; IrregularError, OSError.
        """
        folder = self.resolved(path)
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_FOLDER_ENTRIES:
                    raise ServiceError(
                        ErrorKind.TOO_LARGE,
                        f"{str(path)[:200]!r} has more than {MOST_FOLDER_ENTRIES} entries; give the model a directory "
                        "of its own",
                        file=path,
                    )
                found = self.resolved(entry.path)
                if os.path.lexists(found) and not os.path.isdir(found) and not os.path.isfile(found):
                    raise IrregularError(f"{entry.name!r}, which is no file,")

    def refused(self, path: str | Path) -> ServiceError:
        """The error for a path that may not be named; the same whether anything is there or not."""
        listed = ", ".join(map(str, self.roots))
        if self.is_everywhere:
            where = "lies in what the server itself keeps; keep data elsewhere"
        elif listed:
            where = f"does not lie below a directory that this server reads data from ({listed}); put the files there"
        else:
            where = (
                "may not be read: this server reads no files that you name, for whoever runs it said no --data-root "
                "DIR; send what you have instead, or ask for a directory"
            )
        return ServiceError(ErrorKind.NOT_ALLOWED, f"{str(path)[:200]!r} {where}", roots=listed)

    def root_of(self, found: Path, path: str | Path) -> Path:
        """The directory that a resolved path lies below. Raises ServiceError (NOT_ALLOWED)."""
        if self._is_uploaded(found):
            return Path(found.anchor)
        root = next((one for one in self._resolved if found.is_relative_to(one)), None)
        if root is None or (self.store is not None and found.is_relative_to(self.store)):
            raise self.refused(path)
        return root

    def _is_uploaded(self, found: Path) -> bool:
        return self.uploads is not None and found.is_relative_to(self.uploads)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the work at hand may read, and what it calls while it does."""

    roots: DataRoots
    beat: Callable[[], None] = lambda: None
    """Called between pieces; raises when the work is not wanted any more."""


ANYTHING = Reading(DataRoots(is_everywhere=True))
READING: ContextVar[Reading] = ContextVar("reading", default=ANYTHING)
"""What is read for whom. The front sets it for each call, a worker for its job; a new thread has to be handed it."""


@contextmanager
def reading(roots: DataRoots, beat: Callable[[], None] = lambda: None) -> Generator[None]:
    """Read what `roots` allow from here on, in this thread or task."""
    token = READING.set(Reading(roots, beat))
    try:
        yield
    finally:
        READING.reset(token)


@contextmanager
def reading_own() -> Generator[None]:
    """Read what the server itself keeps or made, which no client has named, from here on."""
    with reading(ANYTHING.roots, READING.get().beat):
        yield


def open_named(path: str | Path, most_bytes: int) -> BinaryIO:
    """A file that a client named. Raises as `DataRoots.open` does."""
    return READING.get().roots.open(path, most_bytes)


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """The content of a file in pieces, as long as somebody wants it."""
    return pieces(file, READING.get().beat)


def read_named(path: str | Path, most_bytes: int) -> bytes:
    """The content of a file that a client named. Raises as `DataRoots.open` does."""
    with open_named(path, most_bytes) as file:
        return b"".join(pieces_of(file))


def _check_printable(path: str) -> None:
    if any(unicodedata.category(character) in _UNPRINTABLE for character in path):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"a path is written in one line of characters that can be printed; got {path[:200]!r}",
            field="path",
        )
