"""The SQLite file: its schema, and transactions that survive a power cut once they have returned."""

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.machine.disks import refusal_of_disk
from penult_server.registry.schema import MIGRATIONS

SCHEMA_VERSION = len(MIGRATIONS)
MOST_PATH_BYTES = 500
"""Length of a path that SQLite opens."""


class Database:
    """One connection. To be used from one thread."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises ServiceError: VERSION_MISMATCH when a newer penult wrote it, STORE_CORRUPT when it is not
        a registry, and what a disk refuses.
        """
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise ServiceError(
                ErrorKind.DISK_FAILED,
                f"{path} cannot be opened ({error}): it must be a file that this user can read and write, and its path "
                f"may have about {MOST_PATH_BYTES} bytes (this one has {len(os.fsencode(path))})",
            ) from error
        try:
            # FULL: a commit that has returned survives a power cut, also in WAL mode.
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate(path)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if (of_disk := refusal_of_disk(error)) is not None and of_disk.kind != ErrorKind.STORE_CORRUPT:
                raise of_disk from error
            raise ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"{path} is not a usable registry ({error}); restore it from a backup",
            ) from error

    def close(self) -> None:
        """Close the file; everything committed is on disk already."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection, None, None]:
        """All of the block or nothing of it."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def rows(self, query: str, *values: object) -> list[tuple[str, ...]]:
        """The rows of a query."""
        return self._connection.execute(query, values).fetchall()

    def iterate(self, query: str, *values: object) -> Iterator[tuple[str, ...]]:
        """The rows of a query, each read when it is wanted."""
        return iter(self._connection.execute(query, values))

    def _migrate(self, path: Path) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            self._connection.close()
            raise ServiceError(
                ErrorKind.VERSION_MISMATCH,
                f"{path} has schema {version}, this server knows up to {SCHEMA_VERSION}: upgrade the server",
            )
        if version < SCHEMA_VERSION:
            with self.transaction() as connection:
                for step in MIGRATIONS[version:]:
                    step(connection)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
