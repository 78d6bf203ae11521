"""A registry copied, row by row, into an empty one on another database: the same ids and order, compared afterwards."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, tuple_

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.registry.database import Database
from penult_server.registry.integrity.seals import TABLES as SEALED
from penult_server.registry.tables import card, metadata, name, version

ROWS_AT_ONCE = 200
"""Rows that are in memory at a time: an answer may have megabytes."""
FIRST = (card, name)
"""Before things: their triggers make cards where there are none."""


def copy_registry_to(source: Database, url: str) -> tuple[str, dict[str, int]]:
    """Copy all rows into the registry at a URL, all or none; returns what it is called, and the rows of each table.

    Raises ServiceError: STORE_CORRUPT for a damaged source, INVALID_ARGUMENT for a target that has rows, or a text that
    it does not keep, STORE_LOCKED while a server serves it, INTERNAL where the copy differs; RegistryUnavailable.
    """
    if damaged := source.damaged_rows(tuple(SEALED)):
        raise ServiceError(
            ErrorKind.STORE_CORRUPT,
            f"{len(damaged)} rows of {source.place} are damaged, such as {damaged[0]}: mend them first "
            "(`penult store repair`)",
        )
    with closing(Database(url)) as target:
        if not target.claim():
            raise ServiceError(ErrorKind.STORE_LOCKED, f"a server serves {target.place}: stop it, or name another one")
        with target.transaction() as connection:
            return target.place, _copy(source, target, connection)


def _copy(source: Database, target: Database, connection: Connection) -> dict[str, int]:
    tables = [*FIRST, *(one for one in metadata.sorted_tables if one not in (*FIRST, version))]
    counts = {table.name: _count(connection, table) for table in tables}
    if any(counts.values()):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{target.place} is not empty ({_said(counts)}): name a new database (`createdb`)",
        )
    for table in tables:
        order = ("rowid",) if "rowid" in table.c else _key(table)
        for rows in _pages(source.connection, table, order):
            connection.execute(insert(table), rows)
    for table in tables:
        counts[table.name] = _compared(source.connection, connection, table)
    return counts


def _compared(source: Connection, target: Connection, table: Table) -> int:
    """Compare a table row by row, in the order of its key. Raises ServiceError (INTERNAL); returns how many there are.

    Both order texts by the numbers of their characters, and keep numbers as they are.
    """
    wanted, found = _count(source, table), _count(target, table)
    if wanted != found:
        raise _differs(table, f"{found} rows, not {wanted}")
    pages = zip(_pages(source, table, _key(table)), _pages(target, table, _key(table)), strict=True)
    for before, after in pages:
        for one, other in zip(before, after, strict=True):
            if one != other:
                raise _differs(table, f"another row {[one[key] for key in _key(table)]}")
    return found


def _pages(connection: Connection, table: Table, order: tuple[str, ...]) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table by what is stored of them, some at a time."""
    stored = [column for column in table.c if column.computed is None and column.name != "rowid"]
    keys = [table.c[one] for one in order]
    wanted = select(*stored, *(key.label(f"order_{key.name}") for key in keys)).order_by(*keys).limit(ROWS_AT_ONCE)
    query = wanted
    while rows := connection.execute(query).all():
        yield [{column.name: row[place] for place, column in enumerate(stored)} for row in rows]
        query = wanted.where(tuple_(*keys) > tuple_(*rows[-1][len(stored) :]))


def _key(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key)


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _said(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} in {table}" for table, number in counts.items() if number)


def _differs(table: Table, how: str) -> ServiceError:
    return ServiceError(
        ErrorKind.INTERNAL, f"the copy of the table {table.name} has {how}: nothing was copied; report this"
    )
