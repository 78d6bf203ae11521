"""Who may use a root, and where its server is found: lock, token, address files."""

import fcntl
import json
import logging
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.durable import write_file
from penult_server.stores.disk.private import PRIVATE_FILE, PRIVATE_FOLDER

SHORTEST_TOKEN = 32
"""Characters; the server's own have 43."""
LOCK = "lock"
LOCK_POLL_SECONDS = 0.1
log = logging.getLogger("penult")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRecord:
    """What a client of the same user needs to find a running server."""

    address: str
    token: str
    pid: int
    root: str
    protocol: int
    version: str


class RootLock:
    """The right to serve a root: one server at a time. The system releases it when the process dies."""

    def __init__(self, root: Path, *, patience: float) -> None:
        """Take the root; wait up to `patience` seconds for a server that is just leaving.

        Raises ServiceError: STORE_LOCKED when another process goes on serving this root, INVALID_ARGUMENT when it is no
        directory that can be written to.
        """
        try:
            root.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            self._file: IO[str] = (root / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"--root must be a directory that this user can read and write, or one that can be made; got {root} "
                f"({error.strerror})",
            ) from error
        deadline = time.monotonic() + patience
        while not self._try():
            if time.monotonic() >= deadline:
                self._file.close()
                raise ServiceError(
                    ErrorKind.STORE_LOCKED,
                    f"another server already serves {root}; connect to it (its address is in {root / 'server.json'}) "
                    "or choose another root",
                    root=root,
                )
            time.sleep(LOCK_POLL_SECONDS)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the root up."""
        self._file.close()


def server_token(root: Path) -> str:
    """The token of a root, made at its first start. Readable by its owner only.

    Raises ServiceError (INVALID_ARGUMENT) for a file that holds no token: anybody could guess it.
    """
    path = root / "token"
    if not path.exists():
        write_file(path, (secrets.token_urlsafe(32) + "\n").encode(), mode=PRIVATE_FILE)
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{path} must hold a token of at least {SHORTEST_TOKEN} printable ASCII characters, and holds "
            f"{len(token)}; remove the file: the next start makes another",
            path=path,
        )
    return token


def address_files(root: Path, port: int) -> tuple[Path, Path]:
    """Where the record of a running server is written: by port for its user, then in its root.

    In this order: who sees the record in the root may connect by address and find the other.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"))
    return state / "penult" / "servers" / f"{port}.json", root / "server.json"


def publish(record: ServerRecord, files: tuple[Path, Path]) -> None:
    """Let clients of the same user find the server.

    A user without a home that can be written to is told the address and the token instead.
    """
    content = json.dumps(asdict(record), indent=1).encode()
    by_port, in_root = files
    try:
        by_port.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        by_port.parent.chmod(PRIVATE_FOLDER)
        write_file(by_port, content, mode=PRIVATE_FILE)
    except OSError as error:
        log.warning("clients must be given the token (it is in %s): %s", in_root.parent / "token", error)
    write_file(in_root, content, mode=PRIVATE_FILE)


def withdraw(files: tuple[Path, Path]) -> None:
    """Take the record back, unless another server has replaced it by its own."""
    for path in files:
        try:
            if json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid():
                path.unlink()
        except (OSError, ValueError, KeyError):
            continue
