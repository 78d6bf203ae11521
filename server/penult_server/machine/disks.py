"""What a disk, or a limit of the system, has refused: each a kind of error of its own."""

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from typing import TypeAlias

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

Meaning: TypeAlias = tuple[ErrorKind, str]
"""A kind, and what is said."""
_FULL = (ErrorKind.DISK_FULL, "the server's disk is full; nothing was stored, free some space")
_FAILED = (
    ErrorKind.DISK_FAILED,
    "the server's disk failed ({why}); nothing was stored, and what was stored before is not changed: see to the disk, "
    "then ask again",
)
_TOO_LARGE = (
    ErrorKind.TOO_LARGE,
    "a file would be larger than the server's file system or its limits allow ({why}): ask for less",
)
_BUSY = (ErrorKind.BUSY, "the server has too many files open ({why}); ask again, or raise its limit (ulimit -n)")
REGISTRY_DAMAGED = (
    "the registry is damaged ({why}); stop the server, then `penult store verify` names what is, and `penult store "
    "repair` mends it"
)
_OUT_OF_MEMORY = (ErrorKind.OUT_OF_MEMORY, "not enough memory ({why}); ask for less, or use another machine")

# By their names, for not every system has all of them.
_BY_NAME: tuple[tuple[Meaning, tuple[str, ...]], ...] = (
    (_FULL, ("ENOSPC", "EDQUOT")),
    (_FAILED, ("EIO", "EROFS", "EREMOTEIO", "ESTALE", "ENXIO", "ENODEV", "ENOTCONN", "EUCLEAN", "ESHUTDOWN")),
    (_TOO_LARGE, ("EFBIG",)),
    (_BUSY, ("EMFILE", "ENFILE")),
    (_OUT_OF_MEMORY, ("ENOMEM",)),
)
_BY_NUMBER: dict[int, Meaning] = {
    getattr(errno, name): meaning for meaning, names in _BY_NAME for name in names if hasattr(errno, name)
}
"""What numbers of the system's errors mean, wherever they come from. Others depend on what was asked of the system."""
_BY_SQLITE: dict[int, Meaning] = {
    sqlite3.SQLITE_FULL: _FULL,
    **dict.fromkeys(
        (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM), _FAILED
    ),
    **dict.fromkeys((sqlite3.SQLITE_TOOBIG,), (ErrorKind.TOO_LARGE, "a text or an answer is too large ({why})")),
    **dict.fromkeys(
        (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
        (ErrorKind.BUSY, "another program holds the registry ({why}); end it, or ask again"),
    ),
    sqlite3.SQLITE_NOMEM: _OUT_OF_MEMORY,
    **dict.fromkeys(
        (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
        (ErrorKind.STORE_CORRUPT, REGISTRY_DAMAGED),
    ),
}
"""What the primary codes of SQLite mean."""
# safetensors says the number in words alone.
_RUST = re.compile(r"Os \{ code: (\d+)|\(os error (\d+)\)")


def refusal_of_disk(error: BaseException) -> ServiceError | None:
    """The error to answer with when a disk or a limit of the system lies behind `error`; None when none does.

    What `error` was raised from counts, too: libraries wrap what the system said.
    """
    for one in _chain(error):
        found = _meaning(one)
        if found is not None:
            kind, message = found
            return ServiceError(kind, message.format(why=_said(one)))
    return None


def is_of_disk(error: BaseException) -> bool:
    """Whether a disk or a limit of the system lies behind it, not what a file holds: it is no sign of damage."""
    return refusal_of_disk(error) is not None


def _meaning(error: BaseException) -> Meaning | None:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return _BY_SQLITE.get(code & 0xFF) if isinstance(code, int) else None
    return _BY_NUMBER.get(_number(error) or 0)


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    if type(error).__name__ == "SafetensorError" and (found := _RUST.search(str(error))):
        return int(found[1] or found[2])
    return None


def _said(error: BaseException) -> str:
    number = None if isinstance(error, sqlite3.Error) else _number(error)
    return os.strerror(number) if number else str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    seen: set[int] = set()
    next_one: BaseException | None = error
    while next_one is not None and id(next_one) not in seen:
        seen.add(id(next_one))
        yield next_one
        next_one = next_one.__cause__ or next_one.__context__
