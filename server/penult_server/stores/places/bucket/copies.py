"""Copies, in the bucket, of what lies on the root's disk: whole directories, and single files that are replaced.

A dataset or an upload is read from the disk; its copy is an entry like that of any thing, so the collector knows it.
A run's files, and its training state, lie under `shared/<folder>/<name>/`, each replaced as a whole.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.durable import staged_directory, staged_file, write_file
from penult_server.stores.places.bucket.client import Bucket, TakenError
from penult_server.stores.places.bucket.collecting import Collector
from penult_server.stores.places.bucket.entries import Entry, data_prefix, decoded, key_of
from penult_server.stores.places.fence import check_fence
from penult_server.stores.places.local import bytes_of
from penult_server.stores.places.store import COPY, Content, Shared, Written

REPLACED = {"datasets": "registration.json"}
"""The one file of a thing that may change, by its folder: it lies in the entry itself."""
UNMARKED = ("uploads",)
"""Folders whose directories hold their content alone: nothing in them says that there is a copy."""
AT_ONCE = 8
"""Files of a directory that are on their way at a time."""
SHARED = "shared/"


class Copies:
    """Every method raises ServiceError (DISK_FAILED) where the service does not answer or refuses."""

    def __init__(self, root: Path, bucket: Bucket, collector: Collector) -> None:
        self._root = root
        self._bucket = bucket
        self._collector = collector

    def keep(self, folder: str, name: str) -> None:
        """Put a directory, once; of one that is there already only what may change. Raises what the fence raises."""
        directory = self._root / folder / name
        changing = directory / REPLACED[folder] if folder in REPLACED else None
        paths = {
            path.relative_to(directory).as_posix(): path
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path != changing and path.name != COPY
        }
        files = {one: _written(path) for one, path in paths.items()}
        text = changing.read_text(encoding="utf-8") if changing else ""
        there, _ = self._entry(folder, name)
        if there is None or there.removed or there.files != files:
            attempt = secrets.token_hex(16)
            there = Entry(kind=folder, digest=name, attempt=attempt, files=files)
            entry = there

            def put(one: str) -> None:
                self._bucket.put(entry.data_key(one), _content(paths[one]))

            with ThreadPoolExecutor(AT_ONCE, "copy") as threads:
                list(threads.map(put, paths))
        entry = replace(there, manifest=text).renewed()
        check_fence()
        self._write(entry)
        if folder not in UNMARKED:
            _mark(directory, folder, name, entry.attempt)

    def fetch(self, folder: str, name: str) -> bool:
        """Give a copy its directory on this disk; false where there is none. Raises ServiceError (STORE_CORRUPT)."""
        entry, _ = self._entry(folder, name)
        if entry is None or entry.removed:
            return False
        with staged_directory(self._root / folder / name) as directory:

            def get(one: str) -> None:
                path = directory / _within(one)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._whole(entry, one))

            with ThreadPoolExecutor(AT_ONCE, "copy") as threads:
                list(threads.map(get, entry.files))
            if folder in REPLACED:
                (directory / REPLACED[folder]).write_text(entry.manifest, encoding="utf-8")
            if folder not in UNMARKED:
                _mark(directory, folder, name, entry.attempt)
        return True

    def ages(self, folder: str) -> dict[str, float]:
        """Names of the copies of a folder, and for how many seconds each has been there by the bucket's own clock."""
        return self._collector.ages(folder)

    def damaged(self, folder: str, name: str) -> list[str]:
        """Files of a copy that are missing or altered in the bucket."""
        entry, _ = self._entry(folder, name)
        found: list[str] = []
        for one in entry.files if entry is not None and not entry.removed else ():
            try:
                self._whole(entry, one)  # pyright: ignore[reportArgumentType]
            except ServiceError as error:
                if error.kind is not ErrorKind.STORE_CORRUPT:
                    raise
                found.append(one)
        return found

    def remove(self, directory: Path) -> None:
        """Remove the copy that the mark in a directory names, and all that is shared of it.

        Nothing of a thing that has been made again meanwhile, whose directory says the same.
        """
        mark = _marked(directory)
        if mark is None:
            return  # nobody knows what it named: the collector finds the rest
        folder, name, attempt = mark
        if _marked(self._root / folder / name) == mark:
            return
        if attempt:
            self._bury(folder, name, attempt)
        self._bucket.delete([one.key for one in self._bucket.listed(f"{SHARED}{folder}/{name}/")])

    def drop(self, folder: str, name: str) -> None:
        """Remove a copy whose directory bears no mark. Who puts it just then is told, and puts it again."""
        entry, _ = self._entry(folder, name)
        self._bucket.delete([key_of(folder, name)])
        if entry is not None:
            self._clear(folder, entry.attempt)

    def share(self, folder: str, name: str, file: str, content: Content) -> None:
        """Put, or replace, a file of a thing."""
        self._bucket.put(f"{SHARED}{folder}/{name}/{file}", content)
        self.mark(folder, name)

    def mark(self, folder: str, name: str) -> None:
        """Note on the disk that files of a thing are shared, so that they go with it."""
        directory = self._root / folder / name
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / COPY).exists():
            _mark(directory, folder, name, "")

    def shared(self, folder: str, name: str = "") -> Iterator[Shared]:
        """The files that are shared of the things of a folder, or of one of them."""
        prefix = f"{SHARED}{folder}/{name}/" if name else f"{SHARED}{folder}/"
        for one in self._bucket.listed(prefix):
            thing, _, file = one.key.removeprefix(f"{SHARED}{folder}/").partition("/")
            yield Shared(thing, file, one.size)

    def read_shared(self, one: Shared, folder: str, target: Path) -> bool:
        """Write such a file to the disk; false where it is gone."""
        try:
            content, _ = self._bucket.get(f"{SHARED}{folder}/{one.name}/{one.file}")
        except FileNotFoundError:
            return False
        with staged_file(target) as staging:
            staging.write_bytes(content)
        self.mark(folder, one.name)
        return True

    def unshare(self, folder: str, name: str, files: Iterable[str]) -> None:
        """Remove files that are shared of a thing."""
        self._bucket.delete([f"{SHARED}{folder}/{name}/{one}" for one in files])

    def _entry(self, folder: str, name: str) -> tuple[Entry | None, str]:
        try:
            content, e_tag = self._bucket.get(key_of(folder, name))
        except FileNotFoundError:
            return None, ""
        try:
            return decoded(content), e_tag
        except (ValueError, TypeError) as error:
            raise ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"the object {key_of(folder, name)} in {self._bucket.url} is damaged ({error}); delete it, then "
                "register or upload again",
            ) from error

    def _write(self, entry: Entry) -> None:
        """Make the copy this one. The content of all copies of a name is the same: the last one counts."""
        while True:
            with suppress(TakenError):
                self._bucket.create(entry.key, entry.encoded())
                return
            with suppress(TakenError):
                _, e_tag = self._entry(entry.kind, entry.digest)
                if e_tag:
                    self._bucket.replace(entry.key, entry.encoded(), e_tag)
                    return

    def _bury(self, folder: str, name: str, attempt: str) -> None:
        """Say that a copy is removed, unless another has taken its place; then remove its files."""
        while True:
            entry, e_tag = self._entry(folder, name)
            if entry is None or entry.removed or entry.attempt != attempt:
                break
            with suppress(TakenError):
                self._bucket.replace(entry.key, entry.buried().encoded(), e_tag)
                break
        self._clear(folder, attempt)

    def _clear(self, folder: str, attempt: str) -> None:
        self._bucket.delete([one.key for one in self._bucket.listed(data_prefix(folder, attempt))])

    def _whole(self, entry: Entry, name: str) -> memoryview:
        """A file of a copy, compared with its digest. Raises ServiceError (STORE_CORRUPT)."""
        try:
            content, _ = self._bucket.get(entry.data_key(name))
        except FileNotFoundError:
            content = memoryview(b"")
        if hashlib.sha256(content).hexdigest() != entry.files[name].sha256:
            raise ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"the file {name} of {entry.kind}/{entry.digest[:12]} is missing or altered in {self._bucket.url}; "
                "delete that and make it again",
            )
        return content


def _mark(directory: Path, folder: str, name: str, attempt: str) -> None:
    """Note in a directory what the bucket has of it, so that it goes with it."""
    said = {"folder": folder, "name": name, "attempt": attempt}
    write_file(directory / COPY, json.dumps(said).encode())


def _marked(directory: Path) -> tuple[str, str, str] | None:
    """Folder, name and attempt that the mark in a directory says; None without one that can be read."""
    try:
        mark = json.loads((directory / COPY).read_text(encoding="utf-8"))
        return str(mark["folder"]), str(mark["name"]), str(mark["attempt"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _content(path: Path) -> Content:
    return np.memmap(path, np.uint8, mode="r") if path.stat().st_size else b""


def _written(path: Path) -> Written:
    content = bytes_of(_content(path))
    return Written(hashlib.sha256(content).hexdigest(), content.nbytes)


def _within(name: str) -> PurePosixPath:
    """A file's place in its directory. Raises ValueError for one that would lie elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"a file of a copy is called {name!r}")
    return path
