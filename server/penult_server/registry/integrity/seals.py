"""A digest for each row: what was changed behind the server's back, by whatever, is told and never used.

SQLite notices a page whose structure is broken, not a bit within a value. The table `seal` keeps a sha256 over the
columns of every row that decides something. Triggers of the server's own connection keep it up to date; they are
temporary, so that the file itself knows nothing of them and an edit with another program leaves the old digest.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from sqlalchemy import Boolean, ColumnElement, Text, and_, literal_column

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.registry.tables import seal

NUMBERS = frozenset({"created", "given", "deaths", "seq", "expires", "revoked", "token"})


@dataclass(frozen=True, slots=True)
class Sealed:
    """A table whose rows have digests."""

    table: str
    word: str
    """What messages call one of its things."""
    key: tuple[str, ...]
    """Columns that identify a row."""
    columns: tuple[str, ...]
    """Columns that the digest is about."""

    def id(self, row: str) -> str:
        """SQL for what `seal` calls a row; `row` is an alias of the table, or NEW or OLD."""
        return " || '/' || ".join(f"{row}.{column}" for column in self.key)

    def digest(self, row: str) -> str:
        """SQL for the digest of a row. Texts as bytes, which any content has, a damaged one too."""
        values = (
            f"{row}.{column}" if column in NUMBERS else f"CAST({row}.{column} AS BLOB)" for column in self.columns
        )
        return f"penult_seal('{self.table}', {', '.join(values)})"


TABLES = {
    one.table: one
    for one in (
        Sealed(
            "job",
            "job",
            ("id",),
            ("id", "spec_digest", "request_id", "state", "created", "deaths", "token", "message"),
        ),
        Sealed("job_event", "event of job", ("job", "seq"), ("job", "seq", "kind", "message")),
        Sealed("dataset", "dataset", ("name",), ("name", "digest", "message")),
        Sealed("checkpoint", "checkpoint", ("digest",), ("digest", "message")),
        Sealed("run", "run", ("id",), ("id", "created", "message")),
        Sealed("feature_set", "feature set", ("digest",), ("digest", "created", "message")),
        Sealed("grouping", "grouping", ("digest",), ("digest", "created", "message")),
        Sealed("result", "answer", ("digest",), ("digest", "kind", "created", "message")),
        Sealed("summary", "summary of answer", ("digest",), ("digest", "kind", "feature_set", "second_set", "message")),
        Sealed("card", "card of", ("kind", "id"), ("kind", "id", "name", "tags", "note", "user", "created")),
        Sealed("name", "name", ("kind", "name"), ("kind", "name", "id", "given")),
        Sealed("token", "token", ("id",), ("id", "name", "sha256", "user", "role", "created", "expires", "revoked")),
    )
}
"""Tables by their names."""


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row that is not what was written."""

    table: str
    id: str
    what: str
    """ "altered", "missing" or "unknown": there without a digest."""

    def __str__(self) -> str:
        return f"{TABLES[self.table].word} {self.id} in the registry is {self.what}"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that what is stored is damaged: its pages, or a message that is no JSON any more."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "malformed" in str(error)


def install(connection: sqlite3.Connection) -> None:
    """Teach a connection the function that the digests are made by, and to read what is damaged, so that it is told."""
    connection.text_factory = _text
    connection.create_function("penult_seal", -1, _seal, deterministic=True)


def _text(content: bytes) -> str:
    """Bytes that are no UTF-8 are kept as they are."""
    return content.decode(errors="surrogateescape")


def _seal(*values: object) -> str:
    total = hashlib.sha256()
    for value in values:
        content = value if isinstance(value, bytes) else repr(value).encode()
        total.update(b"%s %d:" % (type(value).__name__.encode(), len(content)))
        total.update(content)
    return total.hexdigest()


def has_seals(connection: sqlite3.Connection) -> bool:
    """Whether the registry is of a version that has digests."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'seal'").fetchone() is not None


def watch(connection: sqlite3.Connection) -> None:
    """Keep the digests up to date with everything that this connection writes."""
    for one in TABLES.values():
        gone = f"DELETE FROM seal WHERE of_table = '{one.table}' AND of_row = {one.id('OLD')}; "
        # Deleted first: within a statement OR IGNORE, an insertion would be ignored, too.
        made = (
            f"DELETE FROM seal WHERE of_table = '{one.table}' AND of_row = {one.id('NEW')}; "
            f"INSERT INTO seal VALUES ('{one.table}', {one.id('NEW')}, {one.digest('NEW')}); "
        )
        for event, does in (("INSERT", made), ("UPDATE", gone + made), ("DELETE", gone)):
            connection.execute(
                f"CREATE TEMP TRIGGER seal_{one.table}_{event} AFTER {event} ON main.{one.table} BEGIN {does}END"
            )


def tables_in(connection: sqlite3.Connection) -> list[Sealed]:
    """The tables that a registry has, with the columns that they have there: one of an earlier version has not all."""
    there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    found: list[Sealed] = []
    for one in TABLES.values():
        if one.table in there:
            columns = {row[1] for row in connection.execute(f"PRAGMA table_xinfo({one.table})")}
            found.append(replace(one, columns=tuple(column for column in one.columns if column in columns)))
    return found


def seal_all(connection: sqlite3.Connection) -> None:
    """Give every row a digest, within the transaction that is open: when a version has changed them."""
    connection.execute("DELETE FROM seal")
    for one in tables_in(connection):
        rows = f"SELECT '{one.table}', {one.id('t')}, {one.digest('t')} FROM {one.table} t"
        connection.execute(f"INSERT INTO seal {rows}")


@dataclass(frozen=True, slots=True)
class Check:
    """What a statement about a table needs to say of each row whether it is what was written."""

    id: ColumnElement[str]
    is_intact: ColumnElement[bool]
    join: ColumnElement[bool]
    """The condition of the outer join with `seal`."""


@cache
def check_of(table: str) -> Check:
    """The check of a table's rows, called by the table's own name."""
    one = TABLES[table]
    id = one.id(table)
    return Check(
        id=literal_column(id, Text()).label("sealed_row"),
        is_intact=literal_column(f"{one.digest(table)} IS seal.sealed", Boolean()).label("is_intact"),
        join=and_(seal.c.of_table == literal_column(f"'{table}'"), seal.c.of_row == literal_column(id)),
    )


def altered(table: str, id: str) -> ServiceError:
    """The error for a row that is not what was written."""
    is_answer = table in ("result", "summary")
    mend = "delete it and ask again" if is_answer else "stop the server and run `penult store repair`"
    return ServiceError(
        ErrorKind.STORE_CORRUPT,
        f"{DamagedRow(table, id, 'altered')}: it is not what the server wrote, and is not used; {mend}, or restore a "
        "backup; `penult store verify` names all that is damaged",
        table=table,
        id=id,
    )


def damaged_rows(connection: sqlite3.Connection, tables: tuple[str, ...] = tuple(TABLES)) -> Iterator[DamagedRow]:
    """Rows that are altered or unknown, and those that are missing."""
    for one in tables_in(connection):
        table = one.table
        if table not in tables:
            continue
        join = f"LEFT JOIN seal s ON s.of_table = '{table}' AND s.of_row = {one.id('t')}"
        query = f"SELECT {one.id('t')}, {one.digest('t')} IS s.sealed, s.sealed IS NOT NULL FROM {table} t {join}"
        for id, is_intact, has_seal in connection.execute(query):
            if not is_intact:
                yield DamagedRow(table, str(id), "altered" if has_seal else "unknown")
        missing = (
            "SELECT s.of_row FROM seal s WHERE s.of_table = ? AND NOT EXISTS "
            f"(SELECT 1 FROM {table} t WHERE {one.id('t')} = s.of_row)"
        )
        if len(one.key) > 1:  # found by a set of all ids: no index has the ids of several columns
            missing = f"SELECT of_row FROM seal WHERE of_table = ? EXCEPT SELECT {one.id('t')} FROM {table} t"
        for (id,) in connection.execute(missing, (table,)):
            yield DamagedRow(table, str(id), "missing")
