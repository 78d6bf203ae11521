"""The store of a root: its own disk, or the object store that `store.json` names."""

import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.durable import write_file
from penult_server.stores.disk.private import PRIVATE_FILE
from penult_server.stores.disk.sealed import read_sealed, sealed_text, unsealed
from penult_server.stores.places.bucket.entries import read_entry, remote_bytes
from penult_server.stores.places.local import LocalFiles, LocalStore
from penult_server.stores.places.store import COPY, OBJECTS, Files, Store

if TYPE_CHECKING:
    from penult_server.stores.places.bucket.copies import Copies

STORE_FILE = "store.json"
CACHE_BYTES = 16 * 2**30
COLLECT_SECONDS = 86400.0
"""Age, by the bucket's clock, at which what nothing names in it is removed: longer than any writer is silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the things of a root lie that its own disk does not have."""

    url: str
    """ "s3://bucket/prefix"."""
    endpoint: str = ""
    """Address of the service; empty for what the environment says, else Amazon's."""
    owner: str
    """Identity of the root: another one cannot use the same prefix."""
    cache_bytes: int = CACHE_BYTES
    """Most bytes of it that are kept on this machine."""


def store_of(root: Path) -> Store:
    """Where the things of a root are kept. A root without `store.json` keeps all on its disk.

    Raises ServiceError: STORE_CORRUPT for a damaged `store.json`, INVALID_ARGUMENT where a package is missing.
    """
    try:
        text = (root / STORE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return LocalStore(root)
    return _opened(root, text, os.getpid())


def files_of(directory: Path) -> Files:
    """The files of the thing of a directory, wherever they lie.

    Raises ServiceError: those of `store_of`, STORE_CORRUPT where nothing says where they lie.
    """
    if not (directory / OBJECTS).exists():
        return LocalFiles(directory)
    from penult_server.stores.places.bucket.store import BucketStore

    store = store_of(directory.parents[1])
    if not isinstance(store, BucketStore):
        raise ServiceError(
            ErrorKind.STORE_CORRUPT,
            f"{directory.parent.name}/{directory.name[:12]} lies in an object store, and {STORE_FILE} of the root, "
            "which names that, is missing; put it back",
        )
    try:
        return store.files(directory)
    except (OSError, ValueError, TypeError) as error:
        raise ServiceError(
            ErrorKind.STORE_CORRUPT,
            f"the file {OBJECTS} of {directory.parent.name}/{directory.name[:12]}, which says where its files lie, is "
            f"damaged ({error}); make it again to mend it",
        ) from error


def removed_elsewhere(directory: Path) -> bool:
    """Remove what lies elsewhere of a thing whose directory is about to go; false to try again later."""
    if not (directory / OBJECTS).exists() and not (directory / COPY).exists():
        return True
    return store_of(directory.parents[1]).remove(directory)


def copies_of(root: Path) -> "Copies | None":
    """What the object store of a root has of that disk; None where there is no such store. Raises as `store_of`."""
    return store_of(root).copies


def bytes_elsewhere(directory: Path) -> int:
    """Bytes of a thing that do not lie in its directory; 0 of one that has all there."""
    return remote_bytes(directory) if (directory / OBJECTS).exists() else 0


def damaged_elsewhere(directory: Path) -> list[str]:
    """Names of files of a thing that do not lie in its directory, and are missing or altered where they lie."""
    if not (directory / OBJECTS).exists():
        return []
    digests = {name: one.sha256 for name, one in read_entry(directory).files.items()}
    return files_of(directory).damaged(digests)


def read_place(root: Path) -> Place | None:
    """What `store.json` of a root says; None without one. Raises ServiceError (STORE_CORRUPT)."""
    try:
        return _parsed(read_sealed(root / STORE_FILE))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise _damaged(root, error) from error


def write_place(root: Path, place: Place) -> None:
    """Make a root keep its things there from now on."""
    write_file(root / STORE_FILE, sealed_text(asdict(place)).encode(), mode=PRIVATE_FILE)


def _parsed(values: dict[str, object]) -> Place:
    return Place(**values)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=4)
def _opened(root: Path, text: str, process: int) -> Store:
    """The store of `store.json`'s content; each process has connections of its own."""
    from penult_server.stores.places.bucket.store import BucketStore

    try:
        return BucketStore(root, _parsed(unsealed(json.loads(text))))
    except (ValueError, TypeError) as error:
        raise _damaged(root, error) from error


def _damaged(root: Path, error: Exception) -> ServiceError:
    return ServiceError(
        ErrorKind.STORE_CORRUPT,
        f"{root / STORE_FILE}, which says where the store's things lie, is damaged ({error}); put back what it was",
    )
