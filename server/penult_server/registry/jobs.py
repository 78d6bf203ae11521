"""Jobs in the registry: created once per distinct work, numbered events, states that only move forward.

queued -> running -> succeeded | failed        running -> queued (its worker or server died)
queued -> cancelled        running -> cancelling -> cancelled | succeeded (it was done before it noticed)

Every change is one transaction that locks the job's row and looks at its state. Each attempt has a number, its token:
a worker's word names the token of its own, and changes nothing once the attempt is over.
"""

import time
import uuid
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from google.protobuf.json_format import MessageToJson, Parse
from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update

from penult_proto.enums import name_or
from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.clock import timestamp
from penult_server.errors import ServiceError, unknown
from penult_server.registry.database import Database
from penult_server.registry.finding import Finder
from penult_server.registry.pages import equals, read_page
from penult_server.registry.sql.expressions import now, value_at
from penult_server.registry.tables import card, job_event
from penult_server.registry.tables import job as jobs

ENDED = frozenset({pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED})
EVENTS_AT_ONCE = 1000
KINDS = {
    "finetune": "finetune",
    "extract": "extract",
    "register_dataset": "registerDataset",
    "import_checkpoint": "importCheckpoint",
    "merge": "merge",
    "merge_curve": "mergeCurve",
    "merge_report": "mergeReport",
}
"""Kinds of work, and what each is called in a stored message."""
REUSABLE = ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED")
UNFINISHED = ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_CANCELLING")

QUEUED = "JOB_STATE_QUEUED"
IN_HAND = ("JOB_STATE_RUNNING", "JOB_STATE_CANCELLING")
"""States of a job that has an attempt in progress."""
LEASE_SECONDS = 60.0
"""How long an attempt is its server's without a word of it."""


class Superseded(Exception):  # noqa: N818  no mistake
    """The attempt is over, or another has started: the word of its worker changes nothing."""


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

    def __init__(self, database: Database, owner: str = "", lease: float = LEASE_SECONDS) -> None:
        """`owner`: the server whose attempts these are; `lease`: for how many seconds, without a word of it."""
        self._database = database
        self._lease = lease
        self._owner = owner or uuid.uuid4().hex[:12]
        self._finder = Finder(database)
        self._turns: dict[str, int] = {}
        """When each user's last job was started, as the number of the start; since this server began."""

    def find(self, name: str) -> str:
        """The id of a job by a name, an id or the unique start of one. Raises ServiceError (UNKNOWN_JOB)."""
        return self._finder.find("job", name)

    def page(self, request: pb.ListJobsRequest, limit: int) -> "tuple[list[pb.Job], str]":
        """Jobs, newest first, and the next page. Raises ServiceError (INVALID_ARGUMENT) for an unknown kind."""
        conditions = equals(jobs.c.dataset, request.dataset)
        if request.states:
            conditions.append(jobs.c.state.in_([*map(pb.JobState.Name, request.states)]))
        if request.kind:
            if request.kind not in KINDS:
                raise unknown(ErrorKind.INVALID_ARGUMENT, "kind of job", request.kind, list(KINDS))
            conditions.append(value_at(jobs.c.message, f"spec.{KINDS[request.kind]}").is_not(None))
        page = read_page(self._database, jobs, conditions, request.options, limit)
        return page.read(pb.Job), page.next_page

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
                query = select(jobs.c.message, jobs.c.spec_digest).where(jobs.c.request_id == request_id)
                made = connection.execute(query).first()
                if made:
                    if made[1] != spec_digest:
                        raise ServiceError(
                            ErrorKind.REQUEST_ID_REUSED,
                            f"request_id {request_id!r} already made a job of another spec; use a new one",
                            request_id=request_id,
                        )
                    return Parse(made[0], pb.Job())
            query = select(func.count()).select_from(jobs).where(jobs.c.state == QUEUED)
            waiting = int(connection.execute(query).scalar_one())
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
            newest = float(connection.execute(select(func.coalesce(func.max(jobs.c.created), 0.0))).scalar_one())
            values = {
                "id": job.id,
                "spec_digest": spec_digest,
                "request_id": request_id or None,
                "state": QUEUED,
                "created": max(time.time(), newest),
                "message": MessageToJson(job),
            }
            connection.execute(insert(jobs).values(**values))
            return _write(connection, job, pb.JobEvent(state=job.state))

    def find_equal(self, spec_digest: str) -> pb.Job | None:
        """The newest job of the same work that waits, runs or has succeeded."""
        found = select(jobs.c.message).where(jobs.c.spec_digest == spec_digest, jobs.c.state.in_(REUSABLE))
        rows = self._database.checked_rows(jobs, found.order_by(jobs.c.created.desc()).limit(1))
        return Parse(rows[0][0], pb.Job()) if rows else None

    def get(self, job_id: str) -> pb.Job:
        """Raises ServiceError (UNKNOWN_JOB)."""
        rows = self._database.checked(jobs, id=job_id)
        if not rows:
            raise _unknown(job_id)
        return Parse(rows[0][0], pb.Job())

    def list(self, states: "list[pb.JobState.ValueType]", limit: int) -> "list[pb.Job]":
        """The newest `limit` (at least 1) of these states, all states when empty; newest first."""
        names = [pb.JobState.Name(state) for state in states] or list(pb.JobState.keys())
        found = select(jobs.c.message).where(jobs.c.state.in_(names))
        rows = self._database.checked_rows(jobs, found.order_by(*_NEWEST).limit(limit))
        return [Parse(row[0], pb.Job()) for row in rows]

    def start_next(self, fits: Callable[[pb.Job], bool] = lambda _: True) -> pb.Job | None:
        """queued -> running for the next job, if one waits and if it fits; none goes before one that does not fit yet.

        The next is of the user who has the fewest running, of these the one whose turn was longest ago, and of that
        user's the oldest: many jobs of one do not hold the others back.
        """
        for job_id, user in self._waiting():
            if not fits(self.get(job_id)):
                return None
            job = self._claim(job_id)
            if job is not None:  # else another server was quicker
                self._turns[user] = max(self._turns.values(), default=-1) + 1
                return job
        return None

    def _waiting(self) -> "list[tuple[str, str]]":
        """Ids of the jobs that wait, and whose they are, in the order in which they are to run."""
        its_card = (card.c.kind == "job") & (card.c.id == jobs.c.id)
        running = select(card.c.user, func.count()).join_from(jobs, card, its_card).where(jobs.c.state.in_(IN_HAND))
        n_running: dict[str, int] = dict(map(tuple, self._database.rows(running.group_by(card.c.user))))
        waiting = select(jobs.c.id, func.coalesce(card.c.user, "")).outerjoin_from(jobs, card, its_card)
        rows = self._database.rows(waiting.where(jobs.c.state == QUEUED).order_by(jobs.c.created, jobs.c.rowid))
        found = [(str(id), str(user)) for id, user in rows]
        return sorted(found, key=lambda one: (n_running.get(one[1], 0), self._turns.get(one[1], -1)))

    def _claim(self, job_id: str) -> pb.Job | None:
        """Begin an attempt at a job that waits; None where it does no longer."""
        waits = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.state == QUEUED)
        claimed = (
            update(jobs)
            .where(jobs.c.id == waits.with_for_update(skip_locked=True).scalar_subquery())
            .values(token=jobs.c.token + 1, lease_owner=self._owner, lease_expires=now() + self._lease)
            .returning(jobs.c.message, jobs.c.token)
        )
        with self._database.transaction() as connection:
            row = connection.execute(claimed).first()
            if row is None:
                return None
            job = Parse(row[0], pb.Job())
            job.state = pb.JOB_STATE_RUNNING
            job.attempt = int(row[1])
            job.started.CopyFrom(timestamp())
            return _write(connection, job, pb.JobEvent(state=job.state))

    def check_held(self, job_id: str, token: int) -> None:
        """Raise Superseded where the attempt of a token is over."""
        rows = self._database.rows(_HELD, {"id": job_id})
        if not rows or rows[0][0] != token or rows[0][1] not in IN_HAND:
            raise Superseded(f"attempt {token} at job {job_id}")

    def renew_leases(self) -> None:
        """The attempts of this server are its own for a lease from now."""
        mine = (jobs.c.lease_owner == self._owner, jobs.c.state.in_(IN_HAND))
        with self._database.transaction() as connection:
            connection.execute(update(jobs).where(*mine).values(lease_expires=now() + self._lease))

    def abandoned(self) -> "list[pb.Job]":
        """Jobs whose lease is over, or whose server is this one; of a file, whose server is alone, all in progress."""
        found = select(jobs.c.message).where(jobs.c.state.in_(IN_HAND))
        if not self._database.is_file:
            is_over = jobs.c.lease_expires < now()
            found = found.where(jobs.c.lease_owner.is_(None) | (jobs.c.lease_owner == self._owner) | is_over)
        return [Parse(row[0], pb.Job()) for row in self._database.checked_rows(jobs, found.order_by(*_NEWEST))]

    def is_of(self, job_id: str, spec_digest: str) -> bool:
        """Whether the job is still the work it was asked for; a registration always is."""
        job = self.get(job_id)
        rows = self._database.rows(select(jobs.c.spec_digest).where(jobs.c.id == job_id))
        return job.spec.HasField("register_dataset") or rows[0][0] == spec_digest

    def events(self, job_id: str, after_seq: int) -> "list[pb.JobEvent]":
        """Events with a number above `after_seq`, in order; the first of them, when there are many."""
        found = select(job_event.c.message).where(job_event.c.job == job_id, job_event.c.seq > after_seq)
        rows = self._database.checked_rows(job_event, found.order_by(job_event.c.seq).limit(EVENTS_AT_ONCE))
        return [Parse(row[0], pb.JobEvent()) for row in rows]

    def same_work(self, job_id: str, states: "Collection[pb.JobState.ValueType]") -> "list[str]":
        """Ids of the jobs of the same work that are in one of these states, newest first; its own may be among them."""
        names = [pb.JobState.Name(state) for state in states]
        its = select(jobs.c.spec_digest).where(jobs.c.id == job_id).scalar_subquery()
        found = select(jobs.c.id).where(jobs.c.spec_digest == its, jobs.c.state.in_(names))
        return [row[0] for row in self._database.rows(found.order_by(*_NEWEST))]

    def is_any_wanted(self) -> bool:
        """Whether there is a job that has not ended and for which an embedded server stays."""
        is_wanted = value_at(jobs.c.message, "mayStop").is_(None)
        return bool(self._database.rows(select(jobs.c.id).where(jobs.c.state.in_(UNFINISHED), is_wanted).limit(1)))

    def keep(self, job_id: str) -> pb.Job:
        """Somebody wants it finished: an embedded server stays for it from now on."""
        job = self.get(job_id)
        if not job.may_stop or job.state in ENDED:
            return job
        with self._changing(job_id) as (connection, job):
            if job.state not in ENDED:
                job.may_stop = False
                _store(connection, job)
        return job

    def requeue(self, job_id: str, token: int | None = None) -> pb.Job:
        """running -> queued, because who ran it is gone; cancelling -> cancelled; others stay as they are."""
        with self._changing(job_id, token) as (connection, job):
            if job.state == pb.JOB_STATE_CANCELLING:
                return _end(connection, job, pb.JOB_STATE_CANCELLED)
            if job.state != pb.JOB_STATE_RUNNING:
                return job
            job.state = pb.JOB_STATE_QUEUED
            job.ClearField("progress")
            return _write(connection, job, pb.JobEvent(state=job.state))

    def counts(self) -> tuple[JobCount, ...]:
        """How many jobs have not ended, by state, kind and user."""
        kinds = case(*((value_at(jobs.c.message, f"spec.{name}").is_not(None), kind) for kind, name in KINDS.items()))
        rows = self._database.rows(
            select(jobs.c.state, kinds.label("kind_of_work"), card.c.user, func.count(), func.min(jobs.c.created))
            .join_from(jobs, card, (card.c.kind == "job") & (card.c.id == jobs.c.id))
            .where(jobs.c.state.in_(UNFINISHED))
            .group_by(jobs.c.state, "kind_of_work", card.c.user)
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

    def count_death(self, job_id: str, token: int | None = None) -> int:
        """Note that the job's worker died while the server lived.

        Returns how often it has since the job last got further (`note_saved`).
        """
        with self._changing(job_id, token) as (connection, _):
            died = update(jobs).where(jobs.c.id == job_id).values(deaths=jobs.c.deaths + 1).returning(jobs.c.deaths)
            return int(connection.execute(died).scalar_one())

    def note_saved(self, job_id: str, saved: float, token: int | None = None) -> pb.Job:
        """So much of the job need not be done again; when that is more than before, deaths are counted anew."""
        with self._changing(job_id, token) as (connection, job):
            if saved > job.saved:
                job.saved = saved
                _store(connection, job, deaths=0)
            return job

    def report(self, job_id: str, event: pb.JobEvent, token: int | None = None) -> pb.Job:
        """Keep an event of a running job: progress, metrics or a checkpoint."""
        with self._changing(job_id, token) as (connection, job):
            if event.HasField("progress"):
                job.progress.CopyFrom(event.progress)
            return _write(connection, job, event)

    def succeed(self, job_id: str, result: pb.JobResult, token: int | None = None) -> pb.Job:
        """running or cancelling -> succeeded."""
        with self._changing(job_id, token) as (connection, job):
            job.result.CopyFrom(result)
            return _end(connection, job, pb.JOB_STATE_SUCCEEDED)

    def fail(self, job_id: str, error: pb.Error, token: int | None = None) -> pb.Job:
        """-> failed, with the reason; a job that is to be cancelled ends as cancelled, whatever went wrong."""
        with self._changing(job_id, token) as (connection, job):
            if job.state == pb.JOB_STATE_CANCELLING:
                return _end(connection, job, pb.JOB_STATE_CANCELLED)
            job.error.CopyFrom(error)
            return _end(connection, job, pb.JOB_STATE_FAILED)

    def ask_to_cancel(self, job_id: str) -> pb.Job:
        """queued -> cancelled, running -> cancelling; a job in another state stays as it is."""
        with self._changing(job_id) as (connection, job):
            if job.state == pb.JOB_STATE_QUEUED:
                return _end(connection, job, pb.JOB_STATE_CANCELLED)
            if job.state != pb.JOB_STATE_RUNNING:
                return job
            job.state = pb.JOB_STATE_CANCELLING
            return _write(connection, job, pb.JobEvent(state=job.state))

    def cancel(self, job_id: str, token: int | None = None) -> pb.Job:
        """-> cancelled; a job that has ended stays as it is."""
        with self._changing(job_id, token) as (connection, job):
            return _end(connection, job, pb.JOB_STATE_CANCELLED)

    @contextmanager
    def _changing(self, job_id: str, token: int | None = None) -> Generator[tuple[Connection, pb.Job], None, None]:
        """A job whose row nobody else may change meanwhile. `token`: of the attempt whose worker has the word.

        Raises ServiceError (UNKNOWN_JOB); Superseded where that attempt is over.
        """
        with self._database.transaction() as connection:
            rows = self._database.checked(jobs, "message", "token", locked=True, id=job_id)
            if not rows:
                raise _unknown(job_id)
            job = Parse(rows[0][0], pb.Job())
            if token is not None and (rows[0][1] != token or pb.JobState.Name(job.state) not in IN_HAND):
                raise Superseded(f"attempt {token} at job {job_id}")
            yield connection, job


_NEWEST = (jobs.c.created.desc(), jobs.c.rowid.desc())
_HELD = select(jobs.c.token, jobs.c.state).where(jobs.c.id == bindparam("id"))


def _end(connection: Connection, job: pb.Job, state: "pb.JobState.ValueType") -> pb.Job:
    if job.state in ENDED:
        return job
    job.state = state
    job.finished.CopyFrom(timestamp())
    return _write(connection, job, pb.JobEvent(state=state))


def _write(connection: Connection, job: pb.Job, event: pb.JobEvent) -> pb.Job:
    """Store the job and number its event, together."""
    job.last_seq += 1
    event.seq = job.last_seq
    event.time.CopyFrom(timestamp())
    _store(connection, job)
    if event.HasField("progress"):
        # Of progress only the newest is kept: a long job would leave hundreds of thousands.
        connection.execute(delete(job_event).where(job_event.c.job == job.id, job_event.c.kind == "progress"))
    values = {"job": job.id, "seq": event.seq, "kind": event.WhichOneof("kind"), "message": MessageToJson(event)}
    connection.execute(insert(job_event).values(**values))
    return job


def _store(connection: Connection, job: pb.Job, **values: object) -> None:
    """Replace what is stored of a job."""
    state = pb.JobState.Name(job.state)
    if state not in IN_HAND:
        values |= {"lease_owner": None, "lease_expires": None}
    stored = update(jobs).where(jobs.c.id == job.id)
    connection.execute(stored.values(state=state, message=MessageToJson(job), **values))


def _unknown(job_id: str) -> ServiceError:
    return ServiceError(ErrorKind.UNKNOWN_JOB, f"there is no job {job_id!r}; `penult jobs` lists them", id=job_id)


def _check_quota(connection: Connection, of_user: UserLimit) -> None:
    """Raise ServiceError (QUOTA_EXCEEDED) where as many jobs of a user wait as may."""
    its_card = (card.c.kind == "job") & (card.c.id == jobs.c.id)
    query = select(func.count()).select_from(jobs.join(card, its_card))
    query = query.where(jobs.c.state == QUEUED, card.c.user == of_user.user)
    waiting = int(connection.execute(query).scalar_one())
    if waiting >= of_user.most:
        raise ServiceError(
            ErrorKind.QUOTA_EXCEEDED,
            f"{waiting} jobs of {of_user.user} wait, and {of_user.most} is the most of one user; ask again when "
            "some have run",
            used=waiting,
            limit=of_user.most,
            user=of_user.user,
        )
