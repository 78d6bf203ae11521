"""A prefix of a bucket: objects whole, conditions that decide who was first, and what goes wrong in our own words."""

# pyright: reportUnknownMemberType=false
# Of obstore's lists one form is typed in part.

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.places.local import bytes_of
from penult_server.stores.places.store import Content

try:
    import obstore
    from obstore import exceptions
    from obstore.store import S3Store
except ImportError as error:
    raise ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"a store in a bucket needs the package obstore ({error}): install penult with its extra `s3`",
    ) from error

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Where the environment names a service."""
SINGLE_BYTES = 64 * 2**20
"""Objects up to this size are put by one request, larger ones in parts."""
TIMEOUT, CONNECT_TIMEOUT = timedelta(seconds=300), timedelta(seconds=10)
RETRY_TIMEOUT, START_TIMEOUT = timedelta(seconds=90), timedelta(seconds=10)
"""How long a service may refuse or be silent, and how long at a server's start, where an address may be wrong."""
FIRST_WAIT, LONGEST_WAIT = timedelta(milliseconds=100), timedelta(seconds=5)
"""Between two tries: twice as long each time, up to the longest."""
RETRIES = 1000
"""Enough for the time to decide."""


class TakenError(Exception):
    """Somebody else was first."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a list."""

    key: str
    size: int
    e_tag: str
    modified: datetime


class Bucket:
    """One prefix. Credentials and region are those of the environment, as Amazon's tools read it.

    Every method raises ServiceError (DISK_FAILED) where the service does not answer or refuses.
    """

    def __init__(self, url: str, endpoint: str = "", patience: timedelta = RETRY_TIMEOUT) -> None:
        """`patience`: how long a service may refuse (503) or be silent until that is told.

        Raises ServiceError (INVALID_ARGUMENT) for what is no address of a bucket.
        """
        check_url(url)
        parts = urlsplit(url)
        self.url = url
        plain = {"endpoint": endpoint} if endpoint else {}
        said = endpoint or next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
        with self._translated(""):
            self._store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options={
                    "allow_http": said.startswith("http://"),
                    "timeout": TIMEOUT,
                    "connect_timeout": CONNECT_TIMEOUT,
                },
                retry_config={
                    "max_retries": RETRIES,
                    "retry_timeout": patience,
                    "backoff": {"init_backoff": FIRST_WAIT, "max_backoff": LONGEST_WAIT, "base": 2},
                },
                **plain,  # pyright: ignore[reportArgumentType]
            )

    def put(self, key: str, content: Content) -> None:
        """Write an object, or replace it."""
        data = bytes_of(content)
        with self._translated(key):
            obstore.put(self._store, key, data, use_multipart=data.nbytes > SINGLE_BYTES)

    def create(self, key: str, content: bytes) -> str:
        """Write an object that is not there; its ETag. Raises TakenError.

        The service may also say so where two do the same at once and neither is through: whoever is told looks.
        """
        with self._translated(key):
            try:
                return _tag(obstore.put(self._store, key, content, mode="create", use_multipart=False))
            except exceptions.AlreadyExistsError as error:
                raise TakenError(key) from error

    def replace(self, key: str, content: bytes, e_tag: str) -> str:
        """Write an object in the place of the one with an ETag; the new one. Raises TakenError where it is another."""
        with self._translated(key):
            try:
                return _tag(obstore.put(self._store, key, content, mode={"e_tag": e_tag}, use_multipart=False))
            except (exceptions.PreconditionError, FileNotFoundError) as error:
                raise TakenError(key) from error

    def get(self, key: str) -> tuple[memoryview, str]:
        """An object and its ETag. Raises FileNotFoundError."""
        with self._translated(key, is_reading=True):
            result = obstore.get(self._store, key)
            return memoryview(result.bytes()), result.meta["e_tag"] or ""

    def fill(self, key: str, out: NDArray[Any]) -> bool:
        """Read an object into memory; false where it has another size. Raises FileNotFoundError."""
        content, _ = self.get(key)
        if content.nbytes != out.nbytes:
            return False
        np.copyto(np.frombuffer(bytes_of(out), np.uint8), np.frombuffer(content, np.uint8))
        return True

    def head(self, key: str) -> Listed:
        """What is known of an object. Raises FileNotFoundError."""
        with self._translated(key, is_reading=True):
            return _listed(obstore.head(self._store, key))

    def listed(self, prefix: str) -> Iterator[Listed]:
        """All objects below a prefix, which ends with a slash."""
        with self._translated(prefix):
            for page in obstore.list(self._store, prefix):
                yield from (_listed(one) for one in page)

    def delete(self, keys: list[str]) -> None:
        """Delete objects; those that are not there do no harm."""
        with self._translated(keys[0] if keys else ""):
            if keys:
                obstore.delete(self._store, keys)

    @contextmanager
    def _translated(self, key: str, *, is_reading: bool = False) -> Generator[None]:
        """An object that is not there is told as such where one is read; elsewhere the bucket is not there."""
        try:
            yield
        except (exceptions.BaseError, FileNotFoundError) as error:
            said = str(error).split("\n\nDebug source")[0].replace("\n", " ")
            if isinstance(error, FileNotFoundError) and is_reading and "NoSuchBucket" not in said:
                raise
            raise ServiceError(
                ErrorKind.DISK_FAILED,
                f"the object store {self.url} failed at {key or 'its address'} ({said}); what was stored before is not "
                "changed: see to the store, its address and its credentials, then ask again",
            ) from error


def check_url(url: str) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for what is no address of a bucket."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"a store is the address of a bucket, such as s3://bucket/prefix; got {url!r}"
        )


def _tag(answer: Any) -> str:
    return str(answer["e_tag"] or "")


def _listed(meta: Any) -> Listed:
    return Listed(meta["path"], int(meta["size"]), str(meta["e_tag"] or ""), meta["last_modified"])
