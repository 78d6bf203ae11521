"""A compute worker on a node of a cluster, beside the process that keeps it there: started, watched and passed on to.

That it computes, waits for a core, or hangs can only be seen on its own machine, so it is judged here.
"""

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

from penult_proto.v1.pipes_pb2 import ComputeOrder, FromWorker, ToWorker
from penult_server import pipes
from penult_server.compute_environment import BLAS_THREADS, compute_environment, usable_cores
from penult_server.front.workers.processes import start_process
from penult_server.front.workers.vitals import Vitals, end_when_dead
from penult_server.jobs.fleets.on_nodes import look
from penult_server.machine.folders import caches

SAID_SECONDS = 0.5
"""How long a worker is listened to before what it has said is handed over."""


class ComputeNode:
    """One worker. Its methods are called by several threads."""

    def __init__(self, cores: int) -> None:
        """`cores`: how many it may use; never one of several, since a split product has other bits."""
        self._cores = max(min(2, usable_cores()), cores)
        # Of the cluster's own processes; a worker of any other machine splits its products itself.
        for name in BLAS_THREADS:
            os.environ.pop(name, None)
        os.umask(0o077)
        self._process: asyncio.subprocess.Process | None = None
        self._said: list[bytes] = []
        self._ended = ""
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def look(self, root: str, probe: str) -> dict[str, Any]:
        """`on_nodes.look`."""
        return look(root, probe)

    def start(self, order: bytes) -> bytes:
        """Start the worker with a `ComputeOrder`; its first `FromWorker`. Raises RuntimeError when it says none."""
        return asyncio.run_coroutine_threadsafe(self._start(order), self._loop).result()

    def tell(self, message: bytes) -> None:
        """Pass a `ToWorker` on."""
        said = ToWorker.FromString(message)
        self._loop.call_soon_threadsafe(self._write, said)

    def said(self) -> tuple[list[bytes], str]:
        """Its messages since the last call, and how it has ended, if it has; waits a little for the first."""
        with self._news:
            self._news.wait_for(lambda: self._said or self._ended, SAID_SECONDS)
            said, self._said = self._said, []
            return said, self._ended

    async def _start(self, order: bytes) -> bytes:
        told = ComputeOrder.FromString(order)
        variables = compute_environment(os.environ, self._cores) | caches(os.environ, Path(told.root))
        process = self._process = await start_process("penult_server.compute.worker", log=None, variables=variables)
        self._write(ToWorker(compute=told))
        if process.stdout is None or (first := await pipes.receive_from(process.stdout, FromWorker)) is None:
            raise RuntimeError(f"the worker ended before it was ready, with exit status {await process.wait()}")
        self._keeping = [asyncio.create_task(one) for one in self._watches(process, process.stdout)]
        return first.SerializeToString()

    def _watches(self, process: asyncio.subprocess.Process, pipe: asyncio.StreamReader) -> list[Any]:
        vitals = Vitals(time.monotonic())
        return [self._listen(process, pipe, vitals), end_when_dead(process, vitals, "the compute worker")]

    async def _listen(self, process: asyncio.subprocess.Process, pipe: asyncio.StreamReader, vitals: Vitals) -> None:
        """Take down what it says until it has ended. One that says what is no message is ended: its pipe would fill."""
        try:
            while (said := await pipes.receive_from(pipe, FromWorker)) is not None:
                if said.HasField("pulse"):
                    vitals.note(time.monotonic(), is_busy=said.pulse.is_busy)
                else:
                    with self._news:
                        self._said.append(said.SerializeToString())
                        self._news.notify_all()
        except ValueError:
            process.kill()
        status = await process.wait()
        with self._news:
            self._ended = f"exit status {status}"
            self._news.notify_all()

    def _write(self, message: ToWorker) -> None:
        pipe = self._process.stdin if self._process else None
        if pipe is not None and not pipe.is_closing():
            pipe.write(pipes.framed(message))
