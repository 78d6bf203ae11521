"""What an exception that is not ours stands for: the machine's limits, or a bug."""

import errno
import sqlite3

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.status import as_service_error


def translate(error: BaseException) -> ServiceError:
    """The ServiceError to answer with; bugs are logged with their trace.

    The frameworks' own memory errors are known by their names, so that none has to be imported here.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ServiceError(
            ErrorKind.OUT_OF_MEMORY, f"not enough memory ({error}); ask for less, or use another machine"
        )
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_full or (isinstance(error, sqlite3.OperationalError) and "full" in str(error)):
        return ServiceError(ErrorKind.DISK_FULL, "the server's disk is full; nothing was stored, free some space")
    return as_service_error(error)
