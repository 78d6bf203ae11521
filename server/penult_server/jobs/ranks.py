"""The processes of one run on this machine: the job's own worker is the first, and starts the others.

No agent such as torchrun's stands between: the job queue already starts workers anew, and runs go on from their
training state. A process that dies takes the whole run with it, and the queue takes it up again.
"""

# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false
# torch.distributed is annotated in part.

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.finetuning.world import ALONE, World
from penult_server.jobs.order import Order

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the first may be evaluating or storing meanwhile."""
GRACE = 10.0
"""Seconds that the others have to end when the first has."""


def device_of_rank(device: torch.device, rank: int, size: int) -> torch.device:
    """The device of one process. Raises ServiceError (INVALID_ARGUMENT) when there are fewer GPUs than processes."""
    if device.type != "cuda":
        return device
    n_gpus = torch.cuda.device_count()
    if size > n_gpus:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"processes is {size}, each takes a GPU, and this machine has {n_gpus}; ask for at most {n_gpus}",
            field="processes",
        )
    return torch.device("cuda", rank)


@contextmanager
def shared_by(order: Order, size: int, device: torch.device) -> Generator[World]:
    """Run the block as the first of `size` processes that work on the order; the others end with it."""
    if size == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory(prefix="penult-ranks-") as meeting:
        store = Path(meeting) / "store"
        others = [_start(order, rank, size, store) for rank in range(1, size)]
        ending = threading.Event()
        for process in others:
            threading.Thread(target=_end_with, args=(process, ending), daemon=True).start()
        try:
            with member(World(rank=0, size=size), device, store) as world:
                yield world
        finally:
            ending.set()
            for process in others:
                _stop(process)


@contextmanager
def member(world: World, device: torch.device, store: Path) -> Generator[World]:
    """Run the block as one of the processes; they meet at the file `store`."""
    # All of them are on this machine; the name of the host may resolve to nothing.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.size))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.FileStore(str(store), world.size),
        rank=world.rank,
        world_size=world.size,
        timeout=PATIENCE,
    )
    try:
        yield world
    finally:
        dist.destroy_process_group()
        torch.set_num_threads(threads)


def _start(order: Order, rank: int, size: int, store: Path) -> "subprocess.Popen[bytes]":
    """A process that reads its orders, prints to this one's log, and ends when its input closes."""
    command = [sys.executable, "-m", "penult_server.jobs.rank"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr.fileno(), start_new_session=False)
    if process.stdin is None:
        raise ServiceError(ErrorKind.INTERNAL, "a process of a run was started without its pipe")
    line = json.dumps({"order": order.to_json(), "rank": rank, "size": size, "store": str(store)})
    process.stdin.write(line.encode() + b"\n")
    process.stdin.flush()
    return process


def _end_with(process: "subprocess.Popen[bytes]", ending: threading.Event) -> None:
    """End this process when another of the run has ended before it: it would wait for it for ever."""
    code = process.wait()
    if not ending.is_set():
        sys.stderr.write(f"another process of this run ended with exit status {code}; this one stops\n")
        sys.stderr.flush()
        os._exit(1)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
