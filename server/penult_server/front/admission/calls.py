"""Calls in progress: let in or refused, counted by what they occupy, and ended when the server leaves."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.admission.limits import LANES, Lane, Limits
from penult_server.front.admission.load import Computing, Kind, Load
from penult_server.front.admission.slots import FairSlots
from penult_server.front.caller import CALLER

CUT_SECONDS = 1.0
"""How long calls that are cut may take to say so."""


@dataclass(frozen=True, slots=True)
class Place:
    """A compute worker, as calls wait for it: one that waits for another worker holds nobody up."""

    computing: FairSlots
    together: FairSlots
    """Slots of calls that are solved together with others."""
    load: Load = field(default_factory=Load)

    def serve(self) -> None:
        """A call of either kind has ended: the load is less for those of both."""
        self.computing.serve()
        self.together.serve()

    @classmethod
    def of(cls, limits: Limits) -> "Place":
        """One with nobody in it."""
        return cls(
            FairSlots(Lane.COMPUTE, limits.computing, limits.patience),
            FairSlots(Lane.COMPUTE, limits.together, limits.patience),
        )


class Ticket:
    """One call that was let in. It takes a slot for computing once it turns out to need one, and keeps it."""

    def __init__(self, user: str, place: Place, method: str = "") -> None:
        self._user = user
        self._place = place
        self._slots = place.computing
        self._method = method
        self._work: Computing | None = None
        self._asking = asyncio.Lock()
        self._refusal: ServiceError | None = None
        self._is_computing = False
        self._has_ended = False

    async def compute(self, kind: Kind = (), *, is_together: bool = False) -> None:
        """Take the slot, once for all parts of the call; the first says its kind. Raises ServiceError (BUSY)."""
        if self._is_computing:
            return
        async with self._asking:
            if self._refusal is not None:
                raise self._refusal
            # What a call that has ended began goes on while others wait for it.
            if self._is_computing or self._has_ended:
                return
            self._work = Computing(self._place.load, self._user, (self._method, *kind), is_together=is_together)
            self._slots = self._place.together if is_together else self._place.computing
            try:
                await self._slots.acquire(self._user, self._work)
            except ServiceError as error:
                self._refusal = error
                raise
            self._is_computing = True
            if self._has_ended:
                self.end()

    def end(self, is_answered: bool = False) -> None:
        """The call has ended, and had its answer or not."""
        self._has_ended = True
        if self._is_computing and self._work:
            self._is_computing = False
            self._work.is_answered = is_answered
            self._slots.release(self._user, self._work)
            self._place.serve()


class Tickets:
    """The tickets of one call, one for each of the compute workers that it needs."""

    def __init__(self, user: str, method: str, places: Mapping[int, Place]) -> None:
        self._user = user
        self._method = method
        self._places = places
        self._tickets: dict[int, Ticket] = {}
        self._has_ended = False

    def at(self, place: int) -> Ticket:
        """The ticket for a worker."""
        if place not in self._tickets:
            self._tickets[place] = Ticket(self._user, self._places[place], self._method)
            if self._has_ended:
                self._tickets[place].end()
        return self._tickets[place]

    def end(self, is_answered: bool = False) -> None:
        """The call has ended, and had its answer or not."""
        self._has_ended = True
        for ticket in self._tickets.values():
            ticket.end(is_answered)


_TICKETS: ContextVar[Tickets | None] = ContextVar("tickets", default=None)


async def computing(kind: Kind = (), place: int = 0, *, is_together: bool = False) -> None:
    """The call that runs is about to compute in the worker of that number. Raises ServiceError (BUSY) where too much is
    computed there.

    `kind` is what calls of its method that cost about as much have in common; `is_together` whether those of one user
    about one set are solved together.
    """
    tickets = _TICKETS.get()
    if tickets is not None:
        await tickets.at(place).compute(kind, is_together=is_together)


class Calls:
    """All calls in progress of one server; used in one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._places = defaultdict[int, Place](lambda: Place.of(limits))
        self._all = FairSlots(Lane.LOOK, limits.calls)
        self._lanes = {
            Lane.UPLOAD: FairSlots(Lane.UPLOAD, limits.uploads, limits.patience),
            Lane.READ: FairSlots(Lane.READ, limits.reads, limits.patience),
            Lane.WATCH: FairSlots(Lane.WATCH, limits.watching),
        }
        self._tasks: dict[asyncio.Task[object], Lane] = {}
        self._ended = asyncio.Event()
        self._is_leaving = False
        self._is_cut = False

    @asynccontextmanager
    async def admitted(self, method: str) -> AsyncGenerator[None]:
        """A block in which a call is in progress. Raises ServiceError (BUSY, SHUTTING_DOWN)."""
        if self._is_leaving:
            raise _shutting_down()
        user, lane = CALLER.get().user, LANES[method]
        with ExitStack() as stack:
            if lane is not Lane.WATCH:
                self._all.take(user)
                stack.callback(self._all.release, user)
            slots = self._lanes.get(lane)
            if slots is not None:
                await slots.acquire(user)
                stack.callback(slots.release, user)
            tickets = Tickets(user, method, self._places)
            stack.callback(tickets.end)
            _TICKETS.set(tickets)
            task = self._begin(lane)
            stack.callback(self._end, task)
            try:
                yield
                tickets.end(is_answered=True)
            except asyncio.CancelledError:
                if not self._is_cut or task is None:
                    raise
                task.uncancel()
                raise _shutting_down() from None

    def leave(self) -> None:
        """Let nobody in any more."""
        self._is_leaving = True

    async def until_ended(self, grace: float) -> None:
        """Return when no call is in progress that does not only watch, or after the grace, in seconds."""
        try:
            async with asyncio.timeout(grace):
                while any(lane is not Lane.WATCH for lane in self._tasks.values()):
                    await self._next_end()
        except TimeoutError:
            return

    async def cut(self) -> None:
        """End every call that is still in progress; its caller is told that the server leaves."""
        self._is_leaving = self._is_cut = True
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(CUT_SECONDS):
                while self._tasks:
                    await self._next_end()
        except TimeoutError:
            return

    def _begin(self, lane: Lane) -> "asyncio.Task[object] | None":
        task = asyncio.current_task()
        if task is not None:
            self._tasks[task] = lane
        return task

    def _end(self, task: "asyncio.Task[object] | None") -> None:
        if task is not None:
            del self._tasks[task]
        self._ended.set()

    async def _next_end(self) -> None:
        self._ended.clear()
        await self._ended.wait()


def _shutting_down() -> ServiceError:
    return ServiceError(ErrorKind.SHUTTING_DOWN, "the server is stopping; ask again when it is back")
