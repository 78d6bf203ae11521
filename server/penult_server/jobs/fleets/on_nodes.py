"""What a cluster's nodes run: entries of the list, which get an order as JSON and answer in it. Knows nothing of Ray.

These functions are installed on every node; what is sent to one is the name of an entry and an order.
"""

# pyright: reportPrivateImportUsage=false
# torch.distributed is annotated in part.

# Imported within: libraries must not be loaded before their number of threads is settled.

import json
import os
import platform
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penult_server.compute_environment import BLAS_THREADS, SHARED_CORES, keep_memory

if TYPE_CHECKING:
    from penult_proto.v1.pipes_pb2 import FromWorker, JobOrder
    from penult_server.jobs.fleets.fleet import Json

SAME = ("penult", "torch", "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "cupy-cuda13x", "timm", "transformers")
"""Packages that must be the same on every node: what is computed depends on them."""
SAID_SECONDS = 0.5
"""How long the first process of a gang is listened to before what it has said is handed over."""


def versions() -> dict[str, str]:
    """Versions of this node; a package that is not there is not named."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in SAME:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def look(root: str, probe: str) -> dict[str, Any]:
    """What is installed on this node, and whether the root of the front's machine is here, too: `probe` lies in it."""
    return {"versions": versions(), "sees": Path(root, probe).exists(), "host": platform.node()}


def different(ours: "Json", theirs: "Json") -> str:
    """What a node has in another version than this machine; empty for nothing."""
    return "; ".join(
        f"{name} {theirs.get(name, 'is missing')} there, {ours.get(name, 'is missing')} here"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    )


def settle(threads: int) -> None:
    """Give all libraries that are loaded from here on so many threads, which do not spin, and keep freed memory, as on
    one machine; what is written is for this user alone.
    """
    os.umask(0o077)
    os.environ.update(SHARED_CORES | dict.fromkeys(BLAS_THREADS, str(threads)))
    keep_memory(os.environ)


class Tasks:
    """A process that does tasks, one after another; `cancel` is called by another thread."""

    def __init__(self, table: str, threads: int) -> None:
        settle(threads)
        from penult_server.jobs.fleets.task import Context

        self._table = table
        self._context = Context(threads)

    def pid(self) -> int:
        """This process's number: when it answers, the process is there."""
        return os.getpid()

    def do(self, name: str, order: str) -> str:
        """Do one task and say how it ended."""
        from penult_server.jobs.fleets.answers import answer_of

        return json.dumps(answer_of(partial(self._do, name, order)))

    def cancel(self) -> None:
        """End the task at its next batch; those that come later end at once."""
        self._context.cancelled.set()

    def _do(self, name: str, order: str) -> dict[str, Any]:
        from penult_server.jobs.fleets.entries import find

        return find(self._table, name)(json.loads(order), self._context)


class Member:
    """One process of a gang; its methods are called by several threads."""

    def __init__(self, table: str, threads: int) -> None:
        settle(threads)
        from penult_server.jobs.channel import Reports

        self._table = table
        self._threads = threads
        self._reports = Reports(self._say)
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._store: Any = None

    def pid(self) -> int:
        """This process's number: when it answers, the process is there."""
        return os.getpid()

    def meeting(self, host: str) -> str:
        """Open the place where the processes meet; only the first is asked."""
        import torch.distributed as dist

        self._store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
        return f"{host}:{self._store.port}"

    def run(self, order: str, rank: int, size: int, meeting: str) -> str:
        """Take part, and say how that ended: an error, or the result of the first."""
        from penult_server.jobs.fleets.answers import answer_of

        return json.dumps(answer_of(partial(self._run, order, rank, size, meeting)))

    def said(self) -> list[str]:
        """Messages since the last call, each a line of JSON; waits a little for the first."""
        with self._news:
            self._news.wait_for(lambda: self._lines, SAID_SECONDS)
            said, self._lines = self._lines, []
        return said

    def cancel(self) -> None:
        """End at the next step."""
        self._reports.cancel()

    def held(self, number: int) -> None:
        """The front's answer to the first, who asked whether it may store something."""
        self._reports.held(number)

    def _say(self, message: "FromWorker") -> None:
        from google.protobuf import json_format

        line = json_format.MessageToJson(message, indent=None)
        with self._news:
            self._lines.append(line)
            self._news.notify_all()

    def _run(self, order: str, rank: int, size: int, meeting: str) -> dict[str, Any]:
        from google.protobuf import json_format

        from penult_proto.v1.pipes_pb2 import JobOrder
        from penult_server.jobs.channel import Reports
        from penult_server.jobs.fleets.entries import find

        job = json_format.Parse(order, JobOrder())
        # Further processes compute; the first one reports.
        reports = self._reports if rank == 0 else Reports(lambda message: None)
        try:
            result = find(self._table, "rank")(job, reports, self._together(job, rank, size, meeting))
        except Exception as error:
            if size == 1:
                raise
            # Others may turn out to have died.
            from penult_server.jobs.ranks import own_error

            raise own_error(error) from error
        return json_format.MessageToDict(result) if result is not None else {}

    @contextmanager
    def _together(self, job: "JobOrder", rank: int, size: int, meeting: str) -> Generator[Any]:
        """The block as one of the processes, on the one device that this process sees."""
        import torch
        import torch.distributed as dist

        from penult_server.finetuning.world import World
        from penult_server.jobs.ranks import Place, choose_device, in_group

        device = choose_device(job.device)
        if size == 1:
            torch.set_num_threads(self._threads)
            yield Place(device)
            return
        host, _, port = meeting.rpartition(":")
        store = self._store or dist.TCPStore(host, int(port), is_master=False)
        place = Place(device, World(rank=rank, size=size))
        with in_group(place, store, self._threads):
            yield place
