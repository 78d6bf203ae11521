"""What a name, an id, or the start of an id stands for: one rule for every kind of thing."""

import re
from dataclasses import dataclass

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.records import START_OF_ID
from penult_server.registry.database import Database

SHORTEST_START = 4
"""Characters of an id that are enough to name a thing, when no other begins with them."""
MOST_CANDIDATES = 10
_PRINTED = re.compile(r"([^/]+)/([^/]+)")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that can be named."""

    table: str
    key: str
    word: str
    """What messages call it."""
    error: ErrorKind
    described: str
    """SQL for what a list of candidates says of one, besides its id."""


KINDS = {
    kind.table: kind
    for kind in (
        Kind("job", "id", "job", ErrorKind.UNKNOWN_JOB, "lower(substr(state, 11)) || ' ' || coalesce(dataset, '')"),
        Kind("run", "id", "run", ErrorKind.UNKNOWN_RUN, "backbone || ' on ' || dataset"),
        Kind(
            "checkpoint",
            "digest",
            "checkpoint",
            ErrorKind.UNKNOWN_CHECKPOINT,
            "backbone || coalesce(' on ' || dataset, '')",  # an imported one may be of none that is known
        ),
        Kind(
            "feature_set",
            "digest",
            "feature set",
            ErrorKind.UNKNOWN_FEATURE_SET,
            "coalesce(dataset || '/' || split, 'uploaded')",
        ),
        Kind(
            "grouping",
            "digest",
            "grouping",
            ErrorKind.UNKNOWN_GROUPING,
            "method || ' of ' || coalesce(nullif(dataset, '') || '/' || json_extract(message, '$.split'), 'an upload')",
        ),
        Kind("summary", "digest", "result", ErrorKind.UNKNOWN_RESULT, "replace(kind, '_', ' ')"),
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
        kind, within = KINDS[table], (" AND kind = ?" if only else "")
        more = (only,) if only else ()
        query = f"SELECT {kind.key} FROM {table} WHERE {kind.key} = ?{within}"
        if self._database.rows(query, given, *more):
            return given
        named = self._database.checked(
            "name", "WHERE t.kind = ? AND t.name = ?", CARD_KIND.get(table, table), given, columns=("id",)
        )
        found = [row[0] for row in named if self._database.rows(query, row[0], *more)]
        starting: list[str] = []
        if START_OF_ID.fullmatch(given):
            query = f"SELECT {kind.key} FROM {table} WHERE {kind.key} GLOB ?{within} ORDER BY 1 LIMIT ?"
            rows = self._database.rows(query, f"{given}*", *more, MOST_CANDIDATES + 1)
            starting = [row[0] for row in rows if row[0] not in found]
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
        raise self._unknown(kind, given, within, more)

    def find_feature_set(self, given: str) -> str:
        """As `find`; "DATASET/SPLIT", as a set prints itself, is taken too where it is one set alone.

        Pooled features go before flat ones of the same checkpoint. Sets of several checkpoints are never guessed among:
        the newest would be another one tomorrow.
        """
        printed = _PRINTED.fullmatch(given)
        if printed is None:
            return self.find("feature_set", given)
        rows = self._database.rows(
            "SELECT digest, json_extract(message, '$.featureKind'), checkpoint FROM feature_set "
            "WHERE dataset = ? AND split = ?",
            *printed.groups(),
        )
        pooled = [row[0] for row in rows if row[1] != "flat"]
        is_one_checkpoint = len({row[2] for row in rows}) == 1
        candidates = pooled if pooled and is_one_checkpoint else [row[0] for row in rows]
        if len(candidates) == 1:
            return candidates[0]
        kind = KINDS["feature_set"]
        if not candidates:
            raise self._unknown(kind, given, "", ())
        raise self._refused(kind, given, f"several feature sets are {given!r}", candidates, "give the digest of one")

    def _refused(self, kind: Kind, given: str, said: str, candidates: list[str], mend: str) -> ServiceError:
        """An error that lists candidates: each id as far as it must be typed, and what it is."""
        length = max(12, *(common_length(candidates, one) + 1 for one in candidates))
        shown = [f"{one[:length]} ({self._described(kind, one)})" for one in candidates[:MOST_CANDIDATES]]
        shown += ["and more"] if len(candidates) > MOST_CANDIDATES else []
        return ServiceError(kind.error, f"{said}: {', '.join(shown)}; {mend}", name=given)

    def _described(self, kind: Kind, id: str) -> str:
        """What a candidate is, of which checkpoint, and when it was registered."""
        card_kind = CARD_KIND.get(kind.table, kind.table)
        rows = self._database.rows(
            f"SELECT t.said, strftime('%Y-%m-%d %H:%M', c.created, 'unixepoch') FROM "
            f"(SELECT {kind.described} AS said FROM {kind.table} WHERE {kind.key} = ?) t "
            "LEFT JOIN card c ON c.kind = ? AND c.id = ?",
            id,
            card_kind,
            id,
        )
        said = [one for one in rows[0] if one]
        if kind.table in ("checkpoint", "feature_set"):
            said[1:1] = self._checkpoint_of(kind, id)
        return ", ".join(said)

    def _checkpoint_of(self, kind: Kind, id: str) -> list[str]:
        """The checkpoint of a feature set, and the epoch; of a checkpoint, its run and epoch."""
        if kind.table == "checkpoint":
            query = "SELECT 'run ' || coalesce(run, '?') || ' epoch ' || coalesce(json_extract(message, '$.epoch'), 0) "
            return [str(row[0]) for row in self._database.rows(f"{query} FROM checkpoint WHERE digest = ?", id)]
        query = (
            "SELECT 'checkpoint ' || substr(f.checkpoint, 1, 12) || coalesce(' epoch ' || "
            "coalesce(json_extract(c.message, '$.epoch'), 0), '') || ' ' || json_extract(f.message, '$.featureKind') "
            "FROM feature_set f LEFT JOIN checkpoint c ON c.digest = f.checkpoint WHERE f.digest = ?"
        )
        return [str(row[0]) for row in self._database.rows(query, id) if row[0]]

    def _unknown(self, kind: Kind, given: str, within: str, more: tuple[str, ...]) -> ServiceError:
        """An error that lists the newest names and ids there are."""
        card_kind = CARD_KIND.get(kind.table, kind.table)
        names = self._database.rows(
            "SELECT name FROM name WHERE kind = ? ORDER BY given DESC, name LIMIT 50", card_kind
        )
        ids = self._database.rows(
            f"SELECT {kind.key} FROM {kind.table} WHERE 1{within} ORDER BY rowid DESC LIMIT 20", *more
        )
        known = ", ".join([row[0] for row in names] + [short(row[0]) for row in ids])
        hint = ""
        if re.fullmatch(r"[0-9a-f]{1,3}", given):
            hint = f" (the start of an id has at least {SHORTEST_START} characters)"
        said = f"there is no {kind.word} {given!r}{hint}; known: {known or 'there are none yet'}"
        return ServiceError(kind.error, said, name=given, known=known)


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
