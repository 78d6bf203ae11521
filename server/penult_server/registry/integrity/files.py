"""A registry's file looked at, and mended, without a server: whatever its version, and also where it is damaged."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import RegistryUnavailable
from penult_server.registry.integrity import seals
from penult_server.registry.migrations import LAST_VERSION
from penult_server.registry.sql.sqlite_file import refusal, revision_of, version_of
from penult_server.registry.sql.triggers import NEWEST_NAME
from penult_server.registry.summaries import summary_row
from penult_server.registry.tables import PLACES, THINGS

TABLES_OF = {
    "checkpoints": ("checkpoint", "digest"),
    "datasets": ("dataset", "digest"),
    "features": ("feature_set", "digest"),
    "groupings": ("grouping", "digest"),
}
"""The table, and in it the column, that knows the things of a folder of the store."""


@contextmanager
def told() -> Generator[None, None, None]:
    """Raise RegistryUnavailable for whatever SQLite says, in its words."""
    try:
        yield
    except sqlite3.Error as error:
        meaning = refusal(error)
        raise RegistryUnavailable(meaning.kind if meaning else ErrorKind.STORE_CORRUPT, str(error)) from error


class RegistryFile:
    """A file that is open for reading alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.version = version_of(connection)
        self.has_seals = seals.has_seals(connection)

    def schema(self) -> str:
        """Its version, as messages call it."""
        return revision_of(self._connection) if self.version >= LAST_VERSION else str(self.version)

    def structure(self) -> list[str]:
        """What SQLite finds wrong."""
        return [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check") if row[0] != "ok"]

    def damaged_rows(self) -> list[seals.DamagedRow]:
        """Rows that are not what was written."""
        return list(seals.damaged_rows(self._connection))

    def n_sealed(self) -> int:
        """How many rows there are that have digests."""
        return int(self._connection.execute("SELECT count(*) FROM seal").fetchone()[0])

    def committed(self) -> int:
        """How many transactions it has."""
        return int(self._connection.execute("SELECT n FROM commit_count").fetchone()[0])

    def tables(self) -> set[str]:
        """What of `TABLES_OF` it has: one of an earlier version has not all of them."""
        there = {one.table for one in seals.tables_in(self._connection)}
        return {folder for folder, (table, _) in TABLES_OF.items() if table in there}

    def registered(self) -> dict[str, set[str]]:
        """Names of the things that it knows, by their folder; of runs also those of jobs."""
        known = {folder: self._names("SELECT {1} FROM {0}".format(*TABLES_OF[folder])) for folder in self.tables()}
        return known | {"runs": self._names("SELECT id FROM run UNION SELECT id FROM job")}

    def _names(self, query: str) -> set[str]:
        return {str(row[0]) for row in self._connection.execute(query)}


@contextmanager
def opened(path: Path) -> Generator[RegistryFile, None, None]:
    """A registry for reading alone. Raises RegistryUnavailable."""
    with told(), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        seals.install(connection)
        yield RegistryFile(connection)


def drop_damaged(path: Path) -> list[str]:
    """Forget the rows that are not what was written: a wrong number would be worse than none. Says which.

    Raises RegistryUnavailable.
    """
    with told(), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        seals.install(connection)
        if not version_of(connection):
            raise sqlite3.DatabaseError("it is empty")
        return _forgotten(connection) if seals.has_seals(connection) else []


def _forgotten(connection: sqlite3.Connection) -> list[str]:
    said: list[str] = []
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("BEGIN")
    # What is no JSON any more has no place in an index, from which it could not be taken either.
    there = {one.table for one in seals.tables_in(connection)}
    indexes = [f"{table}_by_{name}" for table in there & set(PLACES) for name in PLACES[table]]
    query = "SELECT sql FROM sqlite_master WHERE name = ?"
    made = [connection.execute(query, (one,)).fetchone()[0] for one in indexes]
    for one in indexes:
        connection.execute(f"DROP INDEX {one}")
    for row in list(seals.damaged_rows(connection)):
        said.append(f"forgotten: {row}")
        if row.table == "job":
            connection.execute("DELETE FROM job_event WHERE job = ?", (row.id,))
        id = seals.TABLES[row.table].id(row.table)
        connection.execute(f"DELETE FROM {row.table} WHERE {id} = ?", (row.id,))
    for sql in made:
        connection.execute(sql)
    _complete(connection)
    seals.seal_all(connection)
    connection.execute("COMMIT")
    return said


def _complete(connection: sqlite3.Connection) -> None:
    """Give things their cards again, and answers their summaries, where those were damaged."""
    there = {one.table for one in seals.tables_in(connection)}
    for kind, key in THINGS.items():
        if kind not in there:
            continue
        connection.execute(
            f"INSERT INTO card (kind, id, created) SELECT '{kind}', t.{key}, ? FROM {kind} t WHERE NOT EXISTS "
            f"(SELECT 1 FROM card c WHERE c.kind = '{kind}' AND c.id = t.{key})",
            (time.time(),),
        )
    connection.execute(NEWEST_NAME)
    query = "SELECT digest, kind, message FROM result WHERE digest NOT IN (SELECT digest FROM summary)"
    for digest, kind, message in connection.execute(query).fetchall():
        connection.execute("INSERT INTO summary VALUES (?, ?, ?, ?, ?)", summary_row(digest, kind, bytes(message)))
