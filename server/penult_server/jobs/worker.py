"""A job worker's process: `python -m penult_server.jobs.worker [ahead]`, started by the front for one job.

Frameworks take seconds to load, so the front starts a worker `ahead` of its job: it loads them, then waits for
the order on its input. One that gets no order ends when its input closes.
"""

import importlib
import os
import sys
from pathlib import Path

from penult_proto.v1.pipes_pb2 import ToWorker
from penult_server import pipes
from penult_server.jobs.channel import WorkerChannel
from penult_server.jobs.work import work
from penult_server.logs.bounded import keep_bounded
from penult_server.logs.setup import write_worker_lines
from penult_server.machine.gpus import leave_if_lost, use_only
from penult_server.status import translate

NICENESS = 10
"""Niceness of jobs, above the server's own: where cores are short, queries come before a training."""


def main() -> None:
    """Load, read the order, do the work, say how it ended."""
    os.nice(NICENESS)
    messages = pipes.own_stdout()
    # A failure to load becomes the failure of the job that then comes.
    failure: Exception | None = None
    try:
        if "ahead" in sys.argv[1:]:
            importlib.import_module("penult_server.jobs.model_work")
    except Exception as error:
        failure = error
    said = pipes.receive(sys.stdin.buffer, ToWorker)
    if said is None:
        return
    print_to(Path(said.job.log))
    subject = {"job": said.job.job_id}
    write_worker_lines(lambda: subject)
    keep_bounded()
    use_only(said.job.devices)
    channel = WorkerChannel(messages)
    channel.watch(sys.stdin.buffer)
    try:
        if failure:
            raise failure
        channel.result(work(said.job, channel))
    except Exception as error:  # the seam: a refusal, memory, disk, or a bug that the log keeps and the job reports
        leave_if_lost(error)
        channel.error(translate(error))


def print_to(log: Path) -> None:
    """Send everything that is printed from here on to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


if __name__ == "__main__":
    main()
