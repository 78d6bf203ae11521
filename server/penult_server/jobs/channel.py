"""What a job worker and the front say to each other: one JSON object a line.

    front -> worker   the order, then at most one {"cancel": true}; the pipe closes when the front dies
    worker -> front   progress, metrics, checkpoint, and at the end result or error

Workers hold no connection to the registry: the front alone decides what is acknowledged, and what a worker
that it no longer knows has to say goes nowhere.
"""

import json
import os
import sys
import threading
import time
from typing import IO

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2
from penult_server.errors import ServiceError
from penult_server.finetuning.history import MetricsRecord
from penult_server.messages import checkpoint_to_proto, error_to_proto, record_to_proto
from penult_server.stores.checkpoints import CheckpointManifest
from penult_server.stores.manifest import LabelNames

PROGRESS_SECONDS = 0.5
"""Progress is sent at most this often; the first and the last of a stage always."""


class WorkerChannel:
    """The worker's side. Satisfies `JobContext`."""

    def __init__(self, messages: IO[str], labels: LabelNames | None = None) -> None:
        self.labels = labels
        """Names of the groups that metrics are about; set before the first metrics."""
        self._messages = messages
        self._cancelled = threading.Event()
        self._last_progress = (0.0, "")

    def watch(self, orders: IO[str]) -> None:
        """Listen for a cancellation, and end this process when the front has gone."""
        threading.Thread(target=self._listen, args=(orders,), daemon=True).start()

    def progress(self, stage: str, done: float, total: float, unit: str) -> None:
        """Say how far the whole job is; thinned out here."""
        now = time.monotonic()
        if done < total and stage == self._last_progress[1] and now - self._last_progress[0] < PROGRESS_SECONDS:
            return
        self._last_progress = (now, stage)
        self.send("progress", jobs_pb2.Progress(stage=stage, done=done, total=total, unit=unit))

    def metrics(self, record: MetricsRecord) -> None:
        """Report the metrics of a split."""
        if self.labels is None:
            raise ValueError("metrics were reported before the names of the groups were set")
        self.send("metrics", record_to_proto(record, self.labels))

    def checkpoint(self, manifest: CheckpointManifest) -> None:
        """Report a checkpoint that lies whole in the store."""
        self.send("checkpoint", checkpoint_to_proto(manifest))

    def check_cancelled(self) -> None:
        """Raise ServiceError (CANCELLED) when the front has said so."""
        if self._cancelled.is_set():
            raise ServiceError(ErrorKind.CANCELLED, "the job was cancelled")

    def result(self, result: jobs_pb2.JobResult) -> None:
        """The job is done."""
        self.send("result", result)

    def error(self, error: ServiceError) -> None:
        """The job has failed."""
        self.send("error", error_to_proto(error))

    def send(self, kind: str, message: Message) -> None:
        """One message, one line."""
        self._messages.write(json.dumps({kind: MessageToDict(message)}) + "\n")
        self._messages.flush()

    def _listen(self, orders: IO[str]) -> None:
        for line in orders:
            if json.loads(line).get("cancel"):
                self._cancelled.set()
        # End of file: the front is gone, and with it everyone who could acknowledge this work. The job is
        # queued again when a server comes back.
        sys.stderr.write("the server has gone; this worker stops\n")
        sys.stderr.flush()
        os._exit(1)
