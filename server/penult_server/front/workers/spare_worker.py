"""A job worker started ahead of its job, because loading the frameworks takes longer than many jobs do."""

import asyncio
import os
from pathlib import Path

from penult_server.front.observed.metrics import WORKER_STARTS
from penult_server.front.workers.processes import start_process, stop_process
from penult_server.machine.folders import caches

IDLE_SECONDS = 300.0
"""Seconds after which an unused spare worker is ended: it holds half a gigabyte."""


class SpareWorker:
    """At most one worker in waiting. The first job starts its own; from then on one is kept ready."""

    def __init__(self, root: Path) -> None:
        self._log = root / "logs" / "workers.log"
        self._waiting: asyncio.subprocess.Process | None = None
        self._preparing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, *, needs_model: bool) -> asyncio.subprocess.Process:
        """A worker that waits for its order, or is loading; the next one is started meanwhile.

        Work without a model gets one of its own, which loads no framework.
        """
        if not needs_model:
            return await self._start()
        process, self._waiting = self._waiting, None
        if process is None or process.returncode is not None:
            process = await self._start()
        task = asyncio.create_task(self._prepare())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return process

    async def stop(self) -> None:
        """End the worker in waiting."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end()

    async def _prepare(self) -> None:
        async with self._preparing:
            if self._waiting is not None:
                return
            process = self._waiting = await self._start("ahead")
        await asyncio.sleep(IDLE_SECONDS)
        if self._waiting is process:
            await self._end()

    async def _end(self) -> None:
        process, self._waiting = self._waiting, None
        if process:
            await stop_process(process, grace=2)

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        WORKER_STARTS.labels("spare" if arguments else "job", "start").inc()
        variables = caches(os.environ, self._log.parent.parent)
        return await start_process("penult_server.jobs.worker", *arguments, log=self._log, variables=variables)
