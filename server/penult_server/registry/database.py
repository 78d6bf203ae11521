"""The registry's database: transactions that survive a power cut once they have returned, and checked rows."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Executable, Select, Table, bindparam, select, update

from penult_server.registry.integrity import seals
from penult_server.registry.sql.backend import Backend, atomic
from penult_server.registry.sql.sqlite_file import SqliteFile
from penult_server.registry.tables import seal, version

Query: TypeAlias = "Select[*tuple[Any, ...]]"


class Database:
    """One connection, to a file of SQLite or to a PostgreSQL server. To be used from one thread."""

    def __init__(self, where: Path | str) -> None:
        """Open or create the file at a path, or the registry at a URL ("postgresql://...").

        Raises ServiceError: VERSION_MISMATCH when a newer penult wrote it, STORE_CORRUPT when it is not
        a registry, has lost commits, or is missing or empty beside what it ought to know; and what a disk refuses.
        """
        self.is_closed = False
        self.n_transactions = 0
        """Transactions so far."""
        self._is_within = False
        self._backend: Backend = SqliteFile(where) if isinstance(where, Path) else _at(where)
        self.place = self._backend.place

    @property
    def connection(self) -> Connection:
        """The connection, outside of any transaction."""
        return self._backend.connection

    @property
    def is_file(self) -> bool:
        """Whether it is a file of this machine, which its server has to itself."""
        return isinstance(self._backend, SqliteFile)

    def close(self) -> None:
        """Disconnect; everything committed is on disk already."""
        self._backend.close()
        self.is_closed = True

    def claim(self) -> bool:
        """Become the one server of this registry, until the connection is lost; false while another one is."""
        with self._told():
            return self._backend.claim()

    def tokens_version(self) -> str:
        """Another text whenever another process has given or ended a token."""
        with self._told():
            return self._backend.version()

    def check_writable(self) -> None:
        """Commit what changes nothing: the revision, once more. Raises RegistryUnavailable."""
        with self.transaction() as connection:
            connection.execute(update(version).values(version_num=version.c.version_num))

    @contextmanager
    def transaction(self) -> Generator[Connection, None, None]:
        """All of the block or nothing of it. Raises RegistryUnavailable where the database refuses."""
        with self._told(), atomic(self._backend) as connection:
            self.n_transactions += 1
            self._is_within = True
            try:
                yield connection
            finally:
                self._is_within = False

    def rows(self, statement: Executable, values: Mapping[str, object] | None = None) -> list[Any]:
        """The rows of a query. Raises ServiceError (STORE_CORRUPT) where the database itself is damaged."""
        with self._told():
            return list(self._backend.connection.execute(statement, values))

    def iterate(self, statement: Executable) -> Iterator[Any]:
        """The rows of a query, each read when it is wanted."""
        with self._told():
            yield from self._backend.connection.execute(statement)

    def has(self, table: Table, **keys: object) -> bool:
        """Whether there is a row whose columns have these values."""
        return bool(self.rows(_having(table, tuple(keys)), keys))

    def checked(self, table: Table, *columns: str, locked: bool = False, **keys: object) -> list[Any]:
        """Columns of the rows whose columns have these values, compared with their digests.

        `locked`: nobody else may change them until the transaction that is open has ended. Raises ServiceError
        (STORE_CORRUPT), naming a row that is not what was written.
        """
        statement = _looking(table, columns, tuple(keys), locked, self._backend.has_seals)
        return self._intact(table, self.rows(statement, keys))

    def checked_rows(self, table: Table, statement: Query) -> list[Any]:
        """As `checked`, of a query about the rows of a table, such as `select(job.c.id).where(...)`."""
        return self._intact(table, self.rows(self.checking(table, statement)))

    def checking(self, table: Table, statement: Query) -> Query:
        """A query whose rows end with what `intact` needs, where rows have digests."""
        return _with_check(table, statement) if self._backend.has_seals else statement

    def intact(self, table: Table, row: Any) -> Any:
        """The row of a query of `checking`. Raises ServiceError (STORE_CORRUPT) when it was altered."""
        if not self.is_intact(row):
            raise seals.altered(table.name, row[-2])
        return row

    def is_intact(self, row: Any) -> bool:
        """Whether the row of a query of `checking` is what was written, as far as that is known."""
        return not self._backend.has_seals or bool(row[-1])

    def damaged_rows(self, tables: tuple[str, ...]) -> list[seals.DamagedRow]:
        """Rows of some tables that are not what was written; none where rows have no digests."""
        return list(seals.damaged_rows(self._backend.driver, tables)) if self._backend.has_seals else []

    def structure(self) -> list[str]:
        """What the database itself finds wrong with its files."""
        with self._told():
            return self._backend.structure()

    def _intact(self, table: Table, rows: Iterable[Any]) -> list[Any]:
        return [self.intact(table, row) for row in rows]

    @contextmanager
    def _told(self) -> Generator[None, None, None]:
        """Say what an error of the database means; a mistake of ours stays what it is."""
        try:
            if not self._is_within:  # a transaction does not outlive its connection
                self._backend.prepare()
            yield
        except Exception as error:
            if (meaning := self._backend.meaning(error)) is None:
                raise
            raise meaning from error


@cache
def _having(table: Table, keys: tuple[str, ...]) -> Query:
    return select(table.c[keys[0]]).where(*(table.c[key] == bindparam(key) for key in keys)).limit(1)


@cache
def _looking(table: Table, columns: tuple[str, ...], keys: tuple[str, ...], locked: bool, has_seals: bool) -> Query:
    """A query that is made once: making one takes longer than asking it."""
    wanted: list[ColumnElement[Any]] = [table.c[column] for column in columns or ("message",)]
    statement = select(*wanted).where(*(table.c[key] == bindparam(key) for key in keys))
    statement = statement.with_for_update(of=table) if locked else statement
    return _with_check(table, statement) if has_seals else statement


def _with_check(table: Table, statement: Query) -> Query:
    check = seals.check_of(table.name)
    return statement.add_columns(check.id, check.is_intact).outerjoin_from(table, seal, check.join)


def _at(url: str) -> Backend:
    # Its driver is an extra, and takes a fifth of a second to load.
    from penult_server.registry.sql.postgres import PostgresServer

    return PostgresServer(url)
