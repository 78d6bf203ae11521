"""What a disk, or a limit of the system, has refused: each a kind of error of its own."""

import errno
import os
import re
from typing import TypeAlias

from penult_proto.errors import ErrorKind
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.machine.causes import chain

Meaning: TypeAlias = tuple[ErrorKind, str]
"""A kind, and what is said."""
FULL = (ErrorKind.DISK_FULL, "the server's disk is full; nothing was stored, free some space")
FAILED = (
    ErrorKind.DISK_FAILED,
    "the server's disk failed ({why}); nothing was stored, and what was stored before is not changed: see to the disk, "
    "then ask again",
)
TOO_LARGE = (
    ErrorKind.TOO_LARGE,
    "a file would be larger than the server's file system or its limits allow ({why}): ask for less",
)
BUSY = (ErrorKind.BUSY, "the server has too many files open ({why}); ask again, or raise its limit (ulimit -n)")
OUT_OF_MEMORY = (ErrorKind.OUT_OF_MEMORY, "not enough memory ({why}); ask for less, or use another machine")

# By their names, for not every system has all of them.
_BY_NAME: tuple[tuple[Meaning, tuple[str, ...]], ...] = (
    (FULL, ("ENOSPC", "EDQUOT")),
    (FAILED, ("EIO", "EROFS", "EREMOTEIO", "ESTALE", "ENXIO", "ENODEV", "ENOTCONN", "EUCLEAN", "ESHUTDOWN")),
    (TOO_LARGE, ("EFBIG",)),
    (BUSY, ("EMFILE", "ENFILE")),
    (OUT_OF_MEMORY, ("ENOMEM",)),
)
_BY_NUMBER: dict[int, Meaning] = {
    getattr(errno, name): meaning for meaning, names in _BY_NAME for name in names if hasattr(errno, name)
}
"""What numbers of the system's errors mean, wherever they come from. Others depend on what was asked of the system."""
# safetensors says the number in words alone.
_RUST = re.compile(r"Os \{ code: (\d+)|\(os error (\d+)\)")


def refusal_of_disk(error: BaseException) -> ServiceError | None:
    """The error to answer with when a disk or a limit of the system lies behind `error`; None when none does.

    What `error` was raised from counts, too: libraries wrap what the system said.
    """
    for one in chain(error):
        found = _meaning(one)
        if found is not None:
            kind, message = found
            return ServiceError(kind, message.format(why=_said(one)))
    return None


def is_of_disk(error: BaseException) -> bool:
    """Whether a disk or a limit of the system lies behind it, not what a file holds: it is no sign of damage."""
    return refusal_of_disk(error) is not None


def _meaning(error: BaseException) -> Meaning | None:
    if isinstance(error, RegistryUnavailable):
        return error.kind, error.message.replace("{", "{{").replace("}", "}}")
    return _BY_NUMBER.get(_number(error) or 0)


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    if type(error).__name__ == "SafetensorError" and (found := _RUST.search(str(error))):
        return int(found[1] or found[2])
    return None


def _said(error: BaseException) -> str:
    number = _number(error)
    return os.strerror(number) if number else str(error)
