"""What a registry knows of a store in a bucket: whose it is, and what ought to be there."""

import time

from sqlalchemy import select

from penult_server.registry.database import Database
from penult_server.registry.integrity.files import TABLES_OF
from penult_server.registry.sql.expressions import insert_into
from penult_server.registry.tables import TABLES
from penult_server.registry.tables import name as names

KIND, NAME = "store", "owner"
"""Kind and name of the row, among the names of things, that remembers the owner of the bucket."""


def store_owner(database: Database, proposed: str) -> str:
    """The owner that the registry was told first; this one, where it knows of none."""
    key = (names.c.kind == KIND) & (names.c.name == NAME)
    with database.transaction() as connection:
        row = {"kind": KIND, "name": NAME, "id": proposed, "given": time.time()}
        connection.execute(insert_into(connection.dialect.name, names).values(**row).on_conflict_do_nothing())
        return str(connection.execute(select(names.c.id).where(key)).scalar_one())


def registered(database: Database) -> dict[str, list[str]]:
    """Digests of the things that have a directory in the store, by its folders."""
    return {
        folder: [str(row[0]) for row in database.rows(select(TABLES[table].c[column]).distinct())]
        for folder, (table, column) in TABLES_OF.items()
    }
