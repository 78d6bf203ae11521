"""Slots that are shared fairly: who waits is served in turns of users, so that many calls of one hold no other back."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.admission.limits import Limit


class Wish(Protocol):
    """What else is asked before a call gets a slot; it is told when the call gets it and gives it back."""

    @property
    def patience(self) -> float:
        """Seconds for which it waits, instead of the patience of the slots."""
        ...

    def fits(self) -> bool:
        """Whether it may have a slot now."""
        ...

    def begin(self) -> None:
        """It has one."""
        ...

    def end(self) -> None:
        """It has given it back."""
        ...

    def refusal(self) -> ServiceError:
        """What is said where it does not fit."""
        ...


class FairSlots:
    """At most `limit.server` holders at once, `limit.user` of them one user's; used in one event loop."""

    def __init__(self, what: str, limit: Limit, patience: float | None = 0.0) -> None:
        """`what` names the holders for people; `patience` is for how many seconds one waits, None for any time."""
        self._what = what
        self._limit = limit
        self._patience = patience
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()

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

    async def acquire(self, user: str, wish: Wish | None = None) -> None:
        """Take a slot, in turn. Raises ServiceError (BUSY) after the patience, or at once where too many wait."""
        if user not in self._waiting and self._may_have(user, wish):
            self._hold(user, wish)
            return
        patience = self._patience
        if patience is not None:
            own = len(self._waiting.get(user, ()))
            if not patience or own >= self._limit.user or self.n_waiting >= self._limit.server:
                raise self._busy(user, wish)
            patience = wish.patience if wish else patience
        waiter = _Waiter(asyncio.get_running_loop().create_future(), wish)
        self._waiting.setdefault(user, deque()).append(waiter)
        try:
            async with asyncio.timeout(patience):
                await waiter.turn
        except BaseException as error:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.release(user, wish)  # it came at the moment when the waiting ended
            else:
                self._leave(user, waiter)
            if isinstance(error, TimeoutError):
                raise self._busy(user, wish) from None
            raise

    @asynccontextmanager
    async def slot(self, user: str) -> AsyncGenerator[None]:
        """A block that holds a slot. Raises ServiceError as `acquire` does."""
        await self.acquire(user)
        try:
            yield
        finally:
            self.release(user)

    def release(self, user: str, wish: Wish | None = None) -> None:
        """Give a slot back; who waits and may have one gets it, users in turn, and this one after the others."""
        if wish:
            wish.end()
        self._held[user] -= 1
        if not self._held[user]:
            del self._held[user]
        if user in self._waiting:
            self._waiting.move_to_end(user)
        self.serve()

    def serve(self) -> None:
        """Give slots to those who wait and may have one by now."""
        while any(self._serve(waiting) for waiting in list(self._waiting)):
            pass

    def _serve(self, user: str) -> bool:
        """Give the first of a user who still waits a slot, where that may be; who has given up may not know it yet."""
        waiters = self._waiting[user]
        while waiters and waiters[0].turn.done():
            waiters.popleft()
        if not waiters:
            del self._waiting[user]
            return False
        if not self._may_have(user, waiters[0].wish):
            return False
        waiter = waiters.popleft()
        self._hold(user, waiter.wish)
        if waiters:
            self._waiting.move_to_end(user)
        else:
            del self._waiting[user]
        waiter.turn.set_result(None)
        return True

    def _leave(self, user: str, waiter: "_Waiter") -> None:
        waiters = self._waiting.get(user)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[user]

    def _hold(self, user: str, wish: Wish | None) -> None:
        self._held[user] += 1
        if wish:
            wish.begin()

    def _may_have(self, user: str, wish: Wish | None) -> bool:
        return self._has_room(user) and (wish is None or wish.fits())

    def _has_room(self, user: str) -> bool:
        return self.n_held < self._limit.server and self._held[user] < self._limit.user

    def _busy(self, user: str, wish: Wish | None = None) -> ServiceError:
        if wish and self._has_room(user):
            return wish.refusal()
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


@dataclass(eq=False, slots=True)
class _Waiter:
    turn: "asyncio.Future[None]"
    wish: Wish | None
