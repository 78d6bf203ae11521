"""Expressions that every database has, and writes in its own way."""

# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement, Computed, Double, Table, Text, literal_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

T = TypeVar("T")


class value_at(FunctionElement[str]):  # noqa: N801  a function of SQL
    """What stands in a JSON text at a place, such as "spec.dataset"; NULL where it has none."""

    inherit_cache = True
    type = Text()

    def __init__(self, message: ColumnElement[str], place: str) -> None:
        super().__init__(message, literal_column(f"'{place}'"))


class has_tag(FunctionElement[bool]):  # noqa: N801
    """Whether a list of JSON has a text."""

    inherit_cache = True


class now(FunctionElement[float]):  # noqa: N801
    """Seconds since 1970 by the database's own clock."""

    inherit_cache = True
    type = Double()


@compiles(value_at, "sqlite")
def _(element: value_at, compiler: Any, **options: Any) -> str:
    message, place = element.clauses
    return f"json_extract({compiler.process(message, **options)}, '$.{place.name[1:-1]}')"


@compiles(value_at, "postgresql")
def _(element: value_at, compiler: Any, **options: Any) -> str:
    message, place = element.clauses
    parts = ", ".join(f"'{one}'" for one in place.name[1:-1].split("."))
    return f"json_extract_path_text(CAST({compiler.process(message, **options)} AS json), {parts})"


@compiles(has_tag, "sqlite")
def _(element: has_tag, compiler: Any, **options: Any) -> str:
    tags, tag = (compiler.process(one, **options) for one in element.clauses)
    return f"EXISTS (SELECT 1 FROM json_each({tags}) WHERE value = {tag})"


@compiles(has_tag, "postgresql")
def _(element: has_tag, compiler: Any, **options: Any) -> str:
    tags, tag = (compiler.process(one, **options) for one in element.clauses)
    return f"jsonb_exists(CAST({tags} AS jsonb), {tag})"


@compiles(now, "sqlite")
def _(element: now, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _(element: now, compiler: Any, **options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@compiles(CreateColumn, "sqlite")
def _(element: Any, compiler: Any, **options: Any) -> str | None:
    # SQLite has this one by itself.
    return None if element.element.name == "rowid" else compiler.visit_create_column(element, **options)


@compiles(Computed, "sqlite")
def _(element: Computed, compiler: Any, **options: Any) -> str:
    said = compiler.sql_compiler.process(element.sqltext, include_table=False, literal_binds=True)
    return f"GENERATED ALWAYS AS ({said}) VIRTUAL"


def insert_into(dialect: str, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An insertion that may say what becomes of it where the row is there already."""
    if dialect == "postgresql":
        # A tenth of a server's start, which a registry in a file does not need.
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    return sqlite.insert(table)


def begins_with(column: ColumnElement[str], start: str) -> ColumnElement[bool]:
    """The condition that a text begins so; of one whose last character is not the last there is."""
    return (column >= start) & (column < f"{start[:-1]}{chr(ord(start[-1]) + 1)}")


def matches(column: ColumnElement[str], name: str, dialect: str) -> ColumnElement[bool]:
    """The condition that a text is like a name with the wildcards * and ?. None takes long."""
    if dialect == "sqlite":
        return column.op("GLOB", is_comparison=True)(name.replace("[", "[[]"))
    meaning = {"*": "%", "?": "_", "%": r"\%", "_": r"\_", "\\": r"\\"}
    return column.like("".join(meaning.get(one, one) for one in name), escape="\\")
