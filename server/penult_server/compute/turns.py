"""The device by turns: one thread computes at a time, and who computes for long lets others in between.

A computation goes on until it pauses, and it pauses where it looks whether it is still wanted. After a slice it then
waits until every other user who waits has had a slice, too. So a small query of one user costs a slice or two, beside
whatever another computes for minutes.
"""

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

SLICE = 0.1
"""Seconds after which a computation lets others in."""
MOST_OPEN = 12
"""Computations in progress at most: each keeps what it has in memory while it waits."""
MOST_OPEN_OF_A_USER = 4


class Turns:
    """Whose turn it is to compute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._holder: int | None = None
        """The thread that computes."""
        self._user = ""
        self._since = 0.0
        """When its slice began."""
        self._begun: float | None = None
        self._seconds = 0.0
        self._n_steady = 0
        self._open: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[tuple[threading.Event, bool]]] = OrderedDict()
        """By user: events of those who wait, and whether they have still to begin."""

    @contextmanager
    def turn(self, user: str = "") -> Generator[None]:
        """A block that has the device; `pause` in it lets others in between."""
        self._wait(user, is_new=True)
        try:
            yield
        finally:
            with self._lock:
                self._open[user] -= 1
                if not self._open[user]:
                    del self._open[user]
                self._hand_on()

    def pause(self) -> None:
        """Let others in if this thread has computed for a slice. Nothing happens in a thread that has no turn."""
        if self._holder != threading.get_ident() or self._n_steady or self._clock() - self._since < SLICE:
            return
        with self._lock:
            if not self._next():
                self._since = self._clock()
                return
            user = self._user
            came = self._queued(user, is_new=False)
            self._hand_on()
        came.wait()
        self._take(user)

    @contextmanager
    def steady(self) -> Generator[None]:
        """A block in which nobody is let in, for whoever holds a lock that others would wait for."""
        mine = self._holder == threading.get_ident()
        self._n_steady += mine
        try:
            yield
        finally:
            self._n_steady -= mine

    @property
    def is_taken(self) -> bool:
        """Whether a computation has the device."""
        return self._holder is not None

    def used_seconds(self) -> float:
        """Seconds for which somebody had the device, up to now."""
        begun = self._begun
        return self._seconds + (0.0 if begun is None else self._clock() - begun)

    def _wait(self, user: str, *, is_new: bool) -> None:
        with self._lock:
            if self._holder is None and not self._waiting and self._may_begin(user):
                self._open[user] += 1
                self._holder = -1
                came = None
            else:
                came = self._queued(user, is_new=is_new)
                if self._holder is None:
                    self._hand_on()
        if came is not None:
            came.wait()
        self._take(user)

    def _take(self, user: str) -> None:
        self._begun = self._clock()
        self._user, self._since, self._holder = user, self._begun, threading.get_ident()

    def _queued(self, user: str, *, is_new: bool) -> threading.Event:
        came = threading.Event()
        self._waiting.setdefault(user, deque()).append((came, is_new))
        return came

    def _may_begin(self, user: str) -> bool:
        return self._open.total() < MOST_OPEN and self._open[user] < MOST_OPEN_OF_A_USER

    def _next(self) -> tuple[str, tuple[threading.Event, bool]] | None:
        """Who is next: users in turn, and of each the first who may go on or begin."""
        for user, waiting in self._waiting.items():
            for one in waiting:
                if not one[1] or self._may_begin(user):
                    return user, one
        return None

    def _hand_on(self) -> None:
        """Give the device to the next one, if there is one."""
        self._seconds, self._begun = self.used_seconds(), None
        found = self._next()
        if found is None:
            self._holder = None
            return
        user, one = found
        self._waiting[user].remove(one)
        if self._waiting[user]:
            self._waiting.move_to_end(user)
        else:
            del self._waiting[user]
        self._open[user] += one[1]
        self._holder = -1
        one[0].set()
