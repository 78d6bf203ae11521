"""What in the registry belongs to, and depends on, what: the questions that a deletion asks.

Digests have 64 hex characters, so that a text that has one among its values names that thing, whatever the field.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select

from penult_server.registry.database import Database, Query
from penult_server.registry.jobs import UNFINISHED
from penult_server.registry.sql.expressions import value_at
from penult_server.registry.tables import card, checkpoint, feature_set, grouping, job_event, name, result
from penult_server.registry.tables import job as job_table
from penult_server.registry.tables import run as run_table

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
    """As `registry.jobs.KINDS` are called in messages."""
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
        ids = [row[0] for row in self._database.rows(select(run_table.c.id))]
        known = {id: self._runs.get(id) or self._read_run(id) for id in ids}
        self._runs = known
        return known

    def forget_run(self, id: str) -> None:
        """The record of a run has changed."""
        self._runs.pop(id, None)

    def checkpoints_by_run(self) -> dict[str, set[str]]:
        """Digests of registered checkpoints by the run that stored each first; "" for imported and merged ones."""
        found: dict[str, set[str]] = {}
        query = select(checkpoint.c.digest, func.coalesce(value_at(checkpoint.c.message, "runId"), ""))
        for digest, run in self._database.rows(query):
            found.setdefault(run, set()).add(digest)
        return found

    def checkpoints_of_dataset(self, dataset_digest: str) -> list[str]:
        """Digests of the checkpoints that were trained on, or imported for, a dataset."""
        is_of = value_at(checkpoint.c.message, "datasetDigest") == dataset_digest
        return [row[0] for row in self._database.rows(select(checkpoint.c.digest).where(is_of))]

    def models(self) -> dict[str, str]:
        """What decides the features of each registered checkpoint, by its digest."""
        model = func.coalesce(value_at(checkpoint.c.message, "model"), checkpoint.c.digest)
        return dict(self._pairs(select(checkpoint.c.digest, model)))

    def feature_sets(self) -> list[SetFacts]:
        """Every registered feature set, oldest first."""
        fields = ("checkpoint", "dataset", "datasetDigest", "split")
        columns = (func.coalesce(value_at(feature_set.c.message, one), "") for one in fields)
        query = select(feature_set.c.digest, *columns)
        rows = self._database.rows(query.order_by(feature_set.c.created, feature_set.c.rowid))
        return [SetFacts(*row) for row in rows]

    def groupings(self) -> dict[str, str]:
        """The feature set of every grouping by its digest, the oldest first."""
        query = select(grouping.c.digest, grouping.c.feature_set)
        return dict(self._pairs(query.order_by(grouping.c.created, grouping.c.rowid)))

    def groupings_of(self, sets: Collection[str]) -> list[str]:
        """Digests of the groupings of some feature sets."""
        return [digest for digest, feature_set in self.groupings().items() if feature_set in sets]

    def names(self, kind: str, id: str) -> tuple[str, ...]:
        """The names that a thing was given; `kind` as cards call it."""
        query = select(name.c.name).where(name.c.kind == kind, name.c.id == id).order_by(name.c.name)
        rows = self._database.rows(query)
        return tuple(row[0] for row in rows)

    def all_names(self) -> dict[tuple[str, str], str]:
        """The newest name of every thing that has one, by its kind and id."""
        rows = self._database.rows(select(card.c.kind, card.c.id, card.c.name).where(card.c.name != ""))
        return {(kind, id): newest for kind, id, newest in rows}

    def users(self) -> dict[tuple[str, str], str]:
        """The user of every thing whose user is known, by its kind and id."""
        rows = self._database.rows(select(card.c.kind, card.c.id, card.c.user).where(card.c.user != ""))
        return {(kind, id): user for kind, id, user in rows}

    def forget_name(self, connection: Connection, given: str) -> None:
        """Take a name from a feature set."""
        connection.execute(delete(name).where(name.c.kind == "feature_set", name.c.name == given))

    def jobs_in_progress(self) -> list[JobFacts]:
        """Jobs that have not ended."""
        query = select(job_table.c.id, job_table.c.state, job_table.c.message)
        query = query.where(job_table.c.state.in_(UNFINISHED)).order_by(job_table.c.created, job_table.c.rowid)
        return [self._job(*row[:3]) for row in self._database.checked_rows(job_table, query)]

    def stored_by(self, job: str) -> frozenset[str]:
        """Digests of the checkpoints that a job has stored."""
        query = select(value_at(job_event.c.message, "checkpoint"))
        query = query.where(job_event.c.job == job, job_event.c.kind == "checkpoint")
        return frozenset(row[0] for row in self._database.rows(query))

    def results_about(self, digests: Collection[str]) -> Iterator[tuple[str, str, int]]:
        """Digest, kind and bytes of the stored answers that name any of the digests."""
        wanted = {digest.encode() for digest in digests}
        if not wanted:
            return
        query = select(result.c.digest, result.c.kind, result.c.message)
        for digest, kind, message in self._database.iterate(query):
            content = bytes(message)
            if not wanted.isdisjoint(_DIGEST_BYTES.findall(content)):
                yield digest, kind, len(content)

    def _pairs(self, query: Query) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._database.rows(query)]

    def _read_run(self, id: str) -> RunFacts:
        message = json.loads(self._database.checked(run_table, id=id)[0][0])
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
