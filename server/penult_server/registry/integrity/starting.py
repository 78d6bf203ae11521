"""What a start looks at: the structure of the file, and the digest of every row but those of answers."""

import logging

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.registry.database import Database
from penult_server.registry.integrity.seals import TABLES

AT_START = tuple(table for table in TABLES if table not in ("result", "job_event"))
"""Answers and events may be gigabytes: they are checked when they are read."""
MOST_LOGGED = 20
log = logging.getLogger("penult.store")


def check_whole(database: Database) -> None:
    """Raise ServiceError (STORE_CORRUPT) for a damaged file; name damaged rows in the log: reading them is refused."""
    if wrong := database.structure():
        raise ServiceError(
            ErrorKind.STORE_CORRUPT,
            f"the registry {database.place} is damaged ({wrong[0].splitlines()[0]}, {len(wrong)} findings): restore a "
            "backup (`penult store restore`), or rebuild it by `penult store repair`",
        )
    damaged = database.damaged_rows(AT_START)
    for row in damaged[:MOST_LOGGED]:
        log.error("%s", row)
    if damaged:
        log.error("%d rows of the registry are damaged; `penult store repair` mends what can be mended", len(damaged))
