"""The registry in a file of SQLite: how it is opened, what makes a commit last, and what its errors mean."""

import os
import sqlite3
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from penult_proto.errors import ErrorKind
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.machine.disks import FAILED, FULL, OUT_OF_MEMORY, Meaning, refusal_of_disk
from penult_server.registry.integrity import seals
from penult_server.registry.integrity.commits import CommitCount
from penult_server.registry.integrity.missing import check_not_lost
from penult_server.registry.integrity.place import check_is_file
from penult_server.registry.migrations import HEAD, LAST_VERSION, check_known, run_migrations
from penult_server.registry.sql.backend import atomic
from penult_server.registry.sql.schema import new_schema, statements
from penult_server.registry.tables import of_file
from penult_server.stores.disk.reserve import free_bytes

SMALL_BYTES = 2**26
"""Size up to which a registry is checked with its indexes when it is opened."""
PAGE_BYTES = 2**16
"""Bytes that SQLite takes for its log when it opens a file."""
MOST_PATH_BYTES = 500
"""Length of a path that SQLite opens."""
DAMAGED = (
    "the registry is damaged ({why}); stop the server, then `penult store verify` names what is, and `penult store "
    "repair` mends it"
)
_BY_CODE: dict[int, Meaning] = {
    sqlite3.SQLITE_FULL: FULL,
    **dict.fromkeys(
        (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM), FAILED
    ),
    **dict.fromkeys((sqlite3.SQLITE_TOOBIG,), (ErrorKind.TOO_LARGE, "a text or an answer is too large ({why})")),
    **dict.fromkeys(
        (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
        (ErrorKind.BUSY, "another program holds the registry ({why}); end it, or ask again"),
    ),
    sqlite3.SQLITE_NOMEM: OUT_OF_MEMORY,
}
"""What the primary codes of SQLite mean."""


class SqliteFile:
    """One connection to a file. To be used from one thread."""

    has_seals = True
    begin = "BEGIN IMMEDIATE"

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises ServiceError: VERSION_MISMATCH when a newer penult wrote it, STORE_CORRUPT when it is not
        a registry, has lost commits, or is missing or empty beside what it ought to know; and what a disk refuses.
        """
        self.path, self.place = path, str(path)
        check_is_file(path.parent, "give it by --registry, or by PENULT_REGISTRY")
        check_not_lost(path)
        try:
            self.driver = sqlite3.connect(path, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise ServiceError(
                ErrorKind.DISK_FAILED,
                f"{path} cannot be opened ({error}): it must be a file that this user can read and write, and its path "
                f"may have about {MOST_PATH_BYTES} bytes (this one has {len(os.fsencode(path))})",
            ) from error
        seals.install(self.driver)
        self._commits: CommitCount | None = None
        commits = CommitCount(path)
        try:
            self._open(commits)
        except BaseException as error:
            commits.close()
            self.driver.close()
            # A damaged file has texts that are none, in what it says of itself, too, and columns without a number.
            if isinstance(error, sqlite3.DatabaseError | DBAPIError | ValueError | TypeError):
                raise self._unusable(error) from error
            raise
        self._commits = commits

    def _open(self, commits: CommitCount) -> None:
        # FULL: a commit that has returned survives a power cut, also in WAL mode.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            self.driver.execute(f"PRAGMA {pragma}")
        # Transactions are opened and committed by `atomic`, and by nothing else.
        engine = create_engine(
            "sqlite://",
            creator=lambda: self.driver,
            poolclass=StaticPool,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
        )
        self.connection = engine.connect()
        # SQLAlchemy's notion of one, which says nothing to the driver: alembic then leaves it alone.
        self.connection.begin()
        self._migrate()
        # Read before what it is compared with: another process may commit in between.
        noted = commits.read()
        committed = int(self.driver.execute("SELECT n FROM commit_count").fetchone()[0])
        seals.watch(self.driver)
        commits.check(noted, committed)

    def _unusable(self, error: BaseException) -> ServiceError:
        """Why a file cannot be opened."""
        said = _own(error)
        if free_bytes(self.path.parent) < PAGE_BYTES:
            return ServiceError(
                ErrorKind.DISK_FULL, f"{self.path} cannot be opened, for its disk is full ({said}): free some space"
            )
        meaning = self.meaning(error)
        if isinstance(meaning, RegistryUnavailable) and (refusal := refusal_of_disk(meaning)) is not None:
            return refusal
        return ServiceError(
            ErrorKind.STORE_CORRUPT,
            f"{self.path} is not a usable registry ({said}); restore a backup (`penult store restore`), or rebuild it "
            "from the manifests by `penult store repair`",
        )

    def _migrate(self) -> None:
        version = version_of(self.driver)
        if version == 0:
            check_not_lost(self.path, is_empty=True)
            with atomic(self):
                for statement in (*_statements_of_file(), *new_schema(self.connection)):
                    self.driver.execute(statement)
                self.driver.execute("INSERT INTO commit_count VALUES (1, 0)")
                self.driver.execute(f"PRAGMA user_version = {LAST_VERSION}")
            return
        head = revision_of(self.driver) if version >= LAST_VERSION else None
        check_known(self.place, version, head)
        if head == HEAD:
            return
        with atomic(self):
            if seals.has_seals(self.driver) and (row := next(seals.damaged_rows(self.driver), None)):
                raise seals.altered(row.table, row.id)  # a new digest would hide it
            run_migrations(self.connection, self.driver, version)
            seals.seal_all(self.driver)

    def prepare(self) -> None:
        """A file is not lost."""

    def is_open(self) -> bool:
        """Whether a transaction is open."""
        return self.driver.in_transaction

    def before_commit(self) -> object:
        """Count the transaction, within it."""
        if self._commits is None:
            return None
        return self.driver.execute("UPDATE commit_count SET n = n + 1 RETURNING n").fetchone()[0]

    def after_commit(self, mark: object) -> None:
        """Note beside the file that there was one more."""
        if self._commits and isinstance(mark, int):
            self._commits.write(mark)

    def was_committed(self, error: BaseException, mark: object) -> bool:
        """A COMMIT that fails is none."""
        return False

    def meaning(self, error: BaseException) -> Exception | None:
        """What to raise in place of an error of SQLite."""
        own = _own(error)
        if not isinstance(own, sqlite3.Error):
            return None
        if isinstance(own, sqlite3.DatabaseError) and seals.is_damage(own):
            return ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"{self.path} is damaged ({own}); stop the server and restore a backup (`penult store restore`), or "
                "rebuild it by `penult store repair`",
            )
        return refusal(own)

    def structure(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        size = self.path.stat().st_size
        pragma = "integrity_check" if size <= SMALL_BYTES else "quick_check"
        return [row[0] for row in self.driver.execute(f"PRAGMA {pragma}") if row[0] != "ok"]

    def version(self) -> str:
        """Another text whenever another process has written to the file."""
        return str(self.driver.execute("PRAGMA data_version").fetchone()[0])

    def claim(self) -> bool:
        """Who holds the root's lock serves the file."""
        return True

    def close(self) -> None:
        """Close the file; everything committed is on disk already."""
        self.connection.close()
        self.driver.close()
        if self._commits:
            self._commits.close()
            self._commits = None


def refusal(error: sqlite3.Error) -> RegistryUnavailable | None:
    """What SQLite says of its disk, or of another that holds the file; None for a mistake of ours."""
    code = getattr(error, "sqlite_errorcode", None)
    meaning = _BY_CODE.get(code & 0xFF) if isinstance(code, int) else None
    if seals.is_damage(error):
        meaning = (ErrorKind.STORE_CORRUPT, DAMAGED)
    return RegistryUnavailable(meaning[0], meaning[1].format(why=error)) if meaning else None


def version_of(driver: sqlite3.Connection) -> int:
    """The number by which versions before alembic count, and one more since."""
    return int(driver.execute("PRAGMA user_version").fetchone()[0])


def revision_of(driver: sqlite3.Connection) -> str:
    """The revision of a registry since alembic."""
    row = driver.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def _own(error: BaseException) -> BaseException:
    """SQLite's error within SQLAlchemy's."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


@cache
def _statements_of_file() -> tuple[str, ...]:
    return statements(of_file, sqlite.dialect())
