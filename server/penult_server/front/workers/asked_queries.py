"""Queries in progress, and how far they are, for those who watch them.

Callers name a query as they like; the compute worker knows it by its digest. Callers of equal queries share one
computation and see the same progress. Nothing is kept of a query that has ended.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from penult_proto.services import CALLER_KEY, QUERY_KEY, REQUEST_KEY
from penult_proto.v1.jobs_pb2 import Progress
from penult_server.front.caller import CALLER
from penult_server.front.guard import Context
from penult_server.front.workers.pace import MUCH_LATER, Pace, too_late
from penult_server.logs.traces import carried

MOST_CHARACTERS = 64
"""Length of a caller's name for a query; a longer one is nobody's."""
WAITING = Progress(stage="waiting for its turn")
"""How far a query is of which the compute worker has not said anything yet."""


def named(key: str) -> tuple[tuple[str, str], ...]:
    """The metadata by which the compute worker knows a query, whose it is, and whose log lines it writes."""
    caller = CALLER.get()
    user = quote(caller.user, safe="")
    return ((QUERY_KEY, key), (CALLER_KEY, user), (REQUEST_KEY, caller.request_id), *carried())


@dataclass(eq=False)
class _Work:
    """What the compute worker does for some callers."""

    latest: Progress = field(default_factory=lambda: WAITING)
    pace: Pace = field(default_factory=Pace)
    callers: "list[AskedQuery]" = field(default_factory=lambda: list[AskedQuery]())


@dataclass(eq=False)
class AskedQuery:
    """A call that asks for one answer, or for several that are computed one after another or together."""

    n_answers: int = 1
    unit: str = ""
    """What its answers are, if they are several."""
    answered: int = 0
    works: list[_Work] = field(default_factory=list[_Work])
    """In progress, the oldest first."""
    watchers: set[asyncio.Event] = field(default_factory=set[asyncio.Event])
    latest: Progress = field(default_factory=lambda: WAITING)
    """How far the oldest work was when last seen."""
    has_ended: bool = False
    deadline: float | None = None
    """When its caller gives up, on the clock of `Pace`."""
    give_ups: "dict[str, asyncio.Future[Exception]]" = field(default_factory=lambda: dict[str, Any]())
    """By the names of its works: done once it is plain that the answer comes too late."""

    def weigh(self, key: str, seconds_left: float | None) -> None:
        """Give one answer up if it will be there long after the deadline."""
        give_up = self.give_ups.get(key)
        if give_up is None or give_up.done() or seconds_left is None or self.deadline is None:
            return
        allowed = self.deadline - time.monotonic()
        if seconds_left > MUCH_LATER * allowed:
            give_up.set_result(too_late(seconds_left, allowed))

    def progress(self) -> Progress:
        """How far it is: of one answer what the worker says, and also of several that it computes together.

        Of several that are computed one after another, those that are there count, and the stage is that of the next.
        """
        if self.works:
            self.latest = self.works[0].latest
        latest = self.latest
        if self.n_answers == 1:
            return latest
        if len(self.works) > 1:
            stage = f"{len(self.works)} {self.unit} together: {latest.stage}"
            return Progress(stage=stage, done=latest.done, total=latest.total, unit=latest.unit)
        detail = (
            f"{latest.stage}, {latest.done:.0f} of {latest.total:.0f} {latest.unit}" if latest.total else latest.stage
        )
        return Progress(stage=detail, done=self.answered, total=self.n_answers, unit=self.unit)

    def changed(self) -> None:
        """Wake those who watch it."""
        for watcher in self.watchers:
            watcher.set()


def deadline_of(context: Any) -> float | None:
    """When a call ends, on the steady clock; None without a deadline, of which the type of contexts knows nothing."""
    allowed = context.time_remaining()
    return None if allowed is None else time.monotonic() + allowed


class AskedQueries:
    """All calls in progress that ask for answers of the compute worker; used in one event loop."""

    def __init__(self) -> None:
        self._by_name: dict[str, AskedQuery] = {}
        self._works: dict[str, _Work] = {}

    @contextmanager
    def asked(self, context: Context, n_answers: int = 1, unit: str = "") -> Generator[AskedQuery]:
        """A call, which can be watched in this block if its metadata names it."""
        name = dict(context.invocation_metadata() or ()).get(QUERY_KEY, "")
        query = AskedQuery(n_answers, unit)
        query.deadline = deadline_of(context)
        if isinstance(name, str) and 0 < len(name) <= MOST_CHARACTERS:
            self._by_name[name] = query
        try:
            yield query
        finally:
            if isinstance(name, str) and self._by_name.get(name) is query:
                del self._by_name[name]
            query.has_ended = True
            query.changed()

    @contextmanager
    def answer(self, query: AskedQuery, key: str) -> Generator[str]:
        """One answer to a call, computed in this block by the worker, which knows it by `key`, see `named`."""
        work = self._works.setdefault(key, _Work())
        work.callers.append(query)
        query.works.append(work)
        query.give_ups[key] = asyncio.get_running_loop().create_future()
        query.changed()
        try:
            yield key
        finally:
            query.works.remove(work)
            query.give_ups.pop(key, None)
            work.callers.remove(query)
            if not work.callers:
                del self._works[key]
            query.changed()

    def note(self, keys: Sequence[str], progress: Progress) -> None:
        """Take down what the worker says of answers; those that nobody waits for any more are left out."""
        for key in keys:
            if (work := self._works.get(key)) is not None:
                work.latest = progress
                left = work.pace.seconds_left(progress)
                for caller in work.callers:
                    caller.weigh(key, left)
                    caller.changed()

    async def watch(self, name: str) -> AsyncIterator[Progress]:
        """How far the call of that name is, whenever that changes, until it ends; nothing for a name of no call."""
        query = self._by_name.get(name)
        if query is None:
            return
        event, last = asyncio.Event(), None
        query.watchers.add(event)
        try:
            while not query.has_ended:
                event.clear()
                now = query.progress()
                if now != last:
                    yield now
                    last = now
                else:
                    await event.wait()
        finally:
            query.watchers.discard(event)
