"""What a name, an id, or the start of an id stands for: one rule for every kind of thing."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, func, literal, select

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.records import START_OF_ID
from penult_server.registry.database import Database, Query
from penult_server.registry.sql.expressions import begins_with, value_at
from penult_server.registry.tables import card, checkpoint, feature_set, grouping, job, name, run, summary

SHORTEST_START = 4
"""Characters of an id that are enough to name a thing, when no other begins with them."""
MOST_CANDIDATES = 10
_PRINTED = re.compile(r"([^/]+)/([^/]+)")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that can be named."""

    table: Table
    key: str
    word: str
    """What messages call it."""
    error: ErrorKind
    described: ColumnElement[Any]
    """What a list of candidates says of one, besides its id."""

    @property
    def card_kind(self) -> str:
        """What its cards call it."""
        return CARD_KIND.get(self.table.name, self.table.name)


KINDS = {
    kind.table.name: kind
    for kind in (
        Kind(
            job,
            "id",
            "job",
            ErrorKind.UNKNOWN_JOB,
            func.lower(func.substr(job.c.state, 11)) + " " + func.coalesce(job.c.dataset, ""),
        ),
        Kind(run, "id", "run", ErrorKind.UNKNOWN_RUN, run.c.backbone + " on " + run.c.dataset),
        Kind(
            checkpoint,
            "digest",
            "checkpoint",
            ErrorKind.UNKNOWN_CHECKPOINT,
            # An imported one may be of none that is known.
            checkpoint.c.backbone + func.coalesce(literal(" on ") + checkpoint.c.dataset, ""),
        ),
        Kind(
            feature_set,
            "digest",
            "feature set",
            ErrorKind.UNKNOWN_FEATURE_SET,
            func.coalesce(feature_set.c.dataset + "/" + feature_set.c.split, "uploaded"),
        ),
        Kind(
            grouping,
            "digest",
            "grouping",
            ErrorKind.UNKNOWN_GROUPING,
            grouping.c.method
            + " of "
            + func.coalesce(
                func.nullif(grouping.c.dataset, "") + "/" + value_at(grouping.c.message, "split"), "an upload"
            ),
        ),
        Kind(summary, "digest", "result", ErrorKind.UNKNOWN_RESULT, func.replace(summary.c.kind, "_", " ")),
    )
}
"""Kinds by the table that is searched."""
CARD_KIND = {"summary": "result"}
"""What cards call a kind, where it is not called by its table."""


class Finder:
    """Full ids before exact names before starts of ids; what could be read as two things is refused.

    A name that looks like an id can no longer be given; one that was given before never stands for another's full id.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, table: str, given: str, *, only: str = "") -> str:
        """The id that `given` stands for; `only` restricts results to one kind of answer.

        Raises ServiceError of the kind's own error: nothing is called so, or several things are, which are listed.
        """
        kind, within = KINDS[table], ({"kind": only} if only else {})
        if self._database.has(kind.table, **{kind.key: given}, **within):
            return given
        named = self._database.checked(name, "id", kind=kind.card_kind, name=given)
        found = [row[0] for row in named if self._database.has(kind.table, **{kind.key: row[0]}, **within)]
        starting: list[str] = []
        if START_OF_ID.fullmatch(given):
            key = kind.table.c[kind.key]
            statement = _within(kind, only).where(begins_with(key, given)).order_by(key).limit(MOST_CANDIDATES + 1)
            starting = [row[0] for row in self._database.rows(statement) if row[0] not in found]
        if len(found) + len(starting) == 1:
            return (found + starting)[0]
        if found:
            raise self._refused(
                kind,
                given,
                f"{given!r} is the name of {kind.word} {short(found[0])} and the start of another's id",
                [*found, *starting],
                f"give more of the {kind.key} that is meant",
            )
        if starting:
            said = f"several {kind.word}s start with {given!r}"
            raise self._refused(kind, given, said, starting, "give more characters")
        raise self._unknown(kind, given, only)

    def find_feature_set(self, given: str) -> str:
        """As `find`; "DATASET/SPLIT", as a set prints itself, is taken too where it is one set alone.

        Pooled features go before flat ones of the same checkpoint. Sets of several checkpoints are never guessed among:
        the newest would be another one tomorrow.
        """
        printed = _PRINTED.fullmatch(given)
        if printed is None:
            return self.find("feature_set", given)
        dataset, split = printed.groups()
        kind_of_features = value_at(feature_set.c.message, "featureKind")
        query = select(feature_set.c.digest, kind_of_features, feature_set.c.checkpoint)
        rows = self._database.rows(query.where(feature_set.c.dataset == dataset, feature_set.c.split == split))
        pooled = [row[0] for row in rows if row[1] != "flat"]
        is_one_checkpoint = len({row[2] for row in rows}) == 1
        candidates = pooled if pooled and is_one_checkpoint else [row[0] for row in rows]
        if len(candidates) == 1:
            return candidates[0]
        kind = KINDS["feature_set"]
        if not candidates:
            raise self._unknown(kind, given, "")
        raise self._refused(kind, given, f"several feature sets are {given!r}", candidates, "give the digest of one")

    def _refused(self, kind: Kind, given: str, said: str, candidates: list[str], mend: str) -> ServiceError:
        """An error that lists candidates: each id as far as it must be typed, and what it is."""
        length = max(12, *(common_length(candidates, one) + 1 for one in candidates))
        shown = [f"{one[:length]} ({self._described(kind, one)})" for one in candidates[:MOST_CANDIDATES]]
        shown += ["and more"] if len(candidates) > MOST_CANDIDATES else []
        return ServiceError(kind.error, f"{said}: {', '.join(shown)}; {mend}", name=given)

    def _described(self, kind: Kind, id: str) -> str:
        """What a candidate is, of which checkpoint, and when it was registered."""
        key = kind.table.c[kind.key]
        has_card = (card.c.kind == kind.card_kind) & (card.c.id == key)
        statement = select(kind.described, card.c.created).outerjoin_from(kind.table, card, has_card).where(key == id)
        described, created = self._database.rows(statement)[0]
        said = [one for one in (described, created and _minute(created)) if one]
        if kind.table in (checkpoint, feature_set):
            said[1:1] = self._checkpoint_of(kind, id)
        return ", ".join(said)

    def _checkpoint_of(self, kind: Kind, id: str) -> list[str]:
        """The checkpoint of a feature set, and the epoch; of a checkpoint, its run and epoch."""
        epoch = value_at(checkpoint.c.message, "epoch")
        if kind.table is checkpoint:
            rows = self._database.rows(select(checkpoint.c.run, epoch).where(checkpoint.c.digest == id))
            return [f"run {run or '?'} epoch {epoch or 0}" for run, epoch in rows]
        statement = (
            select(feature_set.c.checkpoint, checkpoint.c.digest, epoch, value_at(feature_set.c.message, "featureKind"))
            .outerjoin_from(feature_set, checkpoint, checkpoint.c.digest == feature_set.c.checkpoint)
            .where(feature_set.c.digest == id)
        )
        return [
            f"checkpoint {of[:12]}{f' epoch {epoch or 0}' if known else ''} {features}"
            for of, known, epoch, features in self._database.rows(statement)
            if of and features
        ]

    def _unknown(self, kind: Kind, given: str, only: str) -> ServiceError:
        """An error that lists the newest names and ids there are."""
        of_kind = select(name.c.name).where(name.c.kind == kind.card_kind)
        names = self._database.rows(of_kind.order_by(name.c.given.desc(), name.c.name).limit(50))
        ids = self._database.rows(_within(kind, only).order_by(kind.table.c.rowid.desc()).limit(20))
        known = ", ".join([row[0] for row in names] + [short(row[0]) for row in ids])
        hint = ""
        if re.fullmatch(r"[0-9a-f]{1,3}", given):
            hint = f" (the start of an id has at least {SHORTEST_START} characters)"
        said = f"there is no {kind.word} {given!r}{hint}; known: {known or 'there are none yet'}"
        return ServiceError(kind.error, said, name=given, known=known)


def _within(kind: Kind, only: str) -> Query:
    """Ids of a kind; of results, of one kind of answer if given."""
    statement = select(kind.table.c[kind.key])
    return statement.where(kind.table.c.kind == only) if only else statement


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def short(id: str) -> str:
    """Enough of an id for people."""
    return id[:12]


def common_length(candidates: list[str], one: str) -> int:
    """How many first characters `one` shares with the nearest of the others."""
    others = (other for other in candidates if other != one)
    return max(
        (
            next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other)))
            for other in others
        ),
        default=0,
    )
