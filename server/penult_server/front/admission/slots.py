"""Slots that are shared fairly: who waits is served in turns of users, so that many calls of one hold no other back."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.admission.limits import Limit


class FairSlots:
    """At most `limit.server` holders at once, `limit.user` of them one user's; used in one event loop."""

    def __init__(self, what: str, limit: Limit, patience: float | None = 0.0) -> None:
        """`what` names the holders for people; `patience` is for how many seconds one waits, None for any time."""
        self._what = what
        self._limit = limit
        self._patience = patience
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def n_held(self) -> int:
        """Slots in use."""
        return self._held.total()

    @property
    def n_waiting(self) -> int:
        """Calls that wait for one."""
        return sum(map(len, self._waiting.values()))

    def take(self, user: str) -> None:
        """Take a slot at once. Raises ServiceError (BUSY) where none is free."""
        if not self._has_room(user):
            raise self._busy(user)
        self._held[user] += 1

    async def acquire(self, user: str) -> None:
        """Take a slot, in turn. Raises ServiceError (BUSY) after the patience, or at once where too many wait."""
        if user not in self._waiting and self._has_room(user):
            self._held[user] += 1
            return
        if self._patience is not None:
            own = len(self._waiting.get(user, ()))
            if not self._patience or own >= self._limit.user or self.n_waiting >= self._limit.server:
                raise self._busy(user)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user, deque()).append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(user)  # it came at the moment when the waiting ended
            else:
                self._leave(user, turn)
            if isinstance(error, TimeoutError):
                raise self._busy(user) from None
            raise

    @asynccontextmanager
    async def slot(self, user: str) -> AsyncGenerator[None]:
        """A block that holds a slot. Raises ServiceError as `acquire` does."""
        await self.acquire(user)
        try:
            yield
        finally:
            self.release(user)

    def release(self, user: str) -> None:
        """Give a slot back; the next user in turn who may have it gets it."""
        self._held[user] -= 1
        if not self._held[user]:
            del self._held[user]
        for waiting in list(self._waiting):
            if self._has_room(waiting) and (turn := self._next_of(waiting)) is not None:
                self._held[waiting] += 1
                if waiting in self._waiting:
                    self._waiting.move_to_end(waiting)
                turn.set_result(None)
                return

    def _next_of(self, user: str) -> "asyncio.Future[None] | None":
        """The first of a user who still waits; who has given up may not have been told yet."""
        turns = self._waiting[user]
        found = None
        while turns and found is None:
            turn = turns.popleft()
            found = None if turn.done() else turn
        if not turns:
            del self._waiting[user]
        return found

    def _leave(self, user: str, turn: "asyncio.Future[None]") -> None:
        turns = self._waiting.get(user)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[user]

    def _has_room(self, user: str) -> bool:
        return self.n_held < self._limit.server and self._held[user] < self._limit.user

    def _busy(self, user: str) -> ServiceError:
        is_own = self._held[user] >= self._limit.user
        used = self._held[user] if is_own else self.n_held
        limit = self._limit.user if is_own else self._limit.server
        whose = f"of {user or 'one user'}" if is_own else "of all users"
        return ServiceError(
            ErrorKind.BUSY,
            f"{used} {self._what} {whose} are in progress, and the server takes {limit} at a time; ask again soon",
            limit=limit,
            used=used,
            what=self._what,
        )
