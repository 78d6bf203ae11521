"""The processes of one run on this machine: the job's own worker is the first, and starts the others.

No agent such as torchrun's stands between: the job queue already starts workers anew, and runs resume from their
training state. A process that dies takes the whole run with it, and the queue takes it up again.
"""

# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false
# torch.distributed is annotated in part.

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import torch
import torch.distributed as dist

from penult_proto.errors import ErrorKind
from penult_proto.v1.pipes_pb2 import FromWorker, JobOrder, RankOrder, ToWorker
from penult_server import pipes
from penult_server.errors import ServiceError
from penult_server.finetuning.world import ALONE, World
from penult_server.jobs.fleets.entries import TABLE
from penult_server.messages import error_from_proto
from penult_server.status import translate

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the first may be evaluating or storing meanwhile."""
GRACE = 10.0
"""Seconds that the others have to end when the first has."""
SETTLE_SECONDS = 2.0
"""How long an unexpected error is held back: a collective also fails when another process has died, which is noticed,
and ends this one, within that time."""
COMMAND = (sys.executable, "-m", "penult_server.jobs.rank")
"""What starts a further process."""
Report = Callable[[ServiceError], None]


def choose_device(name: str) -> torch.device:
    """The torch device for "auto", "cpu" or "cuda". Raises ServiceError (INVALID_ARGUMENT)."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, "--device cuda needs an NVIDIA GPU that torch can use")
    use_gpu = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_gpu else "cpu")


def device_of_rank(device: torch.device, rank: int, size: int) -> torch.device:
    """The device of one process. Raises ServiceError (INVALID_ARGUMENT) when there are fewer GPUs than processes."""
    if device.type != "cuda":
        return device
    n_gpus = torch.cuda.device_count()
    if size > n_gpus:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"processes is {size}, each takes a GPU, and jobs have {n_gpus} here; ask for at most {n_gpus}",
            field="processes",
        )
    return torch.device("cuda", rank)


@dataclass(frozen=True, slots=True)
class Place:
    """A process's place in a run: its device, and its number among those that share it."""

    device: torch.device
    world: World = ALONE


Together: TypeAlias = AbstractContextManager[Place]
"""A block that is run as one of the processes of a run, which meet when it begins."""


@contextmanager
def shared_by(order: JobOrder, size: int, report: Report, table: str = TABLE) -> Generator[Place]:
    """Run the block as the first of `size` processes that work on the order; the others end with it.

    When another process fails, its error is reported and this process ends; when another dies, this one ends without a
    word, so that the queue takes the run up again. `table`: where the entry `rank` of the others is found.

    Raises ServiceError (INVALID_ARGUMENT) when there are fewer GPUs than processes.
    """
    device = device_of_rank(choose_device(order.device), 0, size)
    if size == 1:
        yield Place(device)
        return
    with tempfile.TemporaryDirectory(prefix="penult-ranks-") as meeting, (Path(meeting) / "lock").open("wb") as lock:
        # By which a server that cleans up knows that it is in use, also when the clock is put forward by weeks.
        fcntl.flock(lock, fcntl.LOCK_EX)
        store = Path(meeting) / "store"
        orders = [RankOrder(job=order, rank=rank, size=size, store=str(store)) for rank in range(1, size)]
        others = [_start(one, table) for one in orders]
        ending = threading.Event()
        for process in others:
            threading.Thread(target=_end_with, args=(process, ending, report), daemon=True).start()
        try:
            with member(Place(device, World(rank=0, size=size)), store) as place:
                yield place
        except Exception as error:
            raise own_error(error) from error
        finally:
            ending.set()
            for process in others:
                _stop(process)


@contextmanager
def member(place: Place, store: Path) -> Generator[Place]:
    """Run the block as one of the processes of this machine; they meet at the file `store`."""
    # All of them are on this machine; the name of the host may resolve to nothing.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    threads = max(1, (os.cpu_count() or 1) // place.world.size)
    with in_group(place, dist.FileStore(str(store), place.world.size), threads):
        yield place


@contextmanager
def in_group(place: Place, store: dist.Store, threads: int) -> Generator[None]:
    """Run the block as one of the processes that meet at `store`, with so many threads.

    A block that fails leaves the group as it is: the others would take its end for an error of their own.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    dist.init_process_group(
        "nccl" if place.device.type == "cuda" else "gloo",
        store=store,
        rank=place.world.rank,
        world_size=place.world.size,
        timeout=PATIENCE,
    )
    yield
    dist.destroy_process_group()
    torch.set_num_threads(before)


def own_error(error: Exception) -> ServiceError:
    """What an error of one process means, unless another process turns out to have died meanwhile."""
    meant = translate(error)
    if meant.kind == ErrorKind.INTERNAL:
        time.sleep(SETTLE_SECONDS)
    return meant


def _start(order: RankOrder, table: str) -> "subprocess.Popen[bytes]":
    """A process that reads its order, prints to this one's log, says its error, and ends when its input closes."""
    process = subprocess.Popen(
        (*COMMAND, table), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=False
    )
    if process.stdin is None:
        raise ServiceError(ErrorKind.INTERNAL, "a process of a run was started without its pipe")
    pipes.send(process.stdin, ToWorker(rank=order))
    return process


def _end_with(process: "subprocess.Popen[bytes]", ending: threading.Event, report: Report) -> None:
    """End this process when another of the run has failed or died before it: it would wait for it for ever."""
    said = pipes.receive(process.stdout, FromWorker) if process.stdout else None
    what = f"failed: {said.error.message}" if said else f"ended with exit status {process.wait()}"
    if ending.is_set():
        if process.stdout:
            process.stdout.close()
        return
    if said:
        report(error_from_proto(said.error))
    sys.stderr.write(f"another process of this run {what}; this one stops\n")
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
