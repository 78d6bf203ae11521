"""An attempt in a bucket: files under keys that nobody else has, and one conditional write that makes them a thing."""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.durable import STAGING_PREFIX
from penult_server.stores.places.bucket.client import Bucket, TakenError
from penult_server.stores.places.bucket.entries import Entry, data_prefix, decoded
from penult_server.stores.places.bucket.pointers import Pointers
from penult_server.stores.places.fence import check_fence
from penult_server.stores.places.local import bytes_of
from penult_server.stores.places.store import AlteredError, Content, Keeps, Written

TRIES = 40
TRY_SECONDS, MOST_TRY_SECONDS = 0.05, 2.0


class BucketAttempt:
    """Keys are private to the attempt, so that puts may be repeated; whoever dies leaves what the collector finds."""

    def __init__(self, bucket: Bucket, pointers: Pointers, kind: str, name: str) -> None:
        self.name = name
        self._bucket = bucket
        self._pointers = pointers
        self._kind = kind
        self._prefix = data_prefix(kind, name)
        self._directory: Path | None = None
        self._may_be_named = False

    @property
    def directory(self) -> Path:
        """A folder on the disk, whose files the commit puts."""
        if self._directory is None:
            parent = self._pointers.folder(self._kind)
            self._directory = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=parent))
        return self._directory

    def put(self, name: str, content: Content, *, flush: bool = False) -> Written:
        """Write a file."""
        data = bytes_of(content)
        self._bucket.put(f"{self._prefix}{name}", content)
        return Written(hashlib.sha256(data).hexdigest(), data.nbytes)

    def fill(self, name: str, out: NDArray[Any]) -> None:
        """Read a file back. Raises FileNotFoundError, ValueError."""
        if not self._bucket.fill(f"{self._prefix}{name}", out):
            raise AlteredError(f"{name} has not {out.nbytes} bytes")

    def drop(self, name: str) -> None:
        """Remove a file."""
        self._bucket.delete([f"{self._prefix}{name}"])

    def commit(self, digest: str, manifest: str, files: Mapping[str, Written], keeps: Keeps) -> bool:
        """Make the thing exist: by creating its entry, or by replacing that of a damaged or a deleted one.

        The service decides who is first. Raises ServiceError (DISK_FAILED), also where a file is not there; and what
        the fence raises, for who may commit no more.
        """
        own = self._pointers.on_disk(self._kind, digest)
        if own is not None and keeps(own):
            return False
        files = {**files, **self._put_directory()}
        self._check(files)
        check_fence()
        entry = Entry(kind=self._kind, digest=digest, attempt=self.name, files=files, manifest=manifest).renewed()
        for number in range(TRIES):
            is_new = self._try(entry, keeps)
            if is_new is not None:
                self._may_be_named = is_new
                return is_new
            time.sleep(min(TRY_SECONDS * 2**number, MOST_TRY_SECONDS))
        raise ServiceError(
            ErrorKind.DISK_FAILED,
            f"the object store {self._bucket.url} did not decide in {TRIES} tries who writes {entry.key}; ask again",
        )

    def discard(self) -> None:
        """Remove what was put, unless it is, or may be, named: an answer to the commit may have been lost."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        if not self._may_be_named:
            self._bucket.delete([one.key for one in self._bucket.listed(self._prefix)])

    def _try(self, entry: Entry, keeps: Keeps) -> bool | None:
        """Commit once; true for what is now ours, false for another's that is kept, None to ask again."""
        self._may_be_named = True
        try:
            self._bucket.create(entry.key, entry.encoded())
        except TakenError:
            try:
                content, e_tag = self._bucket.get(entry.key)
            except FileNotFoundError:  # of two that create at once the service refused both for now
                return None
            return self._against(content, e_tag, entry, keeps)
        self._pointers.write(entry)
        return True

    def _against(self, content: memoryview, e_tag: str, entry: Entry, keeps: Keeps) -> bool | None:
        """The same where there is an entry already."""
        try:
            there = decoded(content)
        except (ValueError, TypeError):
            there = None
        if there is not None and there.attempt == entry.attempt and not there.removed:
            self._pointers.write(there)  # ours, and the answer to that was lost
            return True
        if there is not None and not there.removed and keeps(self._pointers.files(there)):
            return False if self._pointers.adopt(there, e_tag) else None
        try:
            self._bucket.replace(entry.key, entry.encoded(), e_tag)
        except TakenError:
            return None
        self._pointers.write(entry)
        return True

    def _put_directory(self) -> dict[str, Written]:
        """Put what was written to the disk."""
        written: dict[str, Written] = {}
        directory = self._directory
        for path in sorted(directory.rglob("*")) if directory is not None else ():
            if path.is_file() and directory is not None:
                name = path.relative_to(directory).as_posix()
                empty = path.stat().st_size == 0
                written[name] = self.put(name, b"" if empty else np.memmap(path, np.uint8, mode="r"))
        return written

    def _check(self, files: Mapping[str, Written]) -> None:
        """Compare what lies there with what was put. One list has the sizes of a thousand objects."""
        there = {one.key.removeprefix(self._prefix): one.size for one in self._bucket.listed(self._prefix)}
        wrong = [name for name, said in files.items() if there.get(name) != said.size]
        if wrong:
            raise ServiceError(
                ErrorKind.DISK_FAILED,
                f"the object store {self._bucket.url} does not have {len(wrong)} of {len(files)} files that were put, "
                f"such as {self._prefix}{wrong[0]}; nothing was stored, ask again",
            )
