"""A further process of a run: `python -m penult_server.jobs.rank`, started by the run's first (see `ranks`)."""

import os
import sys
import threading
from pathlib import Path

from penult_proto.v1.pipes_pb2 import FromWorker, RankOrder, ToWorker
from penult_server import pipes
from penult_server.finetuning.world import World
from penult_server.jobs.model_work import choose_device, finetune_as_rank
from penult_server.jobs.ranks import device_of_rank, member, own_error
from penult_server.jobs.reading import allowed
from penult_server.machine.gpus import leave_if_lost
from penult_server.messages import error_to_proto
from penult_server.named.roots import reading
from penult_server.progress import MetricsRecord
from penult_server.stores.checkpoints import CheckpointManifest


class Silent:
    """The `JobContext` of a further process: the first one reports, and is told of a cancellation."""

    def progress(self, stage: str, done: float, total: float, unit: str) -> None: ...

    def metrics(self, record: MetricsRecord) -> None: ...

    def checkpoint(self, manifest: CheckpointManifest) -> None: ...

    def saved(self, amount: float) -> None: ...

    def needed(self, digests: list[str]) -> None: ...

    def check_cancelled(self) -> None: ...


def main() -> None:
    """Read the order, take part in every step, or say what went wrong; then wait to be ended by the first."""
    messages = pipes.own_stdout()
    said = pipes.receive(sys.stdin.buffer, ToWorker)
    if said is None:
        return
    ending = threading.Thread(target=_end_with_input, daemon=True)
    ending.start()
    try:
        take_part(said.rank)
    except Exception as error:  # the seam: the first process reports it as the job's
        leave_if_lost(error)
        pipes.send(messages, FromWorker(error=error_to_proto(own_error(error))))
    # The first may have checkpoints to write yet, and would take this process's end for a death.
    ending.join()


def take_part(order: RankOrder) -> None:
    """Do this process's part of every step. Raises what a finetuning does."""
    world = World(rank=order.rank, size=order.size)
    device = device_of_rank(choose_device(order.job.device), world.rank, world.size)
    with member(world, device, Path(order.store)), reading(allowed(order.job)):
        finetune_as_rank(order.job, Silent(), device, world)


def _end_with_input() -> None:
    """The first process has gone, or says that it is enough."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
