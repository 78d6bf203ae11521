"""What a store can do, whatever it lies on: things are written by attempts and exist from their commit on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

Content: TypeAlias = bytes | NDArray[Any]
"""Bytes, or a contiguous array whose bytes they are."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it was written."""

    sha256: str
    """Hex."""
    size: int


Keeps: TypeAlias = Callable[[Path], bool]
"""Whether a thing that is there already, in this directory, is whole; else what is committed takes its place."""


class Attempt(Protocol):
    """Files of one thing that nobody sees before they are committed. Several processes may put to one attempt."""

    @property
    def name(self) -> str:
        """What another process opens it by."""
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
