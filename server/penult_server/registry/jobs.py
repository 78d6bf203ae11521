"""Jobs in the registry: created once per distinct work, numbered events, states that only move forward.

queued -> running -> succeeded | failed        running -> queued (its worker or server died)
queued -> cancelled        running -> cancelling -> cancelled | succeeded (it was done before it noticed)
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass

from google.protobuf.json_format import MessageToJson, Parse

from penult_proto.enums import name_or
from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.clock import timestamp
from penult_server.errors import ServiceError, unknown
from penult_server.registry.database import Database
from penult_server.registry.finding import Finder
from penult_server.registry.pages import Condition, equals, read_page

ENDED = frozenset({pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED})
EVENTS_AT_ONCE = 1000
KINDS = {
    "finetune": "finetune",
    "extract": "extract",
    "register_dataset": "registerDataset",
    "import_checkpoint": "importCheckpoint",
}
"""Kinds of work, and what each is called in a stored message."""
REUSABLE = ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED")
UNFINISHED = ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_CANCELLING")

NEXT = """
SELECT job.id, coalesce(card.user, '') AS who FROM job
LEFT JOIN card ON card.kind = 'job' AND card.id = job.id
WHERE job.state = 'JOB_STATE_QUEUED'
ORDER BY
    (SELECT count(*) FROM job AS other JOIN card AS its ON its.kind = 'job' AND its.id = other.id
     WHERE other.state IN ('JOB_STATE_RUNNING', 'JOB_STATE_CANCELLING') AND its.user = who),
    (SELECT coalesce(max(turn.value), -1) FROM json_each(?) AS turn WHERE turn.key = who),
    job.created, job.rowid
LIMIT 1
"""
"""The id of the job that is started next, and whose it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCount:
    """Jobs of one state, kind and user."""

    state: str
    kind: str
    user: str
    number: int
    oldest: float
    """When the first of them was made, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class UserLimit:
    """How many jobs of one user may wait."""

    user: str
    most: int


class JobTable:
    """Reads and writes jobs. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._finder = Finder(database)
        self._turns: dict[str, int] = {}
        """When each user's last job was started, as the number of the start; since this server began."""

    def find(self, name: str) -> str:
        """The id of a job by a name, an id or the unique start of one. Raises ServiceError (UNKNOWN_JOB)."""
        return self._finder.find("job", name)

    def page(self, request: pb.ListJobsRequest, limit: int) -> "tuple[list[pb.Job], str]":
        """Jobs, newest first, and the next page. Raises ServiceError (INVALID_ARGUMENT) for an unknown kind."""
        conditions = equals("dataset", request.dataset)
        if request.states:
            marks = ", ".join("?" * len(request.states))
            conditions.append(Condition(f"t.state IN ({marks})", (*map(pb.JobState.Name, request.states),)))
        if request.kind:
            if request.kind not in KINDS:
                raise unknown(ErrorKind.INVALID_ARGUMENT, "kind of job", request.kind, list(KINDS))
            conditions.append(Condition(f"json_extract(t.message, '$.spec.{KINDS[request.kind]}') IS NOT NULL", ()))
        page = read_page(self._database, "job", conditions, request.options, limit)
        return [Parse(one, pb.Job()) for one in page.messages], page.next_page

    def create(
        self,
        spec: pb.JobSpec,
        spec_digest: str,
        request_id: str,
        max_queued: int,
        *,
        may_stop: bool = False,
        of_user: UserLimit | None = None,
    ) -> pb.Job:
        """A new queued job; or the one that `request_id` already made.

        Raises ServiceError: REQUEST_ID_REUSED when that id made a job of another spec, QUEUE_FULL, QUOTA_EXCEEDED.
        """
        with self._database.transaction() as connection:
            if request_id:
                made = connection.execute(
                    "SELECT message, spec_digest FROM job WHERE request_id = ?", (request_id,)
                ).fetchone()
                if made:
                    if made[1] != spec_digest:
                        raise ServiceError(
                            ErrorKind.REQUEST_ID_REUSED,
                            f"request_id {request_id!r} already made a job of another spec; use a new one",
                            request_id=request_id,
                        )
                    return Parse(made[0], pb.Job())
            waiting = connection.execute("SELECT count(*) FROM job WHERE state = 'JOB_STATE_QUEUED'").fetchone()[0]
            if waiting >= max_queued:
                raise ServiceError(
                    ErrorKind.QUEUE_FULL,
                    f"{waiting} jobs wait already, the limit of this server; ask again when some have run",
                    limit=max_queued,
                )
            if of_user:
                _check_quota(connection, of_user)
            job = pb.Job(
                id=uuid.uuid4().hex[:12],
                spec=spec,
                state=pb.JOB_STATE_QUEUED,
                created=timestamp(),
                may_stop=may_stop,
            )
            # Jobs run in the order in which they came, also by a clock that was put back.
            (newest,) = connection.execute("SELECT coalesce(max(created), 0) FROM job").fetchone()
            connection.execute(
                "INSERT INTO job (id, spec_digest, request_id, state, created, message) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    spec_digest,
                    request_id or None,
                    "JOB_STATE_QUEUED",
                    max(time.time(), newest),
                    MessageToJson(job),
                ),
            )
        return self._update(job, pb.JobEvent(state=pb.JOB_STATE_QUEUED))

    def find_equal(self, spec_digest: str) -> pb.Job | None:
        """The newest job of the same work that waits, runs or has succeeded."""
        rows = self._database.checked(
            "job",
            f"WHERE t.spec_digest = ? AND t.state IN {REUSABLE} ORDER BY t.created DESC LIMIT 1",
            spec_digest,
        )
        return Parse(rows[0][0], pb.Job()) if rows else None

    def get(self, job_id: str) -> pb.Job:
        """Raises ServiceError (UNKNOWN_JOB)."""
        rows = self._database.checked("job", "WHERE t.id = ?", job_id)
        if not rows:
            raise ServiceError(
                ErrorKind.UNKNOWN_JOB, f"there is no job {job_id!r}; `penult jobs` lists them", id=job_id
            )
        return Parse(rows[0][0], pb.Job())

    def list(self, states: "list[pb.JobState.ValueType]", limit: int) -> "list[pb.Job]":
        """The newest `limit` (at least 1) of these states, all states when empty; newest first."""
        names = [pb.JobState.Name(state) for state in states] or list(pb.JobState.keys())
        marks = ", ".join("?" * len(names))
        rows = self._database.checked(
            "job",
            f"WHERE t.state IN ({marks}) ORDER BY t.created DESC, t.rowid DESC LIMIT ?",
            *names,
            limit,
        )
        return [Parse(row[0], pb.Job()) for row in rows]

    def start_next(self, fits: Callable[[pb.Job], bool] = lambda _: True) -> pb.Job | None:
        """queued -> running for the next job, if one waits and if it fits; none goes before one that does not fit yet.

        The next is of the user who has the fewest running, of these the one whose turn was longest ago, and of that
        user's the oldest: many jobs of one do not hold the others back.
        """
        rows = self._database.rows(NEXT, json.dumps(self._turns))
        if not rows:
            return None
        job = self.get(rows[0][0])
        if not fits(job):
            return None
        self._turns[rows[0][1]] = max(self._turns.values(), default=-1) + 1
        job.state = pb.JOB_STATE_RUNNING
        job.attempt += 1
        job.started.CopyFrom(timestamp())
        return self._update(job, pb.JobEvent(state=job.state))

    def is_of(self, job_id: str, spec_digest: str) -> bool:
        """Whether the job is still the work it was asked for; a registration always is."""
        job = self.get(job_id)
        rows = self._database.rows("SELECT spec_digest FROM job WHERE id = ?", job_id)
        return job.spec.HasField("register_dataset") or rows[0][0] == spec_digest

    def events(self, job_id: str, after_seq: int) -> "list[pb.JobEvent]":
        """Events with a number above `after_seq`, in order; the first of them, when there are many."""
        rows = self._database.checked(
            "job_event",
            f"WHERE t.job = ? AND t.seq > ? ORDER BY t.seq LIMIT {EVENTS_AT_ONCE}",
            job_id,
            after_seq,
        )
        return [Parse(row[0], pb.JobEvent()) for row in rows]

    def same_work(self, job_id: str, states: "Collection[pb.JobState.ValueType]") -> "list[str]":
        """Ids of the jobs of the same work that are in one of these states, newest first; its own may be among them."""
        names = [pb.JobState.Name(state) for state in states]
        rows = self._database.rows(
            "SELECT id FROM job WHERE spec_digest = (SELECT spec_digest FROM job WHERE id = ?) "
            f"AND state IN ({', '.join('?' * len(names))}) ORDER BY created DESC, rowid DESC",
            job_id,
            *names,
        )
        return [row[0] for row in rows]

    def is_any_wanted(self) -> bool:
        """Whether there is a job that has not ended and for which an embedded server stays."""
        query = f"SELECT 1 FROM job WHERE state IN {UNFINISHED} AND json_extract(message, '$.mayStop') IS NULL LIMIT 1"
        return bool(self._database.rows(query))

    def keep(self, job_id: str) -> pb.Job:
        """Somebody wants it finished: an embedded server stays for it from now on."""
        job = self.get(job_id)
        if job.may_stop and job.state not in ENDED:
            job.may_stop = False
            with self._database.transaction() as connection:
                _store(connection, job)
        return job

    def requeue(self, job_id: str) -> pb.Job:
        """running -> queued, because who ran it is gone; cancelling -> cancelled; others stay as they are."""
        job = self.get(job_id)
        if job.state == pb.JOB_STATE_CANCELLING:
            return self._end(job, pb.JOB_STATE_CANCELLED)
        if job.state != pb.JOB_STATE_RUNNING:
            return job
        job.state = pb.JOB_STATE_QUEUED
        job.ClearField("progress")
        return self._update(job, pb.JobEvent(state=job.state))

    def counts(self) -> tuple[JobCount, ...]:
        """How many jobs have not ended, by state, kind and user."""
        kinds = " ".join(
            f"WHEN json_type(t.message, '$.spec.{name}') IS NOT NULL THEN '{kind}'" for kind, name in KINDS.items()
        )
        marks = ", ".join("?" * len(UNFINISHED))
        rows = self._database.rows(
            f"SELECT t.state, CASE {kinds} END, c.user, count(*), min(t.created) FROM job t "
            "JOIN card c ON c.kind = 'job' AND c.id = t.id "
            f"WHERE t.state IN ({marks}) GROUP BY 1, 2, 3",
            *UNFINISHED,
        )
        return tuple(
            JobCount(
                state=name_or(pb.JobState, pb.JobState.Value(state), "queued"),
                kind=kind,
                user=user,
                number=int(number),
                oldest=float(oldest),
            )
            for state, kind, user, number, oldest in rows
        )

    def count_death(self, job_id: str) -> int:
        """Note that the job's worker died while the server lived.

        Returns how often it has since the job last got further (`note_saved`).
        """
        with self._database.transaction() as connection:
            connection.execute("UPDATE job SET deaths = deaths + 1 WHERE id = ?", (job_id,))
            return int(connection.execute("SELECT deaths FROM job WHERE id = ?", (job_id,)).fetchone()[0])

    def note_saved(self, job_id: str, saved: float) -> pb.Job:
        """So much of the job need not be done again; when that is more than before, deaths are counted anew."""
        job = self.get(job_id)
        if saved > job.saved:
            job.saved = saved
            with self._database.transaction() as connection:
                _store(connection, job)
                connection.execute("UPDATE job SET deaths = 0 WHERE id = ?", (job_id,))
        return job

    def report(self, job_id: str, event: pb.JobEvent) -> pb.Job:
        """Keep an event of a running job: progress, metrics or a checkpoint."""
        job = self.get(job_id)
        if event.HasField("progress"):
            job.progress.CopyFrom(event.progress)
        return self._update(job, event)

    def succeed(self, job_id: str, result: pb.JobResult) -> pb.Job:
        """running or cancelling -> succeeded."""
        job = self.get(job_id)
        job.result.CopyFrom(result)
        return self._end(job, pb.JOB_STATE_SUCCEEDED)

    def fail(self, job_id: str, error: pb.Error) -> pb.Job:
        """-> failed, with the reason; a job that is to be cancelled ends as cancelled, whatever went wrong."""
        job = self.get(job_id)
        if job.state == pb.JOB_STATE_CANCELLING:
            return self._end(job, pb.JOB_STATE_CANCELLED)
        job.error.CopyFrom(error)
        return self._end(job, pb.JOB_STATE_FAILED)

    def ask_to_cancel(self, job_id: str) -> pb.Job:
        """queued -> cancelled, running -> cancelling; a job in another state stays as it is."""
        job = self.get(job_id)
        if job.state == pb.JOB_STATE_QUEUED:
            return self._end(job, pb.JOB_STATE_CANCELLED)
        if job.state != pb.JOB_STATE_RUNNING:
            return job
        job.state = pb.JOB_STATE_CANCELLING
        return self._update(job, pb.JobEvent(state=job.state))

    def cancel(self, job_id: str) -> pb.Job:
        """-> cancelled; a job that has ended stays as it is."""
        return self._end(self.get(job_id), pb.JOB_STATE_CANCELLED)

    def _end(self, job: pb.Job, state: "pb.JobState.ValueType") -> pb.Job:
        if job.state in ENDED:
            return job
        job.state = state
        job.finished.CopyFrom(timestamp())
        return self._update(job, pb.JobEvent(state=state))

    def _update(self, job: pb.Job, event: pb.JobEvent) -> pb.Job:
        """Store the job and number its event, together."""
        job.last_seq += 1
        event.seq = job.last_seq
        event.time.CopyFrom(timestamp())
        with self._database.transaction() as connection:
            _store(connection, job)
            if event.HasField("progress"):
                # Of progress only the newest is kept: a long job would leave hundreds of thousands.
                connection.execute("DELETE FROM job_event WHERE job = ? AND kind = 'progress'", (job.id,))
            connection.execute(
                "INSERT INTO job_event VALUES (?, ?, ?, ?)",
                (job.id, event.seq, event.WhichOneof("kind"), MessageToJson(event)),
            )
        return job


def _store(connection: sqlite3.Connection, job: pb.Job) -> None:
    """Replace what is stored of a job."""
    connection.execute(
        "UPDATE job SET state = ?, message = ? WHERE id = ?",
        (pb.JobState.Name(job.state), MessageToJson(job), job.id),
    )


def _check_quota(connection: sqlite3.Connection, of_user: UserLimit) -> None:
    """Raise ServiceError (QUOTA_EXCEEDED) where as many jobs of a user wait as may."""
    query = (
        "SELECT count(*) FROM job JOIN card ON card.kind = 'job' AND card.id = job.id "
        "WHERE job.state = 'JOB_STATE_QUEUED' AND card.user = ?"
    )
    waiting = connection.execute(query, (of_user.user,)).fetchone()[0]
    if waiting >= of_user.most:
        raise ServiceError(
            ErrorKind.QUOTA_EXCEEDED,
            f"{waiting} jobs of {of_user.user} wait, and {of_user.most} is the most of one user; ask again when "
            "some have run",
            used=waiting,
            limit=of_user.most,
            user=of_user.user,
        )
