"""What a registry has, asked in SQL by tests that look behind the tables."""

from penult_server.registry.database import Database


def rows_of(database: Database, query: str, *values: object) -> list[tuple[object, ...]]:
    """The rows of a query, with ? for each value."""
    connection = database.connection
    marked = query if connection.dialect.name == "sqlite" else query.replace("?", "%s")
    return [tuple(row) for row in connection.exec_driver_sql(marked, values or None)]
