"""A job worker's side of its pipes: it reads `ToWorker`, then at most one cancellation and whether it lives.

What it says is `FromWorker`.

Workers hold no connection to the registry: the front alone writes it, and ignores the messages of a worker that it has
given up.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import IO

from penult_proto.errors import ErrorKind
from penult_proto.v1.jobs_pb2 import JobResult, Progress
from penult_proto.v1.pipes_pb2 import FromWorker, NeededCheckpoints, Pulse, ToWorker
from penult_server import pipes
from penult_server.errors import ServiceError
from penult_server.messages import checkpoint_to_proto, error_to_proto, record_to_proto
from penult_server.progress import MetricsRecord
from penult_server.records import LabelNames
from penult_server.stores.checkpoints import CheckpointManifest

PROGRESS_SECONDS = 0.5
"""Least seconds between two messages of progress; the first and the last of a stage are always sent."""
HELD_SECONDS = 0.5
"""How often who waits for the front's answer looks whether the job was cancelled."""


class Reports:
    """Satisfies `JobContext` by messages, which `send` takes; may be used by several threads."""

    def __init__(self, send: Callable[[FromWorker], None], labels: LabelNames | None = None) -> None:
        self.labels = labels
        """Names of the groups that metrics are about; set before the first metrics."""
        self.pass_on = send
        """Send a message as it is."""
        self._cancelled = threading.Event()
        self._when_cancelled: list[Callable[[], None]] = []
        self._last_progress = (0.0, "")
        self._asked = self._answered = 0
        self._answers = threading.Condition()
        self._when_held: list[Callable[[int], None]] = []

    def progress(self, stage: str, done: float, total: float, unit: str) -> None:
        """Say how far the whole job is; thinned out here."""
        now = time.monotonic()
        if done < total and stage == self._last_progress[1] and now - self._last_progress[0] < PROGRESS_SECONDS:
            return
        self._last_progress = (now, stage)
        self.pass_on(FromWorker(progress=Progress(stage=stage, done=done, total=total, unit=unit)))

    def metrics(self, record: MetricsRecord) -> None:
        """Report the metrics of a split."""
        if self.labels is None:
            raise ValueError("metrics were reported before the names of the groups were set")
        self.pass_on(FromWorker(metrics=record_to_proto(record, self.labels)))

    def checkpoint(self, manifest: CheckpointManifest) -> None:
        """Report a checkpoint that lies whole in the store."""
        self.pass_on(FromWorker(checkpoint=checkpoint_to_proto(manifest)))

    def saved(self, amount: float) -> None:
        """Report what need not be done again should this process die."""
        self.pass_on(FromWorker(saved=amount))

    def needed(self, digests: list[str]) -> None:
        """Say which of the checkpoints reported so far are still needed."""
        self.pass_on(FromWorker(needed=NeededCheckpoints(digests=digests)))

    def error(self, error: ServiceError) -> None:
        """The job has failed."""
        self.pass_on(FromWorker(error=error_to_proto(error)))

    def check_cancelled(self) -> None:
        """Raise ServiceError (CANCELLED) when the job was cancelled."""
        if self._cancelled.is_set():
            raise ServiceError(ErrorKind.CANCELLED, "the job was cancelled")

    def check_held(self) -> None:
        """Wait until the front says that this attempt at the job goes on. One that is over is ended while it waits.

        Raises ServiceError (CANCELLED).
        """
        with self._answers:
            self._asked += 1
            number = self._asked
        self.pass_on(FromWorker(holds=number))
        with self._answers:
            while self._answered < number:
                self.check_cancelled()
                self._answers.wait(HELD_SECONDS)

    def held(self, number: int) -> None:
        """The front has answered."""
        with self._answers:
            self._answered = max(self._answered, number)
            self._answers.notify_all()
        for call in self._when_held:
            call(number)

    def when_held(self, call: Callable[[int], None]) -> None:
        """Call this, in another thread, with each answer of the front: another process has asked through this one."""
        self._when_held.append(call)

    def cancel(self) -> None:
        """The job is cancelled."""
        if not self._cancelled.is_set():
            self._cancelled.set()
            for call in self._when_cancelled:
                call()

    def when_cancelled(self, call: Callable[[], None]) -> None:
        """Call this, in another thread, when the job is cancelled; at once when it was."""
        self._when_cancelled.append(call)
        if self._cancelled.is_set():
            call()


class WorkerChannel(Reports):
    """A job worker's own reports, which go over its pipe to the front."""

    def __init__(self, messages: IO[bytes], labels: LabelNames | None = None) -> None:
        super().__init__(self._send, labels)
        self._messages = messages
        self._sending = threading.Lock()
        self._has_ended = False

    def watch(self, orders: IO[bytes]) -> None:
        """Listen for a cancellation, say that this process lives, and end it when the front has gone."""
        threading.Thread(target=self._listen, args=(orders,), daemon=True).start()

    def result(self, result: JobResult) -> None:
        """The job is done."""
        self._send(FromWorker(result=result))

    def _send(self, message: FromWorker) -> None:
        """One message; nothing after the last."""
        with self._sending:
            if self._has_ended:
                return
            # Before it is sent: the front may close the worker's input as soon as it has read it.
            self._has_ended = message.WhichOneof("kind") in ("result", "error")
            pipes.send(self._messages, message)

    def _listen(self, orders: IO[bytes]) -> None:
        while (message := pipes.receive(orders, ToWorker)) is not None:
            if message.cancel:
                self.cancel()
            elif message.held:
                self.held(message.held)
            elif message.pulse:
                self._send(FromWorker(pulse=Pulse()))
        if self._has_ended:
            return
        # The front is gone, and nothing else could register this work. The job is queued again when a
        # server comes back.
        sys.stderr.write("the server has gone; this worker stops\n")
        sys.stderr.flush()
        os._exit(1)
