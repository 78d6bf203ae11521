"""Pages of lists, newest first: conditions and order are SQL's, so that only the rows of a page are decoded."""

from collections.abc import Iterable
from dataclasses import dataclass

from penult_proto.errors import ErrorKind
from penult_proto.v1.cards_pb2 import ListOptions
from penult_server.errors import ServiceError
from penult_server.registry.database import Database
from penult_server.registry.finding import CARD_KIND
from penult_server.registry.integrity.seals import altered, joined
from penult_server.registry.schema import THINGS

PAGE_BYTES = 2**24
"""A page ends where its messages have so many bytes, so that runs with a long history fit into an answer."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition in SQL about the row `t` or its card `c`, with its values."""

    sql: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of a page as they are stored, and where the next one begins; empty when this was the last."""

    messages: list[str]
    next_page: str


def equals(column: str, value: str) -> list[Condition]:
    """The condition that a column has a value; none for an empty one."""
    return [Condition(f"t.{column} = ?", (value,))] if value else []


def read_page(
    database: Database, table: str, conditions: Iterable[Condition], options: ListOptions, limit: int
) -> Page:
    """At most `limit` things of a table that meet the conditions, and what `options` says of cards.

    Raises ServiceError (INVALID_ARGUMENT) for a page that no answer has named.
    """
    kind = CARD_KIND.get(table, table)
    wanted = [*conditions, *_of_cards(kind, options), *_after(options.page)]
    where = " AND ".join(["c.kind = ?", *(one.sql for one in wanted)])
    intact, join = joined(table)
    rows = database.iterate(
        f"SELECT t.message, c.created, t.rowid, {intact} FROM {table} t JOIN card c ON c.id = t.{THINGS[kind]} {join} "
        f"WHERE {where} ORDER BY c.created DESC, t.rowid DESC LIMIT ?",
        kind,
        *(value for one in wanted for value in one.values),
        limit + 1,
    )
    messages: list[str] = []
    n_bytes, last = 0, ""
    for message, created, rowid, id, is_intact in rows:
        if len(messages) == limit or n_bytes > PAGE_BYTES:
            return Page(messages, last)
        if not is_intact:
            raise altered(table, id)
        messages.append(message)
        n_bytes += len(message)
        last = f"{created!r}:{rowid}"
    return Page(messages, "")


def _of_cards(kind: str, options: ListOptions) -> list[Condition]:
    found = [Condition("EXISTS (SELECT 1 FROM json_each(c.tags) WHERE value = ?)", (tag,)) for tag in options.tags]
    if options.name and kind == "dataset":
        found.append(Condition("c.id GLOB ?", (pattern(options.name),)))
    elif options.name:
        named = "EXISTS (SELECT 1 FROM name n WHERE n.kind = c.kind AND n.id = c.id AND n.name GLOB ?)"
        found.append(Condition(named, (pattern(options.name),)))
    if options.user:
        found.append(Condition("c.user = ?", (options.user,)))
    if options.HasField("since"):
        found.append(Condition("c.created >= ?", (options.since.ToNanoseconds() / 1e9,)))
    return found


def pattern(name: str) -> str:
    """A name with the wildcards * and ? as SQLite's GLOB takes it, for which [ is special, too."""
    return name.replace("[", "[[]")


def _after(page: str) -> list[Condition]:
    if not page:
        return []
    created, _, rowid = page.partition(":")
    try:
        return [Condition("(c.created, t.rowid) < (?, ?)", (float(created), int(rowid)))]
    except ValueError:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"page must be the next_page of an answer, got {page[:40]!r}", field="page"
        ) from None
