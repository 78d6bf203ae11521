"""A further process of a run: `python -m penult_server.jobs.rank`, started by the run's first (see `ranks`)."""

import json
import os
import sys
import threading
import time
from pathlib import Path

from penult_server.errors import ServiceError
from penult_server.finetuning.history import MetricsRecord
from penult_server.finetuning.world import World
from penult_server.jobs.model_work import choose_device, run_finetuning
from penult_server.jobs.order import Order
from penult_server.jobs.ranks import GRACE, device_of_rank, member
from penult_server.stores.checkpoints import CheckpointManifest


class Silent:
    """The first process reports, and is told of a cancellation."""

    def progress(self, stage: str, done: float, total: float, unit: str) -> None: ...

    def metrics(self, record: MetricsRecord) -> None: ...

    def checkpoint(self, manifest: CheckpointManifest) -> None: ...

    def check_cancelled(self) -> None: ...


def main() -> None:
    """Read the orders, take part in every step, end."""
    orders = json.loads(sys.stdin.readline())
    order = Order(**json.loads(orders["order"]))
    world = World(rank=orders["rank"], size=orders["size"])
    threading.Thread(target=_end_with_input, daemon=True).start()
    device = device_of_rank(choose_device(order.device), world.rank, world.size)
    try:
        with member(world, device, Path(orders["store"])):
            run_finetuning(order, Silent(), device, world)
    except ServiceError:
        # A request that is refused is refused by every process. The first says so, and must not find this one gone
        # before; it closes the input of this one, which ends it.
        time.sleep(GRACE)
        raise


def _end_with_input() -> None:
    """The first process has gone, or says that it is enough."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
