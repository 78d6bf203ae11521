"""A compute worker as the front sees it: started, watched, started again, and called."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import grpc

from penult_proto.errors import FALLBACK_KINDS, ErrorKind
from penult_proto.v1.pipes_pb2 import ComputeReady, FromWorker, ToWorker
from penult_server import pipes
from penult_server.errors import ServiceError
from penult_server.front.admission.limits import Limit
from penult_server.front.admission.slots import FairSlots
from penult_server.front.caller import CALLER
from penult_server.front.observed.call import note_waited, waited, waited_for
from penult_server.front.observed.metrics import WORKER_STARTS
from penult_server.front.workers.asked_queries import AskedQueries
from penult_server.front.workers.hosts import Host, host_of
from penult_server.front.workers.processes import log_tail, start_process, stop_process
from penult_server.front.workers.shares import Share
from penult_server.front.workers.vitals import Vitals, end_when_dead
from penult_server.front.workers.worker_stats import StatsOfWorker
from penult_server.lanes import QUERIES_AT_ONCE, QUERIES_OF_A_USER
from penult_server.logs.traces import span
from penult_server.messages import error_from_proto
from penult_server.settings import Settings
from penult_server.status import from_call

START_SECONDS = 120.0
RESTART_PAUSE = 0.2
MOST_FAILURES = 3
"""Starts in a row that may fail before callers are told so at once."""
log = logging.getLogger("penult.compute")
T = TypeVar("T")
Accept = Callable[[ComputeReady], Awaitable[ServiceError | None]]
"""Says why a worker that has started is not used; None for one that is."""


async def accept(ready: ComputeReady) -> None:
    """Use whatever has started."""


class ComputeProcess:
    """Keeps one compute worker alive and gives calls a channel to it."""

    def __init__(
        self,
        settings: Settings,
        on_health: Callable[[bool], Awaitable[None]],
        share: Share | None = None,
        accept: Accept = accept,
    ) -> None:
        self._settings = settings
        self._on_health = on_health
        self._accept = accept
        self._share = share or Share()
        self._log = settings.root / "logs" / self._share.log
        self._host: Host | None = None
        self._why = "start"
        """Why the next one is started, for the metrics."""
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._refusal: ServiceError | None = None
        """What callers are told at once."""
        self._said_no: ServiceError | None = None
        """Why the last that started would not, or may not, serve."""
        self._failures = 0
        # The worker's turns are waited for without a limit of their own: who waits was let in.
        self._queries = FairSlots("queries", Limit(server=QUERIES_AT_ONCE, user=QUERIES_OF_A_USER), patience=None)
        self.device = ""
        self.array_backend = ""
        self.address = ""
        """Where it listens; empty of a private socket."""
        self.asked = AskedQueries()
        """Queries in progress, and how far they are."""
        self.stats = StatsOfWorker(self._ask_for_stats)
        """How the worker stands."""
        self.damaged: set[str] = set()
        """Digests of feature sets that a read has found damaged."""
        self.residents: frozenset[str] = frozenset()
        """Digests of the feature sets that it has in memory, as it said last."""
        self._is_lost = False

    def start(self) -> None:
        """Start the worker; `channel` waits for it. Raises ServiceError where its socket finds no place."""
        self._host = host_of(self._settings, self._share)
        self._keeper = asyncio.create_task(self._keep())

    def new_socket(self) -> Path | None:
        """A path for a socket from which a worker is to read; None where it is on another machine.

        Raises ValueError where it was not started.
        """
        if self._host is None:
            raise ValueError("it has no place yet")
        return self._host.new_socket()

    async def stop(self) -> None:
        """End the worker."""
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._channel:
            await self._channel.close()
        if self._process:
            await stop_process(self._process, grace=2)
        if self._host:
            self._host.close()

    async def channel(self) -> grpc.aio.Channel:
        """A channel to the running worker. Raises ServiceError (WORKER_DIED) when it does not start."""
        started = time.perf_counter()
        try:
            await asyncio.wait_for(self._ready.wait(), START_SECONDS)
        except TimeoutError:
            raise self._not_started() from None
        waited(time.perf_counter() - started)
        if self._refusal:
            raise self._refusal
        if self._channel is None:
            raise ServiceError(ErrorKind.INTERNAL, f"{self._share} is ready but has no channel")
        return self._channel

    def _not_started(self) -> ServiceError:
        return ServiceError(ErrorKind.WORKER_DIED, f"{self._share} does not start; its log says: {log_tail(self._log)}")

    @property
    def is_up(self) -> bool:
        """Whether it answers, or starts for the first time; not while another one takes the place of one that died."""
        return not self._is_lost and self._refusal is None

    @property
    def n_waiting(self) -> int:
        """Queries that wait here for their turn with it."""
        return self._queries.n_waiting

    async def call(self, make: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
        """Await the query that `make` starts on the worker's channel, once it is its user's turn.

        The worker's errors become ours.
        """
        async with waited_for(self._queries.slot(CALLER.get().user)):
            return await self.pass_on(make)

    async def pass_on(self, make: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
        """Await the call that `make` starts on the worker's channel; its errors become ours."""
        # Asked for now: the worker may have been replaced while this call waited for its turn.
        channel = await self.channel()
        try:
            made = make(channel)
            with span("compute"):
                answer = await made
            if isinstance(made, grpc.aio.Call):
                await note_waited(made)
            return answer
        except grpc.aio.AioRpcError as error:
            raise self.translate(error, channel) from error

    async def relay(self, begin: Callable[[grpc.aio.Channel], AsyncIterable[T]]) -> AsyncGenerator[T]:
        """The messages of the call that `begin` makes on the worker's channel; its errors become ours."""
        channel = await self.channel()
        call: Any = begin(channel)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise self.translate(error, channel) from error
        finally:
            call.cancel()

    def translate(self, error: grpc.aio.AioRpcError, channel: grpc.aio.Channel) -> ServiceError:
        """What the worker said over its channel; or that it died, when it could not say anything."""
        said = from_call(error)
        if said:
            self.note(said.kind, said.metadata)
            return said
        if error.code() == grpc.StatusCode.UNAVAILABLE or self._was_cut(error, channel):
            self._lose(channel)
            return ServiceError(
                ErrorKind.WORKER_DIED,
                "the compute worker died while it held this query; it is being started again, ask once more (a query "
                "that needs too much memory dies again)",
            )
        kind = FALLBACK_KINDS.get(error.code(), ErrorKind.INTERNAL)
        return ServiceError(kind, f"the compute worker answered {error.code().name}: {error.details()}")

    def _was_cut(self, error: grpc.aio.AioRpcError, channel: grpc.aio.Channel) -> bool:
        """Whether an error of gRPC's core is that of a message which met a closed socket, and no fault of the call."""
        has_ended = self._process is not None and self._process.returncode is not None
        is_open = channel.get_state() == grpc.ChannelConnectivity.READY
        return error.code() == grpc.StatusCode.INTERNAL and (has_ended or not is_open)

    def _lose(self, channel: grpc.aio.Channel) -> None:
        """Nobody answers on a worker's channel: from now on calls wait for the next worker.

        The keeper may learn of the worker's end only later than a call that met it; a worker that lives but does not
        answer is ended, so that there will be a next one.
        """
        if channel is self._channel and self._ready.is_set():
            self._gone()
            if self._process:
                self._end(self._process)

    def _gone(self) -> None:
        """It answers no more, and the next one has nothing in memory."""
        self._ready.clear()
        self._is_lost, self.residents = True, frozenset()

    def forget(self, digest: str) -> None:
        """Tell the worker, if one is running, that a feature set was deleted."""
        self._say(ToWorker(forget=digest))

    def _ask_for_stats(self) -> bool:
        return self._say(ToWorker(stats=True))

    def _say(self, message: ToWorker) -> bool:
        """Send the worker a message; false when none is running."""
        pipe = self._process.stdin if self._process and self._ready.is_set() else None
        if pipe is None or pipe.is_closing():
            return False
        pipe.write(pipes.framed(message))
        return True

    def note(self, kind: str, metadata: Mapping[str, str]) -> None:
        """Remember a feature set that turned out damaged, so that it is extracted anew when asked for."""
        if kind == ErrorKind.STORE_CORRUPT and "digest" in metadata:
            self.damaged.add(metadata["digest"])

    async def _keep(self) -> None:
        while True:
            try:
                await self._run_once()
            except (OSError, ValueError) as error:
                log.error("%s did not start: %s; its log says: %s", self._share, error, log_tail(self._log))
            self._gone()
            await self._on_health(False)
            if self._said_no or self._failures >= MOST_FAILURES:
                # It is started again and again, but nobody should wait for that.
                self._refusal = self._said_no or self._not_started()
                self._ready.set()
            await asyncio.sleep(RESTART_PAUSE * min(2**self._failures, 64))

    async def _listen(self, process: asyncio.subprocess.Process, vitals: Vitals) -> None:
        """Take down how far queries are. A worker that says what is no message is ended: its pipe would fill."""
        if process.stdout is None:
            return
        try:
            while (said := await pipes.receive_from(process.stdout, FromWorker)) is not None:
                if said.HasField("stats"):
                    self.stats.come(said.stats)
                elif said.HasField("residents"):
                    self.residents = frozenset(said.residents.digests)
                elif said.HasField("pulse"):
                    vitals.note(time.monotonic(), is_busy=said.pulse.is_busy)
                else:
                    self.asked.note(said.queries.queries, said.queries.progress)
        except ValueError as error:
            log.error("%s said what is no message: %s", self._share, error)
            self._end(process)

    async def _end_when_dead(self, process: asyncio.subprocess.Process, vitals: Vitals) -> None:
        """End a worker that hangs: who waits for it is told at once, and the next one is started."""
        await end_when_dead(process, vitals, str(self._share))
        self._why = "replaced"
        self._gone()
        await self._on_health(False)

    def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    async def _run_once(self) -> None:
        """Start a worker, say when it is ready, and return when it has ended."""
        WORKER_STARTS.labels("compute", self._why).inc()
        self._why = "died"
        self._failures += 1
        if self._host is None:
            raise ValueError("it has no place yet")
        order, variables = self._host.begin()
        self._process = await start_process(self._host.module, log=self._log, variables=variables)
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("it was started without its pipes")
        self._process.stdin.write(pipes.framed(ToWorker(compute=order)))
        said = await self._first_word(self._process, self._process.stdout)
        refusal = error_from_proto(said.error) if said.HasField("error") else await self._accept(said.ready)
        if refusal:
            self._refusal = self._said_no = refusal
            self._ready.set()
            await self._on_health(False)
            await stop_process(self._process, grace=2)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), self._host.refused_seconds)
            return
        self.device, self.array_backend = said.ready.device, said.ready.array_backend
        self.address = said.ready.address
        if self._channel:
            await self._channel.close()
        self._channel = self._host.channel(said.ready)
        self._failures, self._refusal, self._said_no, self._is_lost = 0, None, None, False
        self._ready.set()
        await self._on_health(True)
        vitals = Vitals(time.monotonic())
        listening = asyncio.create_task(self._listen(self._process, vitals))
        watching = asyncio.create_task(self._end_when_dead(self._process, vitals))
        try:
            code = await self._process.wait()
        finally:
            listening.cancel()
            watching.cancel()
        log.warning("%s ended with exit status %s; starting it again", self._share, code)

    async def _first_word(self, process: asyncio.subprocess.Process, pipe: asyncio.StreamReader) -> FromWorker:
        """What a worker says when it has started. Raises ValueError where it does not; then it is ended."""
        try:
            said = await asyncio.wait_for(pipes.receive_from(pipe, FromWorker), START_SECONDS)
        except TimeoutError:
            self._end(process)
            raise ValueError(f"it was not ready after {START_SECONDS:.0f} s") from None
        if said is None:
            raise ValueError("it ended before it was ready")
        return said
