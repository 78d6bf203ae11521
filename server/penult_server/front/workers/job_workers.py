"""The workers of jobs: each a process of its own, forked from one that has loaded the frameworks.

Loading them takes longer than many jobs do, and once is enough: see `penult_server.jobs.forker`.
"""

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

from penult_server.compute_environment import job_environment
from penult_server.front.observed.metrics import WORKER_STARTS
from penult_server.front.workers.forked import ForkedWorker, fork_worker
from penult_server.front.workers.processes import Worker, start_process, stop_process
from penult_server.machine.folders import caches

IDLE_SECONDS = 300.0
"""Seconds without a job after which the forker is ended: it holds half a gigabyte."""
START_SECONDS = 600.0
"""How long the forker may take to load the frameworks: minutes, from a cold disk or one behind a network. When it is
ended for taking longer, the jobs that run end with it."""

HEARING_SECONDS = 1.0
"""How long after its pipes a forker's own end may be noticed; one that could not fork goes on."""


class JobWorkers:
    """Starts the worker of each job. The first one also starts the forker."""

    def __init__(self, root: Path) -> None:
        self.log = root / "logs" / "workers.log"
        """Where those print that have taken no order."""
        self._root = root
        self._forker: asyncio.subprocess.Process | None = None
        self._requests: socket.socket | None = None
        """To the forker, which ends when this is closed."""
        self._starting = asyncio.Lock()
        self._at_work: set[asyncio.Task[int]] = set()
        """Each waits for the end of a worker."""
        self._unread: list[ForkedWorker] = []
        """Workers of which more may come: their pipes are closed when this ends."""
        self._n_needed = 0
        """Workers that the forker must stay for: those at work, and those that are asked for."""
        self._leaving: asyncio.TimerHandle | None = None

    async def take(self, *, needs_model: bool) -> Worker:
        """A worker that waits for its order. Raises ChildProcessError where the forker has died, or hangs."""
        WORKER_STARTS.labels("job", "start").inc()
        if sys.platform != "linux":  # libraries of other systems may not outlive a fork
            return await self._start()
        self._keep_forker()
        try:
            worker = await self._fork(needs_model=needs_model)
        except BaseException:
            self._need_forker_less()
            raise
        self._unread = [one for one in self._unread if not one.is_read] + [worker]
        task = asyncio.create_task(worker.wait())
        self._at_work.add(task)
        task.add_done_callback(self._has_ended)
        return worker

    async def stop(self) -> None:
        """End the forker; its workers were stopped before."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        for worker in self._unread:
            worker.close()
        self._send_away()
        if self._forker:
            await stop_process(self._forker, grace=2)

    async def _fork(self, *, needs_model: bool) -> ForkedWorker:
        async with self._starting:
            if self._forker is None or self._requests is None or self._forker.returncode is not None:
                self._forker, self._requests = await self._start_forker()
            forker, requests = self._forker, self._requests
        try:
            async with asyncio.timeout(START_SECONDS):
                return await fork_worker(requests, needs_model=needs_model)
        except TimeoutError:
            if forker.returncode is None:
                forker.kill()
            await _hear_of_end(forker)
            raise ChildProcessError(f"no job worker was ready after {START_SECONDS:.0f} s") from None
        except ChildProcessError:
            await _hear_of_end(forker)
            raise

    async def _start_forker(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        WORKER_STARTS.labels("forker", "died" if self._requests else "start").inc()
        self._send_away()
        ours, theirs = socket.socketpair()
        with theirs:
            return await self._start("forker", stdin=theirs.fileno()), ours

    async def _start(self, *arguments: str, stdin: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
        module, variables = "penult_server.jobs.worker", caches(os.environ, self._root) | job_environment(os.environ)
        return await start_process(module, *arguments, log=self.log, variables=variables, stdin=stdin)

    def _keep_forker(self) -> None:
        self._n_needed += 1
        if self._leaving:
            self._leaving.cancel()

    def _need_forker_less(self) -> None:
        self._n_needed -= 1
        if not self._n_needed:
            self._leaving = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._send_away)

    def _has_ended(self, task: asyncio.Task[int]) -> None:
        self._at_work.discard(task)
        self._need_forker_less()

    def _send_away(self) -> None:
        """Tell the forker to end."""
        if self._leaving:
            self._leaving.cancel()
        if self._requests:
            self._requests.close()
        self._requests = None


async def _hear_of_end(forker: asyncio.subprocess.Process) -> None:
    """Wait until this process knows that a forker has ended, if it has: the next worker is to be another's fork."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(forker.wait(), HEARING_SECONDS)
