"""Folders that processes of the server need beside its root."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

MOST_SOCKET_BYTES = 107
"""Length of a socket's path, at most."""
_LONGEST_NAME = len("/penult-12345678/1234567890.sock")
CUPY_CACHE = "CUPY_CACHE_DIR"


def socket_folder() -> Path:
    """A new folder for this user alone, whose sockets have paths that the system takes, wherever the root is.

    Raises ServiceError (DISK_FAILED) when there is none.
    """
    tried: list[str] = []
    for place in places():
        if len(os.fsencode(place)) + _LONGEST_NAME > MOST_SOCKET_BYTES:
            tried.append(f"{place}: its path is too long")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix="penult-", dir=place))
        except OSError as error:
            tried.append(f"{place}: {error.strerror}")
    raise ServiceError(
        ErrorKind.DISK_FAILED,
        f"the server needs a folder for its socket that can be written to, with a path of at most "
        f"{MOST_SOCKET_BYTES - _LONGEST_NAME} bytes; set TMPDIR to one (tried {'; '.join(tried)})",
    )


def places() -> list[str]:
    """Where such folders are made, the first that will do."""
    given = os.environ.get("TMPDIR")
    return [*([given] if given else []), "/tmp", f"/run/user/{os.getuid()}", "/var/tmp", "/dev/shm"]


def caches(variables: Mapping[str, str], root: Path) -> dict[str, str]:
    """Variables for workers of a user whose home cannot be written to: CuPy does not load without its cache."""
    if CUPY_CACHE in variables or _can_be_made(Path(os.path.expanduser("~"), ".cupy", "kernel_cache")):
        return {}
    return {CUPY_CACHE: str(root / "cache" / "cupy")}


def _can_be_made(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
