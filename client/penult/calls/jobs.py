"""The jobs of a server, ``client.jobs``, and how calls start one."""


# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from penult.arguments.coerce import build, check_choice, choice, listed, text, whole
from penult.calls import storage
from penult.calls.catalog.paging import collect, describe
from penult.calls.job import Job, JobOutcome, any_result
from penult.connection.rpc import Connection
from penult.results.lists.listing import Listing
from penult.results.records import Dataset
from penult.results.space.deletion import Deletion
from penult.types import JobState
from penult.wire import encode
from penult.wire.encode import Since
from penult.wire.references import dataset_name
from penult_proto.v1 import cards_pb2, catalog_pb2, jobs_pb2

if TYPE_CHECKING:
    pass

T = TypeVar("T")
JobKind = Literal[
    "finetune", "extract", "register_dataset", "import_checkpoint", "merge", "merge_curve", "merge_report"
]


def create(
    connection: Connection,
    spec: jobs_pb2.JobSpec,
    result: Callable[[jobs_pb2.JobResult], T],
    *,
    card: cards_pb2.Card | None = None,
    timeout: float,
    make: Callable[[Connection, jobs_pb2.Job, Callable[[jobs_pb2.JobResult], T]], Job[T]] = Job,
) -> Job[T]:
    """Start a job, or find the one that does or did the same; `card` is added to what is said of it.

    `make`: what becomes of the message.
    """
    request = build(jobs_pb2.CreateJobRequest, spec=spec, card=card, may_stop=connection.may_stop)
    job = make(connection, connection.unary(connection.stubs.jobs.CreateJob, request, timeout=timeout), result)
    if job.may_stop and not job.ended and not connection.has_said_may_stop:
        connection.has_said_may_stop = True
        sys.stderr.write(
            f"penult: job {job.id} and those after it stop with the last client of {connection.root}, and go on "
            'when it is next opened (jobs="stop")\n'
        )
    return job


def log_pieces(connection: Connection, id: str, first: int, *, timeout: float) -> Iterator[str]:
    """A job's log from the byte `first` on, which counts from the end when negative, a MiB at a time."""
    decoder = getincrementaldecoder("utf-8")("replace")
    while True:
        request = build(jobs_pb2.GetJobLogRequest, id=id, offset=first)
        piece = connection.unary(connection.stubs.jobs.GetJobLog, request, timeout=timeout)
        yield decoder.decode(piece.content, final=not piece.content)
        if not piece.content:
            return
        first = piece.offset + len(piece.content)


def check(connection: Connection, spec: jobs_pb2.JobSpec, *, card: cards_pb2.Card, timeout: float) -> None:
    """Raise what `create` would, and start nothing."""
    request = build(jobs_pb2.CreateJobRequest, spec=spec, card=card, dry_run=True)
    connection.unary(connection.stubs.jobs.CreateJob, request, timeout=timeout)


def job_row(job: Job[Any]) -> dict[str, object]:
    """What a list says of a job."""
    return {
        "id": job.id,
        "name": job.name,
        "state": job.state,
        "title": job.title,
        "stage": job.stage,
        "tags": job.tags,
        "note": job.note,
        "user": job.user,
        "created": job.created,
    }


class Jobs:
    """The jobs of a server: ``client.jobs``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, id: Job[Any] | str, *, timeout: float = 30.0) -> Job[JobOutcome]:
        """The job of an id, of the start of one (at least 4 characters), or of a name. Raises `NotFound`."""
        request = build(jobs_pb2.GetJobRequest, id=id.id if isinstance(id, Job) else text("id", id))
        message = self._connection.unary(self._connection.stubs.jobs.GetJob, request, timeout=timeout)
        return Job(self._connection, message, any_result)

    def list(
        self,
        *,
        states: Sequence[JobState] = (),
        kind: JobKind | None = None,
        dataset: Dataset | str | None = None,
        tag: str | Sequence[str] | None = None,
        name: str | None = None,
        since: Since | None = None,
        user: str | None = None,
        limit: int | None = 100,
        timeout: float = 30.0,
    ) -> Listing[Job[JobOutcome]]:
        """Jobs, newest first, as a list that prints as a table; the newest 100 by default.

        Parameters
        ----------
        states : such as ``["queued", "running"]``; all by default.
        kind : "finetune", "extract", "register_dataset", "import_checkpoint", "merge",
            "merge_curve" or "merge_report".
        dataset : what they work on.
        tag, name, since, user, limit : as for `Runs.list`.
        timeout : seconds for each page of the list.
        """
        wanted = listed("states", states, "['queued', 'running']")
        numbers = [choice("states", state, jobs_pb2.JobState) for state in wanted]
        if kind is not None:
            check_choice("kind", kind, get_args(JobKind))
        of = "" if dataset is None else dataset_name(dataset)
        found = collect(
            lambda options, length: self._connection.unary(
                self._connection.stubs.jobs.ListJobs,
                build(
                    jobs_pb2.ListJobsRequest,
                    states=numbers,
                    kind=kind or "",
                    dataset=of,
                    options=options,
                    limit=length,
                ),
                timeout=timeout,
            ),
            lambda page: page.jobs,
            encode.list_options(tag=tag, name=name, since=since, user=user),
            limit,
        )
        return Listing((Job(self._connection, message, any_result) for message in found), job_row)

    def log(self, job: Job[Any] | str, *, last: int | None = None, timeout: float = 30.0) -> str:
        """What the work of a job has printed, with the log lines of its worker; of a large log the middle was cut out.

        Parameters
        ----------
        last : bytes at the end of the log to have alone; all of it by default.
        timeout : seconds for each MiB.
        """
        id = job.id if isinstance(job, Job) else text("job", job)
        first = 0 if last is None else -whole("last", last)
        return "".join(log_pieces(self._connection, id, first, timeout=timeout))

    def describe(
        self,
        job: Job[Any] | str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 30.0,
    ) -> Job[JobOutcome]:
        """Name a job, tag it, write a note; see `Runs.describe`. Returns it, with its notes.

        What the job makes gets what its card says when it ends; what it has made has a card of its own, which stays.

        Raises
        ------
        InvalidRequest : a name, a tag or a note that cannot be one; a name of a job that makes several things, or a
            dataset, which is named by itself.
        NotFound : kind ``unknown_job``.
        """
        id, notes = describe(
            self._connection,
            catalog_pb2.THING_KIND_JOB,
            job.id if isinstance(job, Job) else text("job", job),
            name=name,
            tags=tags,
            note=note,
            timeout=timeout,
        )
        found = self.get(id, timeout=timeout)
        found.notes = (*found.notes, *notes)
        return found

    def delete(
        self,
        job: Job[Any] | str,
        *,
        dependents: bool = False,
        dry_run: bool = False,
        timeout: float = storage.DELETE_SECONDS,
    ) -> Deletion:
        """Delete the record and the log of a job that has ended. What it made stays.

        Of a finetuning that failed or was cancelled the checkpoints that it left go with it. Where a finetuning has
        succeeded its run stays; but since the record said that it is done, the same request is then run again, as a new
        run whose checkpoints are shared with the old one.

        Parameters
        ----------
        dependents : delete what depends on it, too.
        dry_run : only say what would go, what stays, and what is in the way.
        timeout : seconds.

        Raises
        ------
        NotFound : there is no such job.
        PreconditionFailed : kind ``in_use``: something depends on it, or a job that waits or runs needs or makes it;
            the message lists what, with bytes. Nothing was deleted.
        """
        return storage.delete(
            self._connection,
            "job",
            job.id if isinstance(job, Job) else text("job", job),
            dependents=dependents,
            dry_run=dry_run,
            timeout=timeout,
        )
