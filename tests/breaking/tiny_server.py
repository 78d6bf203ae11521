"""The registry, the stores and the queue of a server in one process, without a wire; jobs run in a thread.

Everything that decides what is on the disk is the server's own: only the processes of workers are replaced by threads,
so that one `os._exit` ends all of it, as `kill -9` of a whole machine's processes would.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from penult_proto.v1 import jobs_pb2, runs_pb2
from penult_proto.v1.pipes_pb2 import FromWorker, Pulse, ToWorker
from penult_server import pipes
from penult_server.front.access import server_token
from penult_server.front.jobs.queue import JobQueue
from penult_server.front.registry_thread import Registry
from penult_server.front.workers.job_workers import JobWorkers
from penult_server.jobs.channel import WorkerChannel
from penult_server.jobs.fleets.local import LocalFleet
from penult_server.jobs.work import work
from penult_server.registry.jobs import ENDED
from penult_server.settings import Settings
from penult_server.status import translate
from penult_server.stores.removal import FOLDERS, remove_left

SIDE = 8
DEADLINE = 100.0


class ThreadWorkers:
    """Takes the place of the queue's workers."""

    log = Path("none.log")

    async def take(self, *_: Any, **__: Any) -> "ThreadWorker":
        return ThreadWorker()

    async def stop(self) -> None:
        """Threads end with their jobs."""


class ThreadWorker:
    """Takes the place of a worker's process: an order starts a thread."""

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.stdin = self
        self.stdout = asyncio.StreamReader()
        self.pid = 0
        self._loop = asyncio.get_running_loop()
        self._channel = WorkerChannel(self)  # pyright: ignore[reportArgumentType]
        self._written = b""
        self._ended = asyncio.Event()

    def write(self, content: bytes) -> None:
        """What the front sends, and, from the other side, what the worker does."""
        if threading.current_thread() is threading.main_thread():
            said = ToWorker.FromString(content[4:])
            if said.cancel:
                self._channel.cancel()
            elif said.held:
                self._channel.held(said.held)
            elif said.pulse:
                self.stdout.feed_data(pipes.framed(FromWorker(pulse=Pulse())))
            else:
                threading.Thread(target=self._work, args=(said.job,), daemon=True).start()
        else:
            self._written += content

    def flush(self) -> None:
        content, self._written = self._written, b""
        self._loop.call_soon_threadsafe(self.stdout.feed_data, content)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Its input: a process would end at once, the thread does where it asks whether it goes on."""
        self._channel.cancel()

    def kill(self) -> None:
        self.close()

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def _work(self, order: Any) -> None:
        try:
            self._channel.result(work(order, self._channel, LocalFleet(order.device)))
        except Exception as error:  # as in the worker's own main
            self._channel.error(translate(error))
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.returncode = 0
        self.stdout.feed_eof()
        self._ended.set()


class TinyServer:
    """What answers about one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = Registry()
        self.settings = Settings(root=root, device="cpu")
        self.queue: JobQueue

    async def start(self) -> None:
        """As `front.server.Server` does."""
        await self.registry.open(self.root / "penult.db")
        await self.registry.run(self.registry.deletions.recover)
        for name in ("", "uploads", *FOLDERS):
            remove_left(self.root / name)
        self.registry.deletions.reserve.keep()
        server_token(self.root)
        self.queue = JobQueue(self.registry, self.settings, set(), lambda: None)
        assert isinstance(self.queue._workers, JobWorkers)
        self.queue._workers = ThreadWorkers()  # pyright: ignore[reportAttributeAccessIssue]
        await self.queue.start()

    async def stop(self) -> None:
        await self.queue.stop()
        await self.registry.close()

    async def until_idle(self) -> None:
        """Wait for the jobs that were started to end."""
        unfinished = [state for state in jobs_pb2.JobState.values() if state not in ENDED]
        for job in await self.registry.run(self.registry.jobs.list, unfinished, 100):
            await self.ended(job.id)

    async def ended(self, job_id: str, tell: Callable[[str], None] = lambda _: None) -> jobs_pb2.Job:
        """The job when it has ended; `tell` hears of the checkpoints that it reports."""

        async def follow() -> None:
            async for event in self.queue.watch(job_id, 0):
                if event.WhichOneof("kind") == "checkpoint":
                    tell(f"has checkpoint {event.checkpoint}")

        await asyncio.wait_for(follow(), DEADLINE)
        return await self.registry.run(self.registry.jobs.get, job_id)


@asynccontextmanager
async def tiny_server(root: Path) -> AsyncIterator[TinyServer]:
    """A server on a root, until the block ends."""
    server = TinyServer(root)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def make_table(directory: Path) -> Path:
    """Images of two classes on two grounds, in a table."""
    rng = np.random.default_rng(0)
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["path,y,ground,split"]
    for split, counts in (("train", (5, 2, 2, 5)), ("val", (2, 2, 2, 2))):
        for group, count in enumerate(counts):
            for index in range(count):
                pixels = rng.integers(0, 60, (SIDE, SIDE, 3)) + 60 * (group // 2)
                pixels[:, :, group % 2] += 90
                name = f"{split}-{group}-{index}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(directory / name)
                lines.append(f"{name},{('dark', 'bright')[group // 2]},{('red', 'green')[group % 2]},{split}")
    table = directory / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def make_texts(place: Path) -> Path:
    """Texts of two classes about two things, in a table."""
    place.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{y} {a} {i},{y},{a},{s}" for s in ("train", "val") for y in "pq" for a in "uv" for i in range(2)]
    place.write_text("\n".join(["text,y,topic,split", *rows]) + "\n")
    return place


def finetuning(**changes: Any) -> jobs_pb2.JobSpec:
    """Two epochs of two steps, measured, stored and saved at every turn."""
    fields: dict[str, Any] = {
        "dataset": "shapes",
        "backbone": "test_resnet",
        "pretrained": False,
        "epochs": 2,
        "batch_size": 8,
        "image_size": 32,
        "evaluate": ["val"],
        "save_every": 1,
    }
    return jobs_pb2.JobSpec(finetune=runs_pb2.FinetuneSpec(**fields | changes))
