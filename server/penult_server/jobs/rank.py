"""A further process of a run: `python -m penult_server.jobs.rank TABLE`, started by the run's first (see `ranks`)."""

import os
import sys
import threading
from pathlib import Path

from penult_proto.v1.pipes_pb2 import FromWorker, RankOrder, ToWorker
from penult_server import pipes
from penult_server.finetuning.world import World
from penult_server.jobs.channel import Reports
from penult_server.jobs.fleets.entries import find
from penult_server.jobs.ranks import Place, choose_device, device_of_rank, member, own_error
from penult_server.machine.gpus import leave_if_lost
from penult_server.messages import error_to_proto


def silent() -> Reports:
    """What a further process reports to: nobody, for the first one does, and is told of a cancellation."""
    return Reports(lambda message: None)


def main(table: str) -> None:
    """Read the order, take part in every step, or say what went wrong; then wait to be ended by the first."""
    messages = pipes.own_stdout()
    said = pipes.receive(sys.stdin.buffer, ToWorker)
    if said is None:
        return
    ending = threading.Thread(target=_end_with_input, daemon=True)
    ending.start()
    try:
        take_part(said.rank, table)
    except Exception as error:  # the seam: the first process reports it as the job's
        leave_if_lost(error)
        pipes.send(messages, FromWorker(error=error_to_proto(own_error(error))))
    # The first may have checkpoints to write yet, and would take this process's end for a death.
    ending.join()


def take_part(order: RankOrder, table: str) -> None:
    """Do this process's part of every step. Raises what a finetuning does."""
    device = device_of_rank(choose_device(order.job.device), order.rank, order.size)
    together = member(Place(device, World(rank=order.rank, size=order.size)), Path(order.store))
    find(table, "rank")(order.job, silent(), together)


def _end_with_input() -> None:
    """The first process has gone, or says that it is enough."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
