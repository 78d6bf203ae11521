"""Pages of lists, newest first: conditions and order are SQL's, so that only the rows of a page are decoded."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from google.protobuf.json_format import Parse
from google.protobuf.message import Message
from sqlalchemy import ColumnElement, Table, exists, select, tuple_

from penult_proto.errors import ErrorKind
from penult_proto.v1.cards_pb2 import ListOptions
from penult_server.errors import ServiceError
from penult_server.registry.database import Database
from penult_server.registry.finding import CARD_KIND
from penult_server.registry.sql.expressions import has_tag, matches
from penult_server.registry.tables import THINGS, card, name

Condition: TypeAlias = ColumnElement[bool]
"""A condition about a row of a table, or about its card."""
PAGE_BYTES = 2**24
"""A page ends where its messages have so many bytes, so that runs with a long history fit into an answer."""
KEPT, LONGEST_KEPT = 1024, 8192
"""Texts whose messages are remembered, and the characters of one: 12 MB at most."""
Read = TypeVar("Read", bound=Message)


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of a page as they are stored, and where the next one begins; empty when this was the last."""

    messages: list[str]
    next_page: str

    def read(self, kind: type[Read]) -> list[Read]:
        """The messages, each the caller's own."""
        return [_read(text, kind) for text in self.messages]


def _read(text: str, kind: type[Read]) -> Read:
    return kind.FromString(_in_binary(text, kind)) if len(text) <= LONGEST_KEPT else Parse(text, kind())


@lru_cache(KEPT)
def _in_binary(text: str, kind: type[Message]) -> bytes:
    """Remembered: a page that shows a list asks for it every two seconds, and reading texts took most of the answer."""
    return Parse(text, kind()).SerializeToString()


def equals(column: ColumnElement[str], value: str) -> list[Condition]:
    """The condition that a column has a value; none for an empty one."""
    return [column == value] if value else []


def read_page(
    database: Database, table: Table, conditions: Iterable[Condition], options: ListOptions, limit: int
) -> Page:
    """At most `limit` things of a table that meet the conditions, and what `options` says of cards.

    Raises ServiceError (INVALID_ARGUMENT) for a page that no answer has named.
    """
    kind = CARD_KIND.get(table.name, table.name)
    statement = (
        select(table.c.message, card.c.created, table.c.rowid)
        .join_from(table, card, card.c.id == table.c[THINGS[kind]])
        .where(card.c.kind == kind, *conditions, *_of_cards(database, kind, options), *_after(table, options.page))
        .order_by(card.c.created.desc(), table.c.rowid.desc())
        .limit(limit + 1)
    )
    messages: list[str] = []
    n_bytes, last = 0, ""
    for row in database.iterate(database.checking(table, statement)):
        if len(messages) == limit or n_bytes > PAGE_BYTES:
            return Page(messages, last)
        message, created, rowid, *_ = database.intact(table, row)
        messages.append(message)
        n_bytes += len(message)
        last = f"{created!r}:{rowid}"
    return Page(messages, "")


def _of_cards(database: Database, kind: str, options: ListOptions) -> list[Condition]:
    dialect = database.connection.dialect.name
    found: list[Condition] = [has_tag(card.c.tags, tag) for tag in options.tags]
    if options.name and kind == "dataset":
        found.append(matches(card.c.id, options.name, dialect))
    elif options.name:
        named = select(name.c.id).where(name.c.kind == card.c.kind, name.c.id == card.c.id)
        found.append(exists(named.where(matches(name.c.name, options.name, dialect))))
    if options.user:
        found.append(card.c.user == options.user)
    if options.HasField("since"):
        found.append(card.c.created >= options.since.ToNanoseconds() / 1e9)
    return found


def _after(table: Table, page: str) -> list[Condition]:
    if not page:
        return []
    created, _, rowid = page.partition(":")
    try:
        after: tuple[Any, ...] = (float(created), int(rowid))
    except ValueError:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"page must be the next_page of an answer, got {page[:40]!r}", field="page"
        ) from None
    return [tuple_(card.c.created, table.c.rowid) < after]
