"""Long work on the server: handles that follow it, wait for it and cancel it."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from penult.arguments.coerce import build, choice, flag, listed, seconds, text, whole
from penult.calls.progress import ProgressBar, Silent, Watcher
from penult.connection.rpc import Connection
from penult.errors import DeadlineExceeded, PenultError, Unavailable, from_kind
from penult.results.records import Checkpoint, Dataset, FeatureSet, Run
from penult.types import JobState
from penult.wire import decode
from penult_proto.enums import name_or
from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for which `Job.wait` tries to reach a server that went away."""

JobOutcome: TypeAlias = Run | dict[str, FeatureSet] | Dataset | Checkpoint


class Job(Generic[T]):
    """A job on the server. It outlives this handle, this process and the connection.

    Attributes
    ----------
    id : identifies the job on its server.
    kind : kind of work, ``"finetune"``, ``"extract"``, ``"register_dataset"`` or ``"import_checkpoint"``.
    title : what it does, in a line.
    """

    def __init__(
        self, connection: Connection, message: jobs_pb2.Job, result: Callable[[jobs_pb2.JobResult], T]
    ) -> None:
        self._connection = connection
        self._message = message
        self._result = result
        self._last_seq = 0

    @property
    def id(self) -> str:
        """Identifies the job on its server."""
        return self._message.id

    @property
    def kind(self) -> str:
        """What kind of work it is."""
        return self._message.spec.WhichOneof("kind") or ""

    @property
    def title(self) -> str:
        """What it does, in a line."""
        return title(self._message.spec)

    @property
    def state(self) -> JobState:
        """State of the job at the last `refresh` or `wait`."""
        return name_or(jobs_pb2.JobState, self._message.state, "queued")

    @property
    def stage(self) -> str:
        """What is being done and how far, such as "epoch 2 of 2: 30 of 126 steps"; empty before it starts."""
        progress = self._message.progress
        if not progress.stage:
            return ""
        return f"{progress.stage}: {progress.done:g} of {progress.total:g} {progress.unit}"

    @property
    def attempt(self) -> int:
        """How often the job was started, including after restarts of the server."""
        return self._message.attempt

    @property
    def error(self) -> PenultError | None:
        """Why it did not succeed, or None."""
        if self.state == "failed":
            reason = self._message.error
            return from_kind(reason.kind, f"job {self.id} failed: {reason.message}", reason.metadata)
        if self.state == "cancelled":
            return from_kind(ErrorKind.CANCELLED, f"job {self.id} was cancelled", {"job": self.id})
        return None

    @property
    def ended(self) -> bool:
        """Whether the job has succeeded, failed or been cancelled."""
        return self.state in ("succeeded", "failed", "cancelled")

    @property
    def result(self) -> T:
        """What a job that succeeded made. Raises the error of its kind when it has failed or not ended yet."""
        if self.error is not None:
            raise self.error
        if self.state != "succeeded":
            raise from_kind(
                ErrorKind.UNKNOWN_RESULT, f"job {self.id} is {self.state}: it has no result yet; wait() for it"
            )
        return self._result(self._message.result)

    def refresh(self, *, timeout: float = 30.0) -> "Job[T]":
        """Ask the server how it stands; returns itself."""
        request = jobs_pb2.GetJobRequest(id=self.id)
        self._message = self._connection.unary(self._connection.stubs.jobs.GetJob, request, timeout=timeout)
        return self

    def cancel(self, *, timeout: float = 30.0) -> "Job[T]":
        """End it early; returns itself. A job that has ended stays as it is."""
        request = jobs_pb2.CancelJobRequest(id=self.id)
        self._message = self._connection.unary(self._connection.stubs.jobs.CancelJob, request, timeout=timeout)
        return self

    def wait(self, *, progress: bool = False, timeout: float | None = None) -> T:
        """Wait until it has ended and return what it made.

        A lost connection is resumed where it broke, for up to a minute after the last message of the
        server. Ctrl-C stops the waiting, never the job.

        Parameters
        ----------
        progress : show a bar on stderr, and after each epoch a line per split with its accuracies.
        timeout : seconds to wait at most; None waits for as long as it takes.

        Raises
        ------
        PenultError : of the job's own kind when it failed; `Cancelled`; `DeadlineExceeded` when `timeout`
            has passed (the job goes on); `Unavailable` when the server stayed away.
        """
        watcher = ProgressBar(self.title) if flag("progress", progress) else Silent()
        deadline = None if timeout is None else time.monotonic() + seconds(timeout)
        try:
            self._follow(watcher, deadline)
        except KeyboardInterrupt:
            watcher.close()
            sys.stderr.write(
                f"\nno longer waiting; job {self.id} is not cancelled: "
                f"client.jobs.get({self.id!r}).wait() follows it again, .cancel() ends it\n"
            )
            raise
        finally:
            watcher.close()
        return self.result

    def _follow(self, watcher: Watcher, deadline: float | None) -> None:
        """Watch until the job has ended, again and again when the stream breaks."""
        last_message = time.monotonic()
        pause = 0.1
        while True:
            before = self._last_seq
            try:
                self._watch(watcher, deadline)
                self.refresh(timeout=30.0 if deadline is None else max(0.1, deadline - time.monotonic()))
                last_message = time.monotonic()
                if self.ended:
                    return
            except Unavailable:
                if self._last_seq > before:
                    last_message, pause = time.monotonic(), 0.1
                if time.monotonic() - last_message > PATIENCE:
                    raise
            pause = min(2.0, 2 * pause)
            time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))

    def _watch(self, watcher: Watcher, deadline: float | None) -> None:
        """Follow one stream of events to its end."""
        request = jobs_pb2.WatchJobRequest(id=self.id, after_seq=self._last_seq)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        with self._connection.stream(self._connection.stubs.jobs.WatchJob, request, timeout=left) as events:
            for event in events:
                self._last_seq = max(self._last_seq, event.seq)
                match event.WhichOneof("kind"):
                    case "progress":
                        watcher.advance(event.progress)
                    case "metrics":
                        watcher.report(decode.epoch_metrics(event.metrics))
                    case _:
                        pass

    def __repr__(self) -> str:
        return f"Job({self.id}, {self.state}, {self.title})"


class JobGroup(Generic[T]):
    """Several jobs that were asked for together, in order; a sequence of `Job`."""

    def __init__(self, jobs: Sequence[Job[T]]) -> None:
        self.jobs = tuple(jobs)

    def wait(self, *, progress: bool = False, timeout: float | None = None) -> list[T]:
        """Wait until all have ended and return what they made, in order.

        Raises what `Job.wait` raises, for the first that did not succeed, when all have ended. `timeout` is for all
        of them together.
        """
        deadline = None if timeout is None else time.monotonic() + seconds(timeout)
        failure: PenultError | None = None
        for job in self.jobs:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                job.wait(progress=progress, timeout=left)
            except (DeadlineExceeded, Unavailable):
                raise
            except PenultError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return [job.result for job in self.jobs]

    def cancel(self, *, timeout: float = 30.0) -> "JobGroup[T]":
        """End all of them early, the last first; returns itself. Those that have ended stay as they are."""
        for job in reversed(self.jobs):
            job.cancel(timeout=timeout)
        return self

    def __iter__(self) -> Iterator[Job[T]]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Job[T]:
        return self.jobs[index]

    def __repr__(self) -> str:
        return f"JobGroup({', '.join(f'{job.id} {job.state}' for job in self.jobs)})"


def title(spec: jobs_pb2.JobSpec) -> str:
    """What a job does, in a line."""
    match spec.WhichOneof("kind"):
        case "finetune":
            recipe = spec.finetune
            return f"finetune {recipe.backbone} on {recipe.dataset}, {recipe.epochs} epochs, seed {recipe.seed}"
        case "extract":
            return f"extract features of checkpoint {spec.extract.checkpoint[:12]}"
        case "register_dataset":
            return f"register dataset {spec.register_dataset.name}"
        case "import_checkpoint":
            return f"import {spec.import_checkpoint.name}"
        case None:
            return "unknown work"


def run_result(result: jobs_pb2.JobResult) -> Run:
    """What a finetuning makes."""
    return decode.run(result.run)


def extract_result(result: jobs_pb2.JobResult) -> dict[str, FeatureSet]:
    """What an extraction makes: feature sets by split."""
    return {one.split: decode.feature_set(one) for one in result.extract.feature_sets}


def dataset_result(result: jobs_pb2.JobResult) -> Dataset:
    """What a registration makes."""
    return decode.dataset(result.dataset)


def checkpoint_result(result: jobs_pb2.JobResult) -> Checkpoint:
    """What an import makes."""
    return decode.checkpoint(result.checkpoint)


def any_result(result: jobs_pb2.JobResult) -> JobOutcome:
    """What any job makes."""
    match result.WhichOneof("kind"):
        case "run":
            return run_result(result)
        case "extract":
            return extract_result(result)
        case "checkpoint":
            return checkpoint_result(result)
        case "dataset" | None:
            return dataset_result(result)


def create(
    connection: Connection,
    spec: jobs_pb2.JobSpec,
    result: Callable[[jobs_pb2.JobResult], T],
    *,
    timeout: float,
) -> Job[T]:
    """Start a job, or find the one that does or did the same."""
    request = build(jobs_pb2.CreateJobRequest, spec=spec)
    return Job(connection, connection.unary(connection.stubs.jobs.CreateJob, request, timeout=timeout), result)


class Jobs:
    """The jobs of a server: ``client.jobs``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, id: Job[Any] | str, *, timeout: float = 30.0) -> Job[JobOutcome]:
        """The job of that id. Raises `NotFound`."""
        request = build(jobs_pb2.GetJobRequest, id=id.id if isinstance(id, Job) else text("id", id))
        message = self._connection.unary(self._connection.stubs.jobs.GetJob, request, timeout=timeout)
        return Job(self._connection, message, any_result)

    def list(
        self, *, states: Sequence[JobState] = (), limit: int = 100, timeout: float = 30.0
    ) -> "list[Job[JobOutcome]]":
        """Jobs, newest first; of the given states, or of all."""
        wanted = listed("states", states, "['queued', 'running']")
        numbers = [choice("states", state, jobs_pb2.JobState) for state in wanted]
        request = build(jobs_pb2.ListJobsRequest, states=numbers, limit=whole("limit", limit))
        answer = self._connection.unary(self._connection.stubs.jobs.ListJobs, request, timeout=timeout)
        return [Job(self._connection, message, any_result) for message in answer.jobs]
