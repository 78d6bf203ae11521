"""A job on the server: a handle that follows it, waits for it and cancels it, and what each kind of job makes."""


# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

import shlex
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from penult.arguments.coerce import seconds
from penult.calls.waiting.bars import Watcher, watcher_of
from penult.calls.waiting.interrupts import told
from penult.connection.rpc import Connection
from penult.connection.scope import sleep
from penult.display.html import card as html_card
from penult.display.html import pairs
from penult.display.names import one_line
from penult.errors import DeadlineExceeded, PenultError, StillRunning, Unavailable, from_kind
from penult.results.merging.curve import MergeCurve
from penult.results.merging.merge import Merge
from penult.results.notes import Notes, lines
from penult.results.records import Checkpoint, Dataset, FeatureSet, Run, named
from penult.types import JobState
from penult.wire import decode
from penult.wire.merge_origin import merge_origin
from penult.wire.merging.curves import merge_curve
from penult_proto.enums import name_or
from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2

if TYPE_CHECKING:
    from penult.results.merging.report import MergeReport


T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for which `Job.wait` tries to reach a server that went away."""
LAST_LOOK = 1.0
"""Seconds in which the server must say how a job stands when the time to wait for it has passed."""

UNFINISHED = ("queued", "running", "cancelling")
"""States of a job that has not ended."""

JobOutcome: TypeAlias = "Run | dict[str, FeatureSet] | Dataset | Checkpoint | Merge | MergeCurve | MergeReport"


class Job(Generic[T]):
    """A job on the server. It outlives this handle, this process and the connection.

    Attributes
    ----------
    id : identifies the job on its server.
    kind : kind of work, ``"finetune"``, ``"extract"``, ``"register_dataset"``, ``"import_checkpoint"``,
        ``"merge"``, ``"merge_curve"`` or ``"merge_report"``.
    title : what it does, in a line.
    """

    def __init__(
        self, connection: Connection, message: jobs_pb2.Job, result: Callable[[jobs_pb2.JobResult], T]
    ) -> None:
        self._connection = connection
        self._message = message
        self._result = result
        self._last_seq = 0
        self._in_touch = True
        self.notes: Notes = decode.decode_notes(message.notes)
        """Said when the job was asked for: such as from which run a name moves."""

    @property
    def id(self) -> str:
        """Identifies the job on its server."""
        return self._message.id

    @property
    def spec(self) -> jobs_pb2.JobSpec:
        """The request as the server has it, every default filled in."""
        return self._message.spec

    @property
    def kind(self) -> str:
        """What kind of work it is."""
        return self._message.spec.WhichOneof("kind") or ""

    @property
    def title(self) -> str:
        """What it does, in a line."""
        return title(self._message.spec)

    @property
    def name(self) -> str:
        """The name that was asked for; empty without one. Of a finetuning, its run gets it."""
        return self._message.card.name

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags that were asked for; what the job makes gets them."""
        return tuple(self._message.card.tags)

    @property
    def note(self) -> str:
        """The note that was asked for; what the job makes gets it."""
        return self._message.card.note

    @property
    def user(self) -> str:
        """Who asked first, as the client said; empty when not known."""
        return self._message.card.user

    @property
    def created(self) -> datetime | None:
        """When it was asked for."""
        return decode.time(self._message.created)

    @property
    def started(self) -> datetime | None:
        """When its last attempt was started; None before that."""
        return decode.time(self._message.started)

    @property
    def finished(self) -> datetime | None:
        """When it ended; None before that."""
        return decode.time(self._message.finished)

    @property
    def last_seq(self) -> int:
        """Number of its newest event at the last `refresh`."""
        return self._message.last_seq

    @property
    def fraction(self) -> float:
        """How much of it is done, 0 to 1, as far as it says so; 1 once it has succeeded."""
        if self.state == "succeeded":
            return 1.0
        progress = self._message.progress
        return min(1.0, max(0.0, progress.done / progress.total)) if progress.total > 0 else 0.0

    @property
    def state(self) -> JobState:
        """State of the job at the last `refresh` or `wait`; ``"cancelling"`` until its worker has stopped."""
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
    def may_stop(self) -> bool:
        """Whether its server stops with its last client though this job has not ended; see `penult.local`."""
        return self._message.may_stop

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
        return self.state not in UNFINISHED

    @property
    def deleted(self) -> tuple[str, ...]:
        """What it made that has been deleted since, at the last `refresh` or `wait`: run, feature sets or dataset."""
        return tuple(self._message.deleted)

    @property
    def result(self) -> T:
        """What a job that succeeded made. Raises the error of its kind when it has failed or not ended yet;
        `NotFound` where what it made was deleted."""
        if self.error is not None:
            raise self.error
        if self.deleted:
            raise from_kind(
                ErrorKind.UNKNOWN_RESULT,
                f"what job {self.id} made was deleted: {', '.join(self.deleted)}; ask for it again to make it again",
                {"job": self.id, "deleted": ", ".join(self.deleted)},
            )
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
        """End it early; returns itself. May be called again.

        A job that runs is ``"cancelling"`` until its worker has stopped, at its next step. A job that has ended stays
        as it is; of one that failed, the training state that the same request would resume from is removed.
        """
        request = jobs_pb2.CancelJobRequest(id=self.id)
        self._message = self._connection.unary(self._connection.stubs.jobs.CancelJob, request, timeout=timeout)
        return self

    def wait(self, *, progress: bool | None = None, timeout: float | None = None) -> T:
        """Wait until it has ended and return what it made.

        A lost connection is resumed where it broke, for up to a minute after the last message of the
        server. Ctrl-C stops the waiting, never the job: a message says what becomes of it, and KeyboardInterrupt is
        raised, whose traceback is not shown.

        Parameters
        ----------
        progress : show a bar on stderr or in the notebook, and after each epoch a line per split with its accuracies;
            None shows them on a terminal and in a notebook, when the job takes longer than a second.
        timeout : seconds to wait at most; None waits for as long as it takes.

        Raises
        ------
        PenultError : of the job's own kind when it failed; `Cancelled`; `StillRunning` when `timeout` has passed and
            the job goes on; `DeadlineExceeded` when the server does not say within a second after that how it stands;
            `Unavailable` when the server stayed away.
        """
        try:
            return self._awaited(progress=progress, timeout=timeout)
        except KeyboardInterrupt as error:
            told(error, self._left())
            raise

    def _awaited(self, *, progress: bool | None, timeout: float | None) -> T:
        """What `wait` gives and raises, without a word about Ctrl-C."""
        watcher = watcher_of(self.title, progress)
        deadline = None if timeout is None else time.monotonic() + seconds(timeout)
        try:
            self._follow(watcher, deadline)
            if not self.ended and not self.refresh(timeout=LAST_LOOK).ended:
                raise StillRunning(self._standing(), [self])
        finally:
            watcher.close()
        return self.result

    def _standing(self) -> str:
        """How it stands, in a line: "job 3f.. still running: epoch 2 of 3: 30 of 126 steps"."""
        return f"job {self.id} still {self.state}{self.stage and f': {self.stage}'}"

    def _left(self) -> str:
        """What becomes of the job when nobody waits for it here any more, as the server says it now if it answers."""
        try:
            self.refresh(timeout=LAST_LOOK)
            self._in_touch = True
        except PenultError:
            self._in_touch = False
        except KeyboardInterrupt:
            pass  # again: what is known must do
        again = f"client.jobs.get({self.id!r})"
        if self.ended:
            return f"no longer waiting: job {self.id} has ended ({self.state}): {again}.result"
        known = f"job {self.id} ({self.state}{self.stage and f', {self.stage}'})"
        if not self._in_touch:
            fate = "is not cancelled; its server does not answer now, and takes it up again when it is back"
        elif self.state == "cancelling":
            fate = "ends as soon as its worker has stopped"
        elif self.may_stop:
            fate = (
                'is not cancelled; it stops with the last client of its store (jobs="stop"), and goes on with the next'
            )
        else:
            fate = "is not cancelled; its server goes on with it until it has ended"
        watch, cancel = (f"penult jobs {action} {self.id} {self._place()}" for action in ("watch", "cancel"))
        return (
            f"no longer waiting: {known} {fate}\n"
            f"  follow it: {again}.wait(), or `{watch}`\n"
            f"  end it:    {again}.cancel(), or `{cancel}`"
        )

    def _place(self) -> str:
        """The option of the command line that names its server."""
        root = self._connection.root
        return f"--address {self._connection.address}" if root is None else f"--root {shlex.quote(str(root))}"

    def _follow(self, watcher: Watcher, deadline: float | None) -> None:
        """Watch until the job has ended or the deadline has passed, again and again when the stream breaks."""
        last_message = time.monotonic()
        pause = 0.1
        while True:
            before = self._last_seq
            try:
                self._watch(watcher, deadline)
                self.refresh(timeout=30.0 if deadline is None else max(0.1, deadline - time.monotonic()))
                last_message, self._in_touch = time.monotonic(), True
                if self.ended:
                    return
            except DeadlineExceeded:
                if deadline is None:
                    raise
                return
            except Unavailable:
                self._in_touch = False
                if self._last_seq > before:
                    last_message, pause = time.monotonic(), 0.1
                if time.monotonic() - last_message > PATIENCE:
                    raise
            pause = min(2.0, 2 * pause)
            sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))

    def _watch(self, watcher: Watcher, deadline: float | None) -> None:
        """Follow one stream of events to its end."""
        request = jobs_pb2.WatchJobRequest(id=self.id, after_seq=self._last_seq, may_stop=self._connection.may_stop)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        with self._connection.stream(self._connection.stubs.jobs.WatchJob, request, timeout=left) as events:
            for event in events:
                self._last_seq, self._in_touch = max(self._last_seq, event.seq), True
                match event.WhichOneof("kind"):
                    case "state":
                        self._enter(event.state)
                    case "progress":
                        self._message.progress.CopyFrom(event.progress)
                        watcher.advance(event.progress)
                    case "metrics":
                        watcher.report(decode.epoch_metrics(event.metrics))
                    case _:
                        pass

    def _enter(self, state: jobs_pb2.JobState.ValueType) -> None:
        """Take over a state that the job has come into; its end comes with what it made, from `refresh`."""
        if name_or(jobs_pb2.JobState, state, "queued") in UNFINISHED:
            self._message.state = state
        if state == jobs_pb2.JOB_STATE_QUEUED:
            self._message.ClearField("progress")

    def __repr__(self) -> str:
        stage = f", {one_line(self.stage)}" if self.stage and not self.ended else ""
        return f"Job({self.id}, {named(self.name)}{self.state}{stage}, {one_line(self.title, 200)}){lines(self.notes)}"

    def _repr_html_(self) -> str:
        """The job for a notebook, as it stood at the last `refresh` or `wait`."""
        error = None if self.error is None else str(self.error)
        facts = {"state": self.state, "stage": self.stage, "kind": self.kind, "attempt": self.attempt, "error": error}
        return html_card(f"Job {self.id}: {self.title}", pairs(facts))


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
        case "merge":
            return f"merge {len(spec.merge.parents)} checkpoints, {spec.merge.method}"
        case "merge_report":
            return f"compare {len(spec.merge_report.networks.parents)} checkpoints"
        case "merge_curve":
            return f"measure the line to {spec.merge_curve.line.parents[-1].checkpoint[:12]}"
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


def merge_result(result: jobs_pb2.JobResult) -> Merge:
    """What a merge makes."""
    return Merge(checkpoint=decode.checkpoint(result.checkpoint), origin=merge_origin(result.merge))


def report_result(result: jobs_pb2.JobResult) -> "MergeReport":
    """What a comparison of networks finds."""
    from penult.wire.merging.reports import merge_report  # not with `import penult`

    return merge_report(result.merge_report)


def curve_result(result: jobs_pb2.JobResult) -> MergeCurve:
    """What the measuring of a line makes."""
    return merge_curve(result.merge_curve)


def any_result(result: jobs_pb2.JobResult) -> JobOutcome:
    """What any job makes."""
    match result.WhichOneof("kind"):
        case "run":
            return run_result(result)
        case "extract":
            return extract_result(result)
        case "checkpoint":
            return merge_result(result) if result.HasField("merge") else checkpoint_result(result)
        case "merge_curve":
            return curve_result(result)
        case "merge_report":
            return report_result(result)
        case "dataset" | None:
            return dataset_result(result)
