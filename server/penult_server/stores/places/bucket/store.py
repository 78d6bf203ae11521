"""A root whose checkpoints, features and groupings lie in a bucket."""

import logging
import secrets
from pathlib import Path

from penult_server.errors import ServiceError
from penult_server.stores.places.bucket.attempt import BucketAttempt
from penult_server.stores.places.bucket.cache import Cache
from penult_server.stores.places.bucket.check import check_bucket
from penult_server.stores.places.bucket.client import Bucket, TakenError
from penult_server.stores.places.bucket.collecting import Collector
from penult_server.stores.places.bucket.copies import Copies
from penult_server.stores.places.bucket.entries import Entry, data_prefix, decoded, key_of, read_entry
from penult_server.stores.places.bucket.files import BucketFiles
from penult_server.stores.places.bucket.pointers import Pointers
from penult_server.stores.places.opening import Place
from penult_server.stores.places.store import COPY, MANIFEST, Attempt

log = logging.getLogger("penult.store")


class BucketStore:
    """Every method raises ServiceError (DISK_FAILED) where the service does not answer or refuses."""

    def __init__(self, root: Path, place: Place) -> None:
        self._root = root
        self.bucket = Bucket(place.url, place.endpoint)
        self._cache = Cache(root / "cache" / "store", place.cache_bytes)
        self._pointers = Pointers(root, self.bucket, self._cache)
        self._collector = Collector(self.bucket)
        self.copies = Copies(root, self.bucket, self._collector)

    def attempt(self, kind: str, name: str = "") -> Attempt:
        """Begin to write a thing; with the name of one that somebody has started, take part in it."""
        return BucketAttempt(self.bucket, self._pointers, kind, name or secrets.token_hex(16))

    def find(self, kind: str, digest: str) -> bool:
        """Whether a thing is there. One that is in the bucket alone gets its directory."""
        if (self._root / kind / digest / MANIFEST).is_file():
            return True
        while True:
            try:
                content, e_tag = self.bucket.get(key_of(kind, digest))
                entry = decoded(content)
            except (FileNotFoundError, ValueError, TypeError):
                return False
            if entry.removed:
                return False
            if self._pointers.adopt(entry, e_tag):
                return True

    def digests(self, kind: str) -> list[str]:
        """Digests of all that is there."""
        return sorted(one.digest for one in self._collector.named(kind) if not one.removed)

    def files(self, directory: Path) -> BucketFiles:
        """The files of the thing of a directory. Raises OSError, ValueError, TypeError where its entry is damaged."""
        return self._pointers.files(read_entry(directory))

    def remove(self, directory: Path) -> bool:
        """Remove what the entry or the mark in a directory names, unless somebody else has taken it over; false to try
        again."""
        try:
            if (directory / COPY).exists():
                self.copies.remove(directory)
            else:
                self._remove(read_entry(directory))
        except (OSError, ValueError, TypeError):
            return True  # nobody knows what it named: the collector finds the rest
        except ServiceError as error:
            log.warning("what the bucket has of %s stays there for now: %s", directory.name, error)
            return False
        return True

    def keep(self, folder: str, name: str) -> None:
        """Put a directory of the root's disk. Raises what the fence raises."""
        self.copies.keep(folder, name)

    def has(self, folder: str, name: str) -> bool:
        """Whether a directory is there, fetched where only the bucket has it. Raises ServiceError (STORE_CORRUPT)."""
        return (self._root / folder / name).is_dir() or self.copies.fetch(folder, name)

    def drop(self, folder: str, name: str) -> None:
        """Remove what `keep` has put."""
        self.copies.drop(folder, name)

    def share(self, folder: str, name: str, file: Path) -> None:
        """Put, or replace, a file of a thing."""
        self.copies.share(folder, name, file.name, file.read_bytes())

    def collect(self, older_than: float) -> list[str]:
        """Remove attempts that no entry names, untouched for so many seconds by the bucket's own clock."""
        return self._collector.collect(older_than)

    def check(self) -> None:
        """Raise ServiceError (INVALID_ARGUMENT) where the service ignores conditions, or does not show what it has."""
        check_bucket(self.bucket)

    def _remove(self, entry: Entry) -> None:
        while True:
            try:
                content, e_tag = self.bucket.get(entry.key)
                there = decoded(content)
            except FileNotFoundError:
                break
            except (ValueError, TypeError):
                return  # a damaged one may name these files
            if there.attempt != entry.attempt or there.removed:
                break
            if self._pointers.names(entry.kind, entry.digest, entry.attempt):
                return
            try:
                self.bucket.replace(entry.key, there.buried().encoded(), e_tag)
            except TakenError:
                continue
            break
        self.bucket.delete([one.key for one in self.bucket.listed(data_prefix(entry.kind, entry.attempt))])
