"""Cards: the names, tags and notes of things, who made them and when. No part of any identity."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, Update, bindparam, delete, func, select, update

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import (
    cards_pb2,
    catalog_pb2,
    datasets_pb2,
    features_pb2,
    groupings_pb2,
    jobs_pb2,
    refits_pb2,
    runs_pb2,
    spectra_pb2,
)
from penult_server.clock import timestamp
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.registry.database import Database
from penult_server.registry.finding import short
from penult_server.registry.sql.expressions import insert_into
from penult_server.registry.tables import card
from penult_server.registry.tables import name as names

MOST_TAGS = 32
FEW = 4
"""Things that are looked for one by one, by a query that is made once."""
AT_ONCE = 5000
"""Things that are looked for by one query."""
_SAID = ("id", "name", "tags", "note", "user", "created")
LATER = 1e-6
"""Seconds between two names, at least."""
Carded: TypeAlias = (
    jobs_pb2.Job
    | datasets_pb2.Dataset
    | runs_pb2.Run
    | runs_pb2.Checkpoint
    | features_pb2.FeatureSet
    | groupings_pb2.Grouping
    | refits_pb2.Refit
    | spectra_pb2.Spectra
    | catalog_pb2.ResultSummary
)
"""Messages that have a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a request says of the thing that it makes, or that was made by an equal one before."""

    user: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    at: float | None = None
    """When the name was given, in seconds since 1970; None for now."""

    @property
    def describes(self) -> bool:
        """Whether it says more than who asks."""
        return bool(self.name or self.tags or self.note)


NOTHING = Given()


class Cards:
    """Reads and writes cards. Every thing has one from the moment that its row is there; the schema sees to that."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: Connection, kind: str, id: str, given: Given, *, is_new: bool) -> list[Note]:
        """Add what is given to a card: a name to its names, tags to its tags, a note in place of its note.

        The user is kept of things that are new alone. Returns what to say of it: from where a name has come. Raises
        ServiceError (INVALID_ARGUMENT) for too many tags.
        """
        if is_new and given.user:
            _write(connection, kind, id, user=given.user)
        if given.tags:
            stored = connection.execute(select(card.c.tags).where(card.c.kind == kind, card.c.id == id)).scalar_one()
            self._set_tags(connection, kind, id, {*json.loads(stored), *given.tags})
        if given.note:
            _write(connection, kind, id, note=given.note)
        return self._move(connection, kind, id, given.name, given.at) if given.name else []

    def replace(
        self, kind: str, id: str, *, name: str | None, tags: Iterable[str] | None, note: str | None
    ) -> list[Note]:
        """Change what is not None: `name` replaces all names of the thing, empty for none. Raises as `add`."""
        notes: list[Note] = []
        with self._database.transaction() as connection:
            if name is not None:
                others = (names.c.kind == kind, names.c.id == id, names.c.name != name)
                connection.execute(delete(names).where(*others))
            if name:
                notes = self._move(connection, kind, id, name, None)
            if tags is not None:
                self._set_tags(connection, kind, id, tags)
            if note is not None:
                _write(connection, kind, id, note=note)
        return notes

    def holder(self, kind: str, name: str) -> str | None:
        """The id of the thing that has a name now."""
        rows = self._database.checked(names, "id", kind=kind, name=name)
        return rows[0][0] if rows else None

    def given_to(self, kind: str, id: str) -> Given:
        """What a card says, to be given to another thing; the name with the time at which it was given."""
        found = self.get(kind, id)
        query = select(names.c.given).where(names.c.kind == kind, names.c.name == found.name)
        rows = self._database.rows(query)
        at = float(rows[0][0]) if rows else None
        return Given(user=found.user, name=found.name, tags=tuple(found.tags), note=found.note, at=at)

    def get(self, kind: str, id: str) -> cards_pb2.Card:
        """The card of one thing; an empty one where there is none."""
        return self._cards(kind, [id]).get(id, cards_pb2.Card())

    def fill(self, messages: Iterable[Carded]) -> None:
        """Write the card of every thing, and of those within it, into its message; and all names of feature sets."""
        by_kind: dict[str, list[tuple[str, Carded]]] = {}
        for message in messages:
            for kind, id, part in _parts(message):
                by_kind.setdefault(kind, []).append((id, part))
        for kind, parts in by_kind.items():
            ids = [id for id, _ in parts]
            cards = self._cards(kind, ids)
            named = self._names(kind, ids) if kind == "feature_set" else {}
            for id, part in parts:
                part.card.CopyFrom(cards.get(id, cards_pb2.Card()))
                if isinstance(part, features_pb2.FeatureSet):
                    part.names[:] = named.get(id, [])

    def _cards(self, kind: str, ids: list[str]) -> dict[str, cards_pb2.Card]:
        found: dict[str, cards_pb2.Card] = {}
        for id, name, tags, note, user, created in self._of(card, kind, ids, _SAID):
            found[id] = cards_pb2.Card(
                name=name,
                tags=json.loads(tags),
                note=note,
                user=user,
                created=timestamp(float(created)) if created else None,
            )
        return found

    def _names(self, kind: str, ids: list[str]) -> dict[str, list[str]]:
        """All names of things, the newest first."""
        found: dict[str, list[str]] = {}
        rows = self._of(names, kind, ids, ("id", "name", "given"))
        for id, name, _ in sorted(rows, key=lambda row: (-row[2], row[1])):
            found.setdefault(id, []).append(name)
        return found

    def _of(self, table: Table, kind: str, ids: list[str], columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        """Columns of the rows of some things, of each of its own; a database takes so many values at once."""
        unique = sorted(set(ids))
        if len(unique) <= FEW:
            for one in unique:
                yield from (row[: len(columns)] for row in self._database.checked(table, *columns, kind=kind, id=one))
            return
        wanted = select(*(table.c[column] for column in columns)).where(table.c.kind == kind)
        for first in range(0, len(unique), AT_ONCE):
            statement = wanted.where(table.c.id.in_(unique[first : first + AT_ONCE]))
            yield from (row[: len(columns)] for row in self._database.checked_rows(table, statement))

    def _move(self, connection: Connection, kind: str, id: str, name: str, at: float | None) -> list[Note]:
        """Give a name to a thing, unless another got it after `at`."""
        holder = select(names.c.id).where(names.c.kind == kind, names.c.name == name)
        before = connection.execute(holder).scalar()
        if at is None:
            # What is said now is the newest, also by a clock that was put back.
            newest = connection.execute(select(func.coalesce(func.max(names.c.given), 0.0))).scalar_one()
            at = max(time.time(), newest + LATER)
        made = insert_into(connection.dialect.name, names).values(kind=kind, name=name, id=id, given=at)
        taken = made.on_conflict_do_update(
            index_elements=("kind", "name"),
            set_={"id": made.excluded.id, "given": made.excluded.given},
            where=made.excluded.given >= names.c.given,
        )
        connection.execute(taken)
        after = connection.execute(holder).scalar()
        if before is None or before == after:
            return []
        return [moved(kind, name, before)]

    def _set_tags(self, connection: Connection, kind: str, id: str, tags: Iterable[str]) -> None:
        found = sorted(set(tags))
        if len(found) > MOST_TAGS:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"a thing has at most {MOST_TAGS} tags; {short(id)} would have {len(found)}",
                field="tags",
            )
        _write(connection, kind, id, tags=json.dumps(found))


def _write(connection: Connection, kind: str, id: str, **values: str) -> None:
    written = {f"new_{column}": value for column, value in values.items()}
    connection.execute(_writing(tuple(values)), {"of_kind": kind, "of_id": id, **written})


@cache
def _writing(columns: tuple[str, ...]) -> Update:
    """A statement that is made once: making one takes longer than carrying it out."""
    of_thing = (card.c.kind == bindparam("of_kind"), card.c.id == bindparam("of_id"))
    return update(card).where(*of_thing).values({column: bindparam(f"new_{column}") for column in columns})


def moved(kind: str, name: str, holder: str) -> Note:
    """What to say when a name is taken from another thing."""
    return Note(NoteId.NAME_MOVED, f"the name {name!r} was that of {kind.replace('_', ' ')} {short(holder)} before")


def _parts(message: Carded) -> Iterator[tuple[str, str, Carded]]:
    """A thing and the things within it: kind, id and message of each."""
    match message:
        case jobs_pb2.Job():
            yield "job", message.id, message
            if message.result.HasField("run"):
                yield from _parts(message.result.run)
            if message.result.HasField("extract"):
                for one in message.result.extract.feature_sets:
                    yield from _parts(one)
            if message.result.HasField("checkpoint"):
                yield from _parts(message.result.checkpoint)
            if message.result.HasField("dataset"):
                yield from _parts(message.result.dataset)
        case datasets_pb2.Dataset():
            yield "dataset", message.name, message
        case runs_pb2.Run():
            yield "run", message.id, message
            for one in message.checkpoints:
                yield from _parts(one)
        case runs_pb2.Checkpoint():
            yield "checkpoint", message.digest, message
        case features_pb2.FeatureSet():
            yield "feature_set", message.digest, message
        case groupings_pb2.Grouping():
            yield "grouping", message.digest, message
        case _:
            yield "result", message.digest, message
