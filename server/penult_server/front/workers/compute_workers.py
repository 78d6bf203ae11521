"""All compute workers of a server as its services see them: who asks is sent to the worker that has the features."""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import grpc

from penult_proto.errors import ErrorKind
from penult_proto.v1.pipes_pb2 import ComputeReady, ComputeStats
from penult_server.errors import ServiceError
from penult_server.front.admission.calls import computing
from penult_server.front.registry_thread import Registry
from penult_server.front.workers.asked_queries import AskedQueries
from penult_server.front.workers.compute_process import ComputeProcess
from penult_server.front.workers.routing import Standing, choose, least_used
from penult_server.front.workers.shares import Share
from penult_server.settings import Settings

MOST_KEYS = 100_000
"""Feature sets whose checkpoints are remembered."""
T = TypeVar("T")
log = logging.getLogger("penult.compute")


class ComputeWorkers:
    """Keeps the workers alive, and passes each call on to one of them; used in one event loop."""

    def __init__(self, settings: Settings, registry: Registry, on_health: Callable[[bool], Awaitable[None]]) -> None:
        """`on_health` is told whether any worker answers."""
        self._registry = registry
        self._on_health = on_health
        self.asked = AskedQueries()
        """Queries in progress, and how far they are."""
        self.damaged: set[str] = set()
        """Digests of feature sets that a read has found damaged."""
        self.workers = tuple(
            ComputeProcess(
                settings,
                partial(self._note_health, number),
                Share(number=number, of=max(1, settings.compute_workers)),
                partial(self._accept, number),
            )
            for number in range(max(1, settings.compute_workers))
        )
        for one in self.workers:
            one.asked, one.damaged = self.asked, self.damaged
        self._queries = [0 for _ in self.workers]
        """How many are in progress in each worker, those that wait to be let in included."""
        self._transfers = [0 for _ in self.workers]
        self._asked_about = [Counter[str]() for _ in self.workers]
        """The feature sets that these ask about."""
        self._alive = [False for _ in self.workers]
        self._keys: OrderedDict[str, str] = OrderedDict()
        self._kind = ""
        """The device and processor of all workers; answers of others may differ in their last bits."""
        self._first_has_tried = asyncio.Event()

    def start(self) -> None:
        """Start the workers; calls wait for theirs. Raises ServiceError where a socket finds no place."""
        for one in self.workers:
            one.start()

    async def stop(self) -> None:
        """End the workers."""
        await asyncio.gather(*(one.stop() for one in self.workers))

    @property
    def device(self) -> str:
        """ "cpu" or the name of the GPU; empty until a worker has started."""
        return next((one.device for one in self.workers if one.is_up and one.device), self.workers[0].device)

    @property
    def array_backend(self) -> str:
        """ "numpy" or "cupy"; empty until a worker has started."""
        return next((one.array_backend for one in self.workers if one.array_backend), "")

    async def stats(self) -> list[ComputeStats | None]:
        """How each worker stands; None of one that does not answer."""
        return list(await asyncio.gather(*(one.stats.latest() for one in self.workers)))

    async def call(
        self,
        make: Callable[[grpc.aio.Channel], Awaitable[T]],
        sets: Sequence[str] = (),
        kind: tuple[str, int] = ("", 1),
        *,
        is_together: bool = False,
    ) -> T:
        """Await the query about these feature sets that `make` starts on a worker's channel, in its user's turn.

        The first set is the one whose rows are gone through. Calls of one `kind`, a set and about the same size in
        units of the method, cost about the same; `is_together` says whether those of one user are solved together.
        Raises ServiceError (BUSY) where too many calls compute; the worker's errors become ours.
        """
        feature_set, size = kind
        async with self._at_home(sets) as number:
            await computing((feature_set, size.bit_length()), number, is_together=is_together)
            return await self.workers[number].call(make)

    async def pass_on(self, make: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
        """Await the transfer that `make` starts on the channel of any worker; its errors become ours."""
        async with self._anywhere() as number:
            return await self.workers[number].pass_on(make)

    async def relay(
        self, begin: Callable[[grpc.aio.Channel], AsyncIterable[T]], sets: Sequence[str] = (), *, computes: bool = False
    ) -> AsyncIterator[T]:
        """The messages of the call that `begin` makes on a worker's channel; its errors become ours.

        Of a call about no set in memory, a transfer, any worker's. One that `computes` is let in as `call` is.
        """
        async with self._at_home(sets) if sets else self._anywhere() as number:
            if computes:
                await computing(place=number)
            async with aclosing(self.workers[number].relay(begin)) as messages:
                async for message in messages:
                    yield message

    def new_socket(self) -> Path | None:
        """A path for a socket of this process alone, from which a worker can read; None for workers elsewhere."""
        return self.workers[0].new_socket()

    def forget(self, digest: str) -> None:
        """Tell the workers that a feature set was deleted."""
        for one in self.workers:
            one.forget(digest)

    def note(self, kind: str, metadata: Mapping[str, str]) -> None:
        """Remember a feature set that turned out damaged, so that it is extracted anew when asked for."""
        self.workers[0].note(kind, metadata)

    def standings(self, sets: Sequence[str] = ()) -> list[Standing]:
        """How the workers stand towards a question about these sets."""
        return [
            Standing(
                is_up=one.is_up,
                n_waiting=max(0, self._queries[number] - 1),
                n_held=sum(digest in one.residents or digest in self._asked_about[number] for digest in set(sets)),
            )
            for number, one in enumerate(self.workers)
        ]

    @asynccontextmanager
    async def _at_home(self, sets: Sequence[str]) -> AsyncGenerator[int]:
        """A block in which a query is in progress, with the number of its worker."""
        number = await self._chosen(sets)
        asked = self._asked_about[number]
        self._queries[number] += 1
        asked.update(sets)
        try:
            yield number
        finally:
            self._queries[number] -= 1
            asked.subtract(sets)
            for digest in sets:
                if asked[digest] <= 0:
                    del asked[digest]

    @asynccontextmanager
    async def _anywhere(self) -> AsyncGenerator[int]:
        number = least_used(self.standings(), self._transfers)
        self._transfers[number] += 1
        try:
            yield number
        finally:
            self._transfers[number] -= 1

    async def _chosen(self, sets: Sequence[str]) -> int:
        if len(self.workers) == 1:
            return 0
        if not sets:
            return least_used(self.standings(), self._transfers)
        keys = [await self._key(digest) for digest in sets]
        return choose(keys, self.standings(sets))

    async def _key(self, digest: str) -> str:
        """The checkpoint whose features a set has; of an upload its own digest."""
        if (key := self._keys.get(digest)) is not None:
            self._keys.move_to_end(digest)
            return key
        try:
            stored = await self._registry.run(self._registry.catalog.feature_set, digest)
        except ServiceError:
            return digest  # deleted meanwhile: the worker says so
        self._keys[digest] = key = stored.checkpoint or digest
        if len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)
        return key

    async def _accept(self, number: int, ready: ComputeReady) -> ServiceError | None:
        """Take a worker of the kind of the first, or of the first that starts where that one does not."""
        kind = f"{ready.device} ({ready.processor})" if ready.processor else ready.device
        if number == 0:
            self._kind = self._kind or kind
            self._first_has_tried.set()
        await self._first_has_tried.wait()
        self._kind = self._kind or kind
        if kind == self._kind:
            return None
        said = (
            f"compute worker {number} has a {kind}, the others a {self._kind}; one question could have two answers "
            "that differ in their last bits, so it is not used: name GPUs of one kind in CUDA_VISIBLE_DEVICES, or have "
            "nodes of one kind in the cluster"
        )
        log.error(said)
        return ServiceError(ErrorKind.INVALID_ARGUMENT, said)

    async def _note_health(self, number: int, is_alive: bool) -> None:
        if number == 0:
            self._first_has_tried.set()
        before, self._alive[number] = any(self._alive), is_alive
        if len(self.workers) == 1 or any(self._alive) != before:
            await self._on_health(any(self._alive))
