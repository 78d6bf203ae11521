"""Lists that come in pages, and cards that are changed."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from penult.arguments.coerce import build, whole
from penult.connection.rpc import Connection
from penult.results.notes import Notes
from penult.wire import decode, encode
from penult_proto.v1 import cards_pb2, catalog_pb2

M = TypeVar("M")
PAGE = 500
"""Things asked for at a time; the server sends fewer where they are large."""


class Listed(Protocol):
    """An answer that is one page of a list."""

    @property
    def next_page(self) -> str: ...


P = TypeVar("P", bound=Listed)


def collect(
    ask: Callable[[cards_pb2.ListOptions, int], P],
    read: Callable[[P], Iterable[M]],
    options: cards_pb2.ListOptions,
    limit: int | None,
) -> list[M]:
    """The things on as many pages as there are, `limit` at most. Raises `InvalidRequest` for a limit below 1."""
    left = None if limit is None else whole("limit", limit)
    found: list[M] = []
    while left is None or len(found) < left:
        page = ask(options, PAGE if left is None else min(PAGE, left - len(found)))
        found.extend(read(page))
        options.page = page.next_page
        if not page.next_page:
            break
    return found if left is None else found[:left]


def describe(
    connection: Connection,
    kind: "catalog_pb2.ThingKind.ValueType",
    id: str,
    *,
    name: str | None,
    tags: Sequence[str] | None,
    note: str | None,
    timeout: float,
) -> tuple[str, Notes]:
    """Change the card of a thing; returns its id in full, and from where a name was taken."""
    card = encode.card(name, tags, note)
    request: Any = build(
        catalog_pb2.DescribeRequest,
        kind=kind,
        id=id,
        name=None if name is None else card.name,
        tags=None if tags is None else catalog_pb2.Tags(tags=card.tags),
        note=None if note is None else card.note,
    )
    answer = connection.unary(connection.stubs.catalog.Describe, request, timeout=timeout)
    return answer.id, decode.decode_notes(answer.notes)
