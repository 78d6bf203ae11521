"""Files that clients send for a job: whole and verified under ``<root>/uploads/<digest>``, until the job has ended."""

import hashlib
import re
import shutil
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from penult_proto.errors import ErrorKind
from penult_proto.files import digest_of_files, is_plain
from penult_proto.limits import MOST_FILE_BYTES, MOST_FILES
from penult_server.errors import ServiceError
from penult_server.stores.disk.durable import STAGING_PREFIX, staged_directory
from penult_server.stores.places.opening import copies_of, store_of

FOLDER = "uploads"
SPARE_BYTES = 2**28
"""Bytes of the disk that an upload leaves free."""
ABANDONED_SECONDS = 3600.0
"""Age at which files that no job has asked for are removed, when the next ones come."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """A file that was announced."""

    name: str
    size: int
    sha256: str


def upload_directory(root: Path, digest: str) -> Path:
    """Where the files of a digest lie. Raises ServiceError (INVALID_ARGUMENT) for what is no digest."""
    if not _DIGEST.fullmatch(digest):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"the digest of an upload is 64 hexadecimal digits, got {digest[:80]!r}"
        )
    return root / FOLDER / digest


class IncomingFiles:
    """Takes files as they come, one after the other, and stores them whole or not at all.

    A context manager. Raises ServiceError: INVALID_ARGUMENT for names that are not plain, sizes or numbers beyond the
    limits; DISK_FULL, before anything is written, where they would not fit.
    """

    def __init__(self, root: Path, files: Sequence[ExpectedFile]) -> None:
        _check(files)
        total = sum(file.size for file in files)
        self.digest = digest_of_files((file.name, file.sha256) for file in files)
        self.size = total
        self._files = list(files)
        self._target = upload_directory(root, self.digest)
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root / FOLDER).free
        if total + SPARE_BYTES > free:
            raise ServiceError(
                ErrorKind.DISK_FULL,
                f"the files have {total} bytes and the server's disk has {free} free, of which {SPARE_BYTES} are left "
                "alone; nothing was stored, free some space",
            )
        self._stack = ExitStack()
        self._open: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._index = -1
        self._left = 0

    def __enter__(self) -> "IncomingFiles":
        self._staging = self._stack.enter_context(staged_directory(self._target))
        self._next()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._open is not None:
            self._open.close()
        # On an error the staged directory is removed, without it renamed.
        self._stack.__exit__(kind, error, None)

    def write(self, data: bytes) -> None:
        """The next bytes. Raises ServiceError (INCOMPLETE_UPLOAD) for more than was announced, or other content."""
        view = memoryview(data)
        while len(view):
            if self._open is None:
                raise self._incomplete(f"{len(view)} bytes came after the last file")
            piece = view[: self._left]
            self._open.write(piece)
            self._hash.update(piece)
            self._left -= len(piece)
            view = view[len(piece) :]
            if not self._left:
                self._finish_file()

    def finish(self) -> None:
        """Say that nothing more comes. Raises ServiceError (INCOMPLETE_UPLOAD) where something is missing."""
        if self._open is not None:
            file = self._files[self._index]
            raise self._incomplete(f"{self._left} bytes of {file.name!r} are missing")

    def _finish_file(self) -> None:
        file = self._files[self._index]
        found = self._hash.hexdigest()
        if found != file.sha256:
            raise self._incomplete(f"{file.name!r} has the sha256 {found} where {file.sha256} was announced")
        self._next()

    def _next(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
        self._index += 1
        if self._index < len(self._files):
            file = self._files[self._index]
            self._open = (self._staging / file.name).open("xb")
            self._hash, self._left = hashlib.sha256(), file.size

    def _incomplete(self, what: str) -> ServiceError:
        return ServiceError(ErrorKind.INCOMPLETE_UPLOAD, f"{what}; nothing was stored, upload again")


def has_upload(root: Path, digest: str) -> bool:
    """Whether the files of a digest are here; fetched, where another machine has taken them."""
    return upload_directory(root, digest).is_dir() or store_of(root).has(FOLDER, digest)


def remove_uploads(root: Path, kept: Collection[str], *, only: str = "", older_than: float | None = None) -> None:
    """Remove the files that no job needs, of any age or of at least one in seconds; what is being written stays.

    `only` names one digest, instead of all.
    """
    for name, age in _ages_elsewhere(root).items():
        if name not in kept and only in ("", name) and (older_than is None or age >= older_than):
            store_of(root).drop(FOLDER, name)
    directory = root / FOLDER
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name in kept or path.name.startswith(STAGING_PREFIX) or only not in ("", path.name):
            continue
        try:
            # Without an age the clock is not asked: that of the disk may be ahead of ours.
            is_old = older_than is None or time.time() - path.stat().st_mtime >= older_than
        except FileNotFoundError:
            continue
        if is_old:
            # Out of sight first: a client that comes now sends its files again.
            trash = path.with_name(f"{STAGING_PREFIX}trash-{path.name}-{time.time_ns()}")
            path.rename(trash)
            shutil.rmtree(trash, ignore_errors=True)


def _ages_elsewhere(root: Path) -> dict[str, float]:
    """What the bucket of a root has, and for how many seconds by its own clock."""
    copies = copies_of(root)
    return copies.ages(FOLDER) if copies else {}


def _check(files: Sequence[ExpectedFile]) -> None:
    names = [file.name for file in files]
    if not 1 <= len(files) <= MOST_FILES or len({name.casefold() for name in names}) < len(names):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"an upload has 1 to {MOST_FILES} files of different names, got {len(files)}",
            field="files",
        )
    for file in files:
        if not is_plain(file.name):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"a file has a plain name, without directories, of at most 255 bytes; got {file.name[:80]!r}",
                field="files",
            )
        if not _DIGEST.fullmatch(file.sha256):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"the sha256 of {file.name!r} is 64 hexadecimal digits, got {file.sha256[:80]!r}",
                field="files",
            )
        if not 1 <= file.size <= MOST_FILE_BYTES:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{file.name!r} must have 1 to {MOST_FILE_BYTES} bytes, got {file.size}",
                field="files",
            )
    if sum(file.size for file in files) > MOST_FILE_BYTES:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"the files of an upload have at most {MOST_FILE_BYTES} bytes together"
        )
