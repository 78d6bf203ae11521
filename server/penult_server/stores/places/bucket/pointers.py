"""The directories, in the root, of things whose files lie in a bucket: `manifest.json`, and where the rest is."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from penult_server.stores.disk.durable import STAGING_PREFIX, staged_directory, write_file
from penult_server.stores.places.bucket.cache import Cache
from penult_server.stores.places.bucket.client import Bucket, TakenError
from penult_server.stores.places.bucket.entries import Entry, read_entry
from penult_server.stores.places.bucket.files import BucketFiles
from penult_server.stores.places.local import LocalFiles
from penult_server.stores.places.store import MANIFEST, OBJECTS


class Pointers:
    """What the registry, deletions and readers look at. They follow the bucket, whose entries decide."""

    def __init__(self, root: Path, bucket: Bucket, cache: Cache) -> None:
        self._root = root
        self._bucket = bucket
        self._cache = cache

    def folder(self, kind: str) -> Path:
        """Where those of a kind lie."""
        folder = self._root / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def files(self, entry: Entry) -> BucketFiles:
        """The files of an entry."""
        return BucketFiles(self._bucket, self._cache, entry)

    def on_disk(self, kind: str, digest: str) -> LocalFiles | None:
        """The files of a thing that was stored before the root had a bucket; they stay where they are."""
        directory = self._root / kind / digest
        is_own = (directory / MANIFEST).is_file() and not (directory / OBJECTS).exists()
        return LocalFiles(directory) if is_own else None

    def names(self, kind: str, digest: str, attempt: str) -> bool:
        """Whether the directory of a thing names an attempt."""
        try:
            return read_entry(self._root / kind / digest).attempt == attempt
        except (OSError, ValueError, TypeError):
            return False

    def write(self, entry: Entry) -> None:
        """Give an entry its directory, whole or not at all; one of another attempt makes way."""
        target = self.folder(entry.kind) / entry.digest
        if self.names(entry.kind, entry.digest, entry.attempt):
            write_file(target / MANIFEST, entry.manifest.encode())
            write_file(target / OBJECTS, entry.encoded())
            return
        aside = target.with_name(f"{STAGING_PREFIX}replaced-{entry.digest}-{time.time_ns()}")
        with suppress(FileNotFoundError):
            target.rename(aside)
        with staged_directory(target) as directory:
            (directory / MANIFEST).write_text(entry.manifest, encoding="utf-8")
            (directory / OBJECTS).write_bytes(entry.encoded())
        shutil.rmtree(aside, ignore_errors=True)

    def adopt(self, entry: Entry, e_tag: str) -> bool:
        """Take over a thing that somebody has committed; false where it is deleted, or replaced, just now.

        First the directory, then a new version of the entry: a deletion looks for the first and then replaces the
        second on condition, so that one of the two is told.
        """
        self.write(entry)
        try:
            self._bucket.replace(entry.key, entry.renewed().encoded(), e_tag)
        except TakenError:
            return False
        return True
