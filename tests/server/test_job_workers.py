"""Job workers are forked: what the front learns of each, whatever ends it, and what the forker must not have begun."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penult_proto.v1.pipes_pb2 import FromWorker, JobOrder, ToWorker
from penult_server import pipes
from penult_server.front.workers import forked, job_workers
from penult_server.front.workers.job_workers import JobWorkers
from penult_server.front.workers.processes import Worker

PATIENCE = 100.0


def with_workers(root: Path, use: Callable[[JobWorkers], Awaitable[None]]) -> None:
    """Call `use`, and end its workers' forker."""

    async def run() -> None:
        workers = JobWorkers(root)
        try:
            await asyncio.wait_for(use(workers), PATIENCE)
        finally:
            await workers.stop()
        assert workers._forker is not None
        assert workers._forker.returncode == 0

    asyncio.run(run())


def has_ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_each_worker_has_pipes_and_an_end_of_its_own(tmp_path):
    async def use(workers: JobWorkers) -> None:
        one, two, three = [await workers.take(needs_model=False) for _ in range(3)]
        while any(os.getsid(worker.pid) != worker.pid for worker in (one, two, three)):
            await asyncio.sleep(0.01)
        two.kill()
        assert await two.wait() == two.returncode == -signal.SIGKILL
        two.kill()  # is nothing then
        assert one.stdin is not None
        one.stdin.close()
        assert await one.wait() == 0
        assert await answer(three, tmp_path / "log") == "invalid_argument"
        assert await three.wait() == 0
        assert (tmp_path / "log").read_text() == ""
        assert all(has_ended(worker.pid) for worker in (one, two, three))

    with_workers(tmp_path, use)


async def answer(worker: Worker, log: Path) -> str:
    """What a worker says to an order without a spec."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(pipes.framed(ToWorker(job=JobOrder(log=str(log)))))
    said = await pipes.receive_from(worker.stdout, FromWorker)
    assert said is not None
    worker.stdin.close()
    return said.error.kind


def test_a_worker_does_not_outlive_the_forker_and_the_next_one_has_another(tmp_path):
    async def use(workers: JobWorkers) -> None:
        worker = await workers.take(needs_model=False)
        first = workers._forker
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        assert await worker.wait() == -signal.SIGKILL
        # The front may not have learned of the forker's end yet; it does so at the first worker that it asks for.
        try:
            other = await workers.take(needs_model=False)
        except ChildProcessError:
            other = await workers.take(needs_model=False)
        assert workers._forker is not first
        assert await answer(other, tmp_path / "log") == "invalid_argument"

    with_workers(tmp_path, use)


def test_a_forker_that_hangs_is_ended(tmp_path, monkeypatch):
    async def use(workers: JobWorkers) -> None:
        await workers.take(needs_model=False)
        forker = workers._forker
        assert forker is not None
        os.kill(forker.pid, signal.SIGSTOP)
        monkeypatch.setattr(job_workers, "START_SECONDS", 0.1)
        with pytest.raises(ChildProcessError, match="no job worker was ready after 0 s"):
            await workers.take(needs_model=False)
        assert await forker.wait() == -signal.SIGKILL
        monkeypatch.setattr(job_workers, "START_SECONDS", PATIENCE)
        worker = await workers.take(needs_model=False)
        worker.kill()
        await worker.wait()

    with_workers(tmp_path, use)


def test_a_forker_without_jobs_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(job_workers, "IDLE_SECONDS", 0.0)

    async def use(workers: JobWorkers) -> None:
        one, two = [await workers.take(needs_model=False) for _ in range(2)]
        forker = workers._forker
        assert forker is not None
        one.kill()
        await one.wait()
        assert await answer(two, tmp_path / "log") == "invalid_argument"
        assert await forker.wait() == 0
        assert workers._requests is None

    with_workers(tmp_path, use)


def test_a_forker_leaves_after_workers_that_end_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(job_workers, "IDLE_SECONDS", 0.0)

    async def use(workers: JobWorkers) -> None:
        taken = [await workers.take(needs_model=False) for _ in range(2)]
        forker = workers._forker
        assert forker is not None
        os.kill(forker.pid, signal.SIGSTOP)  # both ends are told in one go
        for worker in taken:
            worker.kill()
        os.kill(forker.pid, signal.SIGCONT)
        time.sleep(0.3)  # while this process looks at nothing
        assert await forker.wait() == 0

    with_workers(tmp_path, use)


def test_a_forker_stays_for_a_worker_that_was_asked_for_when_another_ended(tmp_path, monkeypatch):
    """It is idle neither while it is asked for a worker nor until that one has ended."""
    monkeypatch.setattr(job_workers, "IDLE_SECONDS", 0.0)
    ending: list[Worker] = []

    async def fork_late(requests: socket.socket, *, needs_model: bool) -> forked.ForkedWorker:
        worker = await forked.fork_worker(requests, needs_model=needs_model)
        while ending:
            other = ending.pop()
            other.kill()
            await other.wait()
            await asyncio.sleep(0.1)
        return worker

    monkeypatch.setattr(job_workers, "fork_worker", fork_late)

    async def use(workers: JobWorkers) -> None:
        ending.append(await workers.take(needs_model=False))
        worker = await workers.take(needs_model=False)
        await asyncio.sleep(0.3)
        assert worker.returncode is None
        assert await answer(worker, tmp_path / "log") == "invalid_argument"
        assert await worker.wait() == 0

    with_workers(tmp_path, use)


DRIVER = """
#include <unistd.h>
int cuInit(unsigned flags) { write(2, "the GPU is used\\n", 16); return 100; }
int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuDeviceGetCount(int *count) { return *count = 0, 100; }
"""
"""What stands in for NVIDIA's driver: it says when it is used."""


@pytest.fixture
def driver(tmp_path, monkeypatch) -> Path:
    """A driver that processes find, and that says so where they print errors."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    source, library = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
    source.write_text(DRIVER)
    subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", "-o", library, source], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    use = "import ctypes; ctypes.CDLL('libcuda.so.1').cuInit(0)"
    used = subprocess.run([sys.executable, "-c", use], capture_output=True, text=True, check=True)
    assert used.stderr == "the GPU is used\n"
    return library


def test_the_forker_has_begun_nothing_that_a_fork_cannot_use(tmp_path, driver, monkeypatch):
    """Threads are missing in a fork, and a GPU that was used before cannot be used there."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # its threads alone are made again in a fork

    async def use(workers: JobWorkers) -> None:
        worker = await workers.take(needs_model=True)
        forker = workers._forker
        assert forker is not None
        assert [path.name for path in Path(f"/proc/{forker.pid}/task").iterdir()] == [str(forker.pid)]
        assert "libtorch_cuda" in Path(f"/proc/{forker.pid}/maps").read_text()
        assert (tmp_path / "logs" / "workers.log").read_text() == ""
        assert await answer(worker, tmp_path / "log") == "invalid_argument"

    with_workers(tmp_path, use)
