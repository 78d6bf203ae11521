"""The statements that make a new registry, of the newest version."""

from sqlalchemy import Connection, Dialect, MetaData
from sqlalchemy.schema import CreateIndex, CreateTable

from penult_server.registry.migrations import HEAD
from penult_server.registry.sql.triggers import triggers
from penult_server.registry.tables import THINGS, VALID_TOKENS, metadata, token_by_name


def statements(tables: MetaData, dialect: Dialect) -> tuple[str, ...]:
    """What makes tables and their indexes."""
    found: list[str] = []
    for table in tables.sorted_tables:
        found.append(str(CreateTable(table).compile(dialect=dialect)))
        found += [str(CreateIndex(one).compile(dialect=dialect)) for one in sorted(table.indexes, key=_name)]
    return tuple(found)


def new_schema(connection: Connection) -> tuple[str, ...]:
    """What makes a new registry, and says of what revision it is."""
    name = connection.dialect.name
    if name not in _made:
        if name == "postgresql":
            # Said here: where the table is described it would load that dialect, a tenth of every server's start.
            token_by_name.dialect_kwargs["postgresql_where"] = VALID_TOKENS
        stamp = f"INSERT INTO alembic_version VALUES ('{HEAD}')"
        _made[name] = (*statements(metadata, connection.dialect), *triggers(name, THINGS), stamp)
    return _made[name]


_made: dict[str, tuple[str, ...]] = {}
"""The statements by the name of the dialect: compiling them takes longer than running them."""


def _name(index: object) -> str:
    return str(getattr(index, "name", ""))
