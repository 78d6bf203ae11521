"""What a store can do, whatever it lies on: things are written by attempts and exist from their commit on.

A thing has a directory in the root, named by its digest, with its `manifest.json`. Its other files lie there, too, or
in an object store, and then `objects.json` says where; so what asks for directories alone works for both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from numpy.typing import NDArray

if TYPE_CHECKING:
    from penult_server.stores.places.bucket.copies import Copies

Content: TypeAlias = bytes | NDArray[Any]
"""Bytes, or a contiguous array whose bytes they are."""
MANIFEST = "manifest.json"
OBJECTS = "objects.json"
COPY = "copy.json"
"""In a directory of the root's disk: an object store has a copy of it, or files of it."""
KINDS = ("checkpoints", "features", "groupings")
"""Folders of what is written by attempts."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it was written."""

    sha256: str
    """Hex."""
    size: int


@dataclass(frozen=True, slots=True)
class Shared:
    """A file of a thing that lies in the object store alone, or there, too."""

    name: str
    """What the thing is called."""
    file: str
    size: int


class AlteredError(ValueError):
    """A file is not what was written."""


class Files(Protocol):
    """The files of a committed thing. Raises ServiceError (DISK_FAILED) where an object store does not answer."""

    def manifest(self) -> str:
        """The text of its manifest. Raises FileNotFoundError."""
        ...

    def read(self, name: str, sha256: str) -> bytes:
        """A file, compared with its digest. Raises FileNotFoundError, AlteredError."""
        ...

    def fill(self, name: str, out: NDArray[Any], sha256: str) -> None:
        """Read a file into contiguous memory of its size. Raises FileNotFoundError, AlteredError."""
        ...

    def missing(self, names: Mapping[str, str]) -> list[str]:
        """Which of the names are not there; nothing is read."""
        ...

    def damaged(self, digests: Mapping[str, str]) -> list[str]:
        """Names of files that are missing or altered where they lie; everything is read."""
        ...

    def directory(self) -> Path:
        """Where all of them can be read on this machine; fetched and compared with their digests first, if need be."""
        ...


Keeps: TypeAlias = Callable[[Files], bool]
"""Whether a thing that is there already is whole; else what is committed takes its place."""


class Attempt(Protocol):
    """Files of one thing that nobody sees before they are committed. Several processes may put to one attempt."""

    @property
    def name(self) -> str:
        """What another process opens it by."""
        ...

    @property
    def directory(self) -> Path:
        """Where files may be written, too, instead of being put: the commit takes what is there."""
        ...

    def put(self, name: str, content: Content, *, flush: bool = False) -> Written:
        """Write a file; a second one of the same name replaces the first.

        `flush`: on a disk at once, in the caller's time, and not first at the commit.
        """
        ...

    def fill(self, name: str, out: NDArray[Any]) -> None:
        """Read a file of this attempt back into memory of its size. Raises FileNotFoundError, ValueError."""
        ...

    def drop(self, name: str) -> None:
        """Remove a file that is not to be committed."""
        ...

    def commit(self, digest: str, manifest: str, files: Mapping[str, Written], keeps: Keeps) -> bool:
        """Make the thing exist, whole and lasting. False where it was there already and `keeps` says to keep that.

        `files` are all that were put and not dropped; `manifest` becomes `manifest.json`.
        """
        ...

    def discard(self) -> None:
        """Remove what was put; after a commit nothing is left of an attempt that lost."""
        ...


class Store(Protocol):
    """Where things are kept."""

    @property
    def copies(self) -> "Copies | None":
        """What it has of the root's disk; None where that disk is the store."""
        ...

    def attempt(self, kind: str, name: str = "") -> Attempt:
        """Begin to write a thing; with the name of one that somebody has started, take part in it."""
        ...

    def find(self, kind: str, digest: str) -> bool:
        """Whether a thing is there. One that another machine has committed gets its directory here."""
        ...

    def digests(self, kind: str) -> list[str]:
        """Digests of all that is there, wherever it was committed."""
        ...

    def remove(self, directory: Path) -> bool:
        """Remove what lies elsewhere of a thing whose directory nobody looks for any more; false to try again later."""
        ...

    def collect(self, older_than: float) -> list[str]:
        """Remove attempts that nothing names, untouched for so many seconds by the store's own clock. Their names."""
        ...

    def keep(self, folder: str, name: str) -> None:
        """Make a directory of the root's disk known to other machines. Raises what the fence raises."""
        ...

    def has(self, folder: str, name: str) -> bool:
        """Whether such a directory is there; fetched, where another machine has made it known."""
        ...

    def drop(self, folder: str, name: str) -> None:
        """Remove what `keep` has made known; the directory stays."""
        ...

    def share(self, folder: str, name: str, file: Path) -> None:
        """Make a file of the root's disk, of a thing in `folder`, known to other machines; replaced by each call."""
        ...

    def check(self) -> None:
        """Raise ServiceError (INVALID_ARGUMENT) where the store does not do what is relied on."""
        ...
