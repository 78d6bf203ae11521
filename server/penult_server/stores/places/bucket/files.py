"""The files of a thing in a bucket: from the cache where they are there, else fetched; always compared."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_server.stores.places.bucket.ahead import Ahead
from penult_server.stores.places.bucket.cache import Cache
from penult_server.stores.places.bucket.client import Bucket
from penult_server.stores.places.bucket.entries import Entry, data_prefix
from penult_server.stores.places.local import bytes_of
from penult_server.stores.places.store import AlteredError


class BucketFiles:
    """Reads what an entry names."""

    def __init__(self, bucket: Bucket, cache: Cache, entry: Entry) -> None:
        self._bucket = bucket
        self._cache = cache
        self._entry = entry
        self._fetcher = _Fetcher(bucket, cache, entry)
        self._ahead = Ahead(self._fetcher.kept, self._fetcher.is_to_fetch)

    def manifest(self) -> str:
        """The text of its manifest."""
        return self._entry.manifest

    def read(self, name: str, sha256: str) -> bytes:
        """A file. Raises FileNotFoundError, AlteredError."""
        content = self._cache.read(sha256)
        return bytes(self._expected(name, sha256, self._fetcher.kept(name))) if content is None else content

    def fill(self, name: str, out: NDArray[Any], sha256: str) -> None:
        """Read a file into memory. Raises FileNotFoundError, AlteredError."""
        if self._cache.fill(sha256, out):
            self._ahead.passed(name)
            return
        content = self._expected(name, sha256, self._ahead.get(name))
        if content.nbytes != out.nbytes:
            raise AlteredError(name)
        np.copyto(np.frombuffer(bytes_of(out), np.uint8), np.frombuffer(content, np.uint8))

    def missing(self, names: Mapping[str, str]) -> list[str]:
        """Which of the names are not in the bucket, or have another size."""
        prefix = data_prefix(self._entry.kind, self._entry.attempt)
        there = {one.key.removeprefix(prefix): one.size for one in self._bucket.listed(prefix)}
        said = self._entry.files
        return [name for name in names if name not in said or there.get(name) != said[name].size]

    def damaged(self, digests: Mapping[str, str]) -> list[str]:
        """Names of files that are missing or altered in the bucket."""
        return [name for name, digest in digests.items() if not self._is_whole(name, digest)]

    def directory(self) -> Path:
        """All files, fetched to the cache. Raises FileNotFoundError, AlteredError."""
        folder = self._cache.folder(self._entry.attempt)
        for name, said in self._entry.files.items():
            path = folder / name
            if path.is_file() and _digest_of(path) == said.sha256:
                continue
            content = self._fetcher.get(name, said.sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            staging = path.with_name(f".new-{path.name}")
            staging.write_bytes(content)
            staging.replace(path)
            self._cache.added(said.size)
        return folder

    def _expected(self, name: str, sha256: str, content: memoryview) -> memoryview:
        """What was compared with the entry, where the caller's digest is the same. Raises AlteredError."""
        if self._entry.files[name].sha256 != sha256:
            raise AlteredError(name)
        return content

    def _is_whole(self, name: str, sha256: str) -> bool:
        try:
            self._fetcher.get(name, sha256)
        except (FileNotFoundError, AlteredError):
            return False
        return True


class _Fetcher:
    """Gets files of an entry. It knows nobody who holds it, so that what was fetched goes with its reader."""

    def __init__(self, bucket: Bucket, cache: Cache, entry: Entry) -> None:
        self._bucket = bucket
        self._cache = cache
        self._entry = entry

    def get(self, name: str, sha256: str) -> memoryview:
        """A file from the bucket, compared. Raises FileNotFoundError, AlteredError."""
        content, _ = self._bucket.get(self._entry.data_key(name))
        if hashlib.sha256(content).hexdigest() != sha256:
            raise AlteredError(name)
        return content

    def kept(self, name: str) -> memoryview:
        """A file as the entry says it is, from now on in the cache. Raises FileNotFoundError, AlteredError."""
        said = self._entry.files.get(name)
        if said is None:
            raise FileNotFoundError(name)
        content = self.get(name, said.sha256)
        self._cache.keep(said.sha256, content)
        return content

    def is_to_fetch(self, name: str) -> bool:
        """Whether there is such a file, and not in the cache."""
        said = self._entry.files.get(name)
        return said is not None and not self._cache.has(said.sha256)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
