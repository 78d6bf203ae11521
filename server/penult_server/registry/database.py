"""The SQLite file: its schema, and transactions that survive a power cut once they have returned."""

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.machine.disks import refusal_of_disk
from penult_server.registry.integrity import seals
from penult_server.registry.integrity.commits import CommitCount
from penult_server.registry.integrity.missing import check_not_lost
from penult_server.registry.schema import MIGRATIONS
from penult_server.stores.disk.reserve import free_bytes

SCHEMA_VERSION = len(MIGRATIONS)
SMALL_BYTES = 2**26
"""Size up to which a registry is checked with its indexes when it is opened."""
PAGE_BYTES = 2**16
"""Bytes that SQLite takes for its log when it opens a file."""
MOST_PATH_BYTES = 500
"""Length of a path that SQLite opens."""


class Database:
    """One connection. To be used from one thread."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises ServiceError: VERSION_MISMATCH when a newer penult wrote it, STORE_CORRUPT when it is not
        a registry, has lost commits, or is missing or empty beside what it ought to know; and what a disk refuses.
        """
        self.is_closed = False
        check_not_lost(path)
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise ServiceError(
                ErrorKind.DISK_FAILED,
                f"{path} cannot be opened ({error}): it must be a file that this user can read and write, and its path "
                f"may have about {MOST_PATH_BYTES} bytes (this one has {len(os.fsencode(path))})",
            ) from error
        seals.install(self._connection)
        self.path = path
        self._commits: CommitCount | None = None
        commits = CommitCount(path)
        try:
            # FULL: a commit that has returned survives a power cut, also in WAL mode.
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate(path)
            # Read before what it is compared with: another process may commit in between.
            noted = commits.read()
            committed = int(self._connection.execute("SELECT n FROM commit_count").fetchone()[0])
            seals.watch(self._connection)
            commits.check(noted, committed)
        except ServiceError:
            commits.close()
            self._connection.close()
            raise
        # A damaged file has texts that are none, in what it says of itself, too, and columns without a number.
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            commits.close()
            self._connection.close()
            if free_bytes(path.parent) < PAGE_BYTES:
                raise ServiceError(
                    ErrorKind.DISK_FULL, f"{path} cannot be opened, for its disk is full ({error}): free some space"
                ) from error
            if (of_disk := refusal_of_disk(error)) is not None and of_disk.kind != ErrorKind.STORE_CORRUPT:
                raise of_disk from error
            raise ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"{path} is not a usable registry ({error}); restore a backup (`penult store restore`), or rebuild it "
                "from the manifests by `penult store repair`",
            ) from error
        self._commits = commits

    def close(self) -> None:
        """Close the file; everything committed is on disk already."""
        self._connection.close()
        self.is_closed = True
        if self._commits:
            self._commits.close()
            self._commits = None

    @property
    def n_changes(self) -> int:
        """Rows that were written so far."""
        return self._connection.total_changes

    def check_writable(self) -> None:
        """Commit what changes nothing: the number of the schema, once more. Raises sqlite3.Error."""
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {int(version)}")

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection, None, None]:
        """All of the block or nothing of it."""
        self._connection.execute("BEGIN IMMEDIATE")
        count: int | None = None
        try:
            yield self._connection
            if self._commits:
                (count,) = self._connection.execute("UPDATE commit_count SET n = n + 1 RETURNING n").fetchone()
            self._connection.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        if self._commits and count is not None:
            self._commits.write(count)

    def checked(
        self, table: str, rest: str, *values: object, columns: tuple[str, ...] = ("message",)
    ) -> list[tuple[Any, ...]]:
        """Columns of the rows `t` of a table that the clauses `rest` choose, compared with their digests.

        Raises ServiceError (STORE_CORRUPT), naming a row that is not what was written.
        """
        intact, join = seals.joined(table)
        wanted = ", ".join(f"t.{column}" for column in columns)
        found: list[tuple[Any, ...]] = []
        for *row, id, is_intact in self.rows(f"SELECT {wanted}, {intact} FROM {table} t {join} {rest}", *values):
            if not is_intact:
                raise seals.altered(table, id)
            found.append(tuple(row))
        return found

    def damaged_rows(self, tables: tuple[str, ...]) -> list[seals.DamagedRow]:
        """Rows of some tables that are not what was written."""
        return list(seals.damaged_rows(self._connection, tables))

    def structure(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        size = self.path.stat().st_size
        pragma = "integrity_check" if size <= SMALL_BYTES else "quick_check"
        return [row[0] for row in self.rows(f"PRAGMA {pragma}") if row[0] != "ok"]

    def rows(self, query: str, *values: object) -> list[tuple[str, ...]]:
        """The rows of a query. Raises ServiceError (STORE_CORRUPT) where the file itself is damaged."""
        with self._told():
            return self._connection.execute(query, values).fetchall()

    def iterate(self, query: str, *values: object) -> Iterator[tuple[str, ...]]:
        """The rows of a query, each read when it is wanted."""
        with self._told():
            yield from self._connection.execute(query, values)

    @contextmanager
    def _told(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not seals.is_damage(error):
                raise
            raise ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"{self.path} is damaged ({error}); stop the server and restore a backup (`penult store restore`), or "
                "rebuild it by `penult store repair`",
            ) from error

    def _migrate(self, path: Path) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            self._connection.close()
            raise ServiceError(
                ErrorKind.VERSION_MISMATCH,
                f"{path} has schema {version}, this server knows up to {SCHEMA_VERSION}: upgrade the server",
            )
        if version == 0:
            check_not_lost(path, is_empty=True)
        if version < SCHEMA_VERSION:
            with self.transaction() as connection:
                if seals.has_seals(connection) and (row := next(seals.damaged_rows(connection), None)):
                    raise seals.altered(row.table, row.id)  # a new digest would hide it
                for step in MIGRATIONS[version:]:
                    step(connection)
                seals.seal_all(connection)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
