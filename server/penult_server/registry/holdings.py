"""What in the registry belongs to, and depends on, what: the questions that a deletion asks.

Digests have 64 hex characters, so that a text that has one among its values names that thing, whatever the field.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any

from penult_server.registry.database import Database
from penult_server.registry.jobs import UNFINISHED

DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_BYTES = re.compile(rb"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a registered run holds and rests on."""

    dataset_digest: str
    checkpoints: frozenset[str]
    """Digests of the checkpoints in its record."""
    named: frozenset[str]
    """Digests of what its spec names: a checkpoint that it starts from, or whose errors it repeats."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job that has not ended."""

    id: str
    state: str
    kind: str
    """ "finetune", "extract" or "registerDataset"."""
    spec: dict[str, Any]
    named: frozenset[str]
    """Digests of what its spec names."""
    stored: frozenset[str]
    """Digests of the checkpoints that it has stored so far."""


@dataclass(frozen=True, slots=True)
class SetFacts:
    """A feature set."""

    digest: str
    checkpoint: str
    dataset: str
    dataset_digest: str
    split: str


class Holdings:
    """Reads the registry; records of runs are remembered, since they change only here."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._runs: dict[str, RunFacts] = {}

    def runs(self) -> dict[str, RunFacts]:
        """Every registered run by its id."""
        ids = [row[0] for row in self._database.rows("SELECT id FROM run")]
        known = {id: self._runs.get(id) or self._read_run(id) for id in ids}
        self._runs = known
        return known

    def forget_run(self, id: str) -> None:
        """The record of a run has changed."""
        self._runs.pop(id, None)

    def checkpoints_by_run(self) -> dict[str, set[str]]:
        """Digests of registered checkpoints by the run that stored each first; "" for imported ones."""
        found: dict[str, set[str]] = {}
        query = "SELECT digest, coalesce(json_extract(message, '$.runId'), '') FROM checkpoint"
        for digest, run in self._database.rows(query):
            found.setdefault(run, set()).add(digest)
        return found

    def checkpoints_of_dataset(self, dataset_digest: str) -> list[str]:
        """Digests of the checkpoints that were trained on, or imported for, a dataset."""
        query = "SELECT digest FROM checkpoint WHERE json_extract(message, '$.datasetDigest') = ?"
        return [row[0] for row in self._database.rows(query, dataset_digest)]

    def models(self) -> dict[str, str]:
        """What decides the features of each registered checkpoint, by its digest."""
        query = "SELECT digest, coalesce(json_extract(message, '$.model'), digest) FROM checkpoint"
        return dict(self._pairs(query))

    def feature_sets(self) -> list[SetFacts]:
        """Every registered feature set, oldest first."""
        fields = ("checkpoint", "dataset", "datasetDigest", "split")
        columns = ", ".join(f"coalesce(json_extract(message, '$.{field}'), '')" for field in fields)
        rows = self._database.rows(f"SELECT digest, {columns} FROM feature_set ORDER BY created, rowid")
        return [SetFacts(*row) for row in rows]

    def groupings(self) -> dict[str, str]:
        """The feature set of every grouping by its digest, the oldest first."""
        return dict(self._pairs("SELECT digest, feature_set FROM grouping ORDER BY created, rowid"))

    def groupings_of(self, sets: Collection[str]) -> list[str]:
        """Digests of the groupings of some feature sets."""
        return [digest for digest, feature_set in self.groupings().items() if feature_set in sets]

    def names(self, kind: str, id: str) -> tuple[str, ...]:
        """The names that a thing was given; `kind` as cards call it."""
        rows = self._database.rows("SELECT name FROM name WHERE kind = ? AND id = ? ORDER BY name", kind, id)
        return tuple(row[0] for row in rows)

    def all_names(self) -> dict[tuple[str, str], str]:
        """The newest name of every thing that has one, by its kind and id."""
        rows = self._database.rows("SELECT kind, id, name FROM card WHERE name != ''")
        return {(kind, id): name for kind, id, name in rows}

    def users(self) -> dict[tuple[str, str], str]:
        """The user of every thing whose user is known, by its kind and id."""
        rows = self._database.rows("SELECT kind, id, user FROM card WHERE user != ''")
        return {(kind, id): user for kind, id, user in rows}

    def forget_name(self, connection: Connection, name: str) -> None:
        """Take a name from a feature set."""
        connection.execute("DELETE FROM name WHERE kind = 'feature_set' AND name = ?", (name,))

    def jobs_in_progress(self) -> list[JobFacts]:
        """Jobs that have not ended."""
        rest = f"WHERE t.state IN {UNFINISHED} ORDER BY t.created, t.rowid"
        return [self._job(*row) for row in self._database.checked("job", rest, columns=("id", "state", "message"))]

    def stored_by(self, job: str) -> frozenset[str]:
        """Digests of the checkpoints that a job has stored."""
        query = "SELECT json_extract(message, '$.checkpoint') FROM job_event WHERE job = ? AND kind = 'checkpoint'"
        return frozenset(row[0] for row in self._database.rows(query, job))

    def results_about(self, digests: Collection[str]) -> Iterator[tuple[str, str, int]]:
        """Digest, kind and bytes of the stored answers that name any of the digests."""
        wanted = {digest.encode() for digest in digests}
        if not wanted:
            return
        for digest, kind, message in self._database.rows("SELECT digest, kind, message FROM result"):
            content = bytes(message)  # pyright: ignore[reportArgumentType, reportCallIssue]
            if not wanted.isdisjoint(_DIGEST_BYTES.findall(content)):
                yield digest, kind, len(content)

    def _pairs(self, query: str) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._database.rows(query)]

    def _read_run(self, id: str) -> RunFacts:
        message = json.loads(self._database.checked("run", "WHERE t.id = ?", id)[0][0])
        return RunFacts(
            dataset_digest=message.get("datasetDigest", ""),
            checkpoints=frozenset(one["digest"] for one in message.get("checkpoints", ())),
            named=_digests(message.get("spec", {})),
        )

    def _job(self, id: str, state: str, message: str) -> JobFacts:
        spec = json.loads(message).get("spec", {})
        kind = next(iter(spec), "")
        state = state.removeprefix("JOB_STATE_").lower()
        return JobFacts(id, state, kind, spec.get(kind, {}), _digests(spec), self.stored_by(id))


def _digests(spec: dict[str, Any]) -> frozenset[str]:
    return frozenset(DIGEST.findall(json.dumps(spec)))
