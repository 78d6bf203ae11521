"""A job worker's process: `python -m penult_server.jobs.worker [forker]`, started by the front.

It waits for the order of one job on its input; as a `forker`, its forks do. One that gets no order ends when its input
closes.
"""

import os
import socket
import sys
from pathlib import Path

from penult_proto.v1.pipes_pb2 import ToWorker
from penult_server import pipes
from penult_server.jobs.channel import WorkerChannel
from penult_server.jobs.fleets.chosen import fleet_for
from penult_server.jobs.fleets.fleet import WorkerDiedError
from penult_server.jobs.forker import Forker
from penult_server.jobs.work import work
from penult_server.logs.bounded import keep_bounded
from penult_server.logs.setup import write_worker_lines
from penult_server.machine.gpus import leave_if_lost, use_only
from penult_server.machine.leaving import leave
from penult_server.status import translate

EXIT_DIED = 71
"""Exit status of a worker that ends because other processes of its job have died."""
NICENESS = 10
"""Niceness of jobs, above the server's own: where cores are short, queries come before a training."""


def main() -> None:
    """Read the order, do the work, say how it ended."""
    os.nice(NICENESS)
    if "forker" in sys.argv[1:] and not Forker(socket.socket(fileno=os.dup(0))).is_fork():
        return
    messages = pipes.own_stdout()
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
        with fleet_for(said.job, channel) as fleet:
            result = work(said.job, channel, fleet)
        channel.result(result)
    except WorkerDiedError as error:
        sys.stderr.write(f"processes of this job have died ({error}); this worker ends\n")
        leave(EXIT_DIED)
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
    # The thread that listens holds the input's lock, by which an interpreter that ends in order would abort.
    leave(0)
