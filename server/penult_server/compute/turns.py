"""The device by turns: one thread computes at a time, and who computes for long lets others in between.

A computation goes on until it pauses, and it pauses where it looks whether it is still wanted. Between users there are
slices: each who waits has one in turn. Of one user's computations those that are short are done one after another, as
that serves each the earliest; one that turns out to be long gives way to others, and they alternate.
"""

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

SLICE = 0.1
"""Seconds after which a computation lets other users in."""
LONG = 1.0
"""Seconds of the device from which a computation counts as long."""
LONG_SLICE = 0.5
"""Seconds after which a long computation lets in others of its user."""
MOST_OPEN = 12
"""Computations in progress at most: each keeps what it has in memory while it waits."""
MOST_OPEN_OF_A_USER = 4


@dataclass(eq=False, slots=True)
class _Computation:
    user: str
    used: float = 0.0
    is_open: bool = False
    came: threading.Event = field(default_factory=threading.Event)

    @property
    def is_long(self) -> bool:
        return self.used >= LONG


@dataclass(eq=False, slots=True)
class _Waiting:
    """The computations of one user that wait."""

    short: deque[_Computation] = field(default_factory=deque[_Computation])
    long: deque[_Computation] = field(default_factory=deque[_Computation])
    had_long: bool = False
    """Whether the last one that was let in was long."""


class Turns:
    """Whose turn it is to compute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._current: _Computation | None = None
        self._thread = 0
        """The thread that computes."""
        self._since = 0.0
        self._seconds = 0.0
        self._n_steady = 0
        self._open: Counter[str] = Counter()
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()

    @contextmanager
    def held(self, user: str = "") -> Generator[None]:
        """A block that has the device; `pause` in it lets others in between."""
        computation = _Computation(user)
        with self._lock:
            self._queue(computation)
            if self._current is None:
                self._hand_on()
        self._enter(computation)
        try:
            yield
        finally:
            with self._lock:
                self._leave()
                self._open[user] -= 1
                if not self._open[user]:
                    del self._open[user]
                self._hand_on()

    def pause(self) -> None:
        """Let others in where it is time. Nothing happens in a thread that has no turn."""
        if self._thread != threading.get_ident() or self._n_steady or self._clock() - self._since < SLICE:
            return
        with self._lock:
            computation = self._current
            if computation is None or not self._must_leave(computation, self._clock() - self._since):
                return
            self._leave()
            computation.came.clear()
            self._queue(computation)
            self._hand_on()
        self._enter(computation)

    @contextmanager
    def steady(self) -> Generator[None]:
        """A block in which nobody is let in, for whoever holds a lock that others would wait for."""
        mine = self._thread == threading.get_ident()
        self._n_steady += mine
        try:
            yield
        finally:
            self._n_steady -= mine

    @property
    def is_taken(self) -> bool:
        """Whether a computation has the device."""
        return self._current is not None

    def used_seconds(self) -> float:
        """Seconds for which somebody had the device, up to now."""
        with self._lock:
            return self._seconds + (self._clock() - self._since if self._thread else 0.0)

    def _enter(self, computation: _Computation) -> None:
        """Wait for the turn, and take it."""
        computation.came.wait()
        with self._lock:
            self._since, self._thread = self._clock(), threading.get_ident()

    def _leave(self) -> None:
        """The thread that computes stops; what it has used is counted."""
        used = self._clock() - self._since
        self._thread = 0
        self._seconds += used
        if self._current is not None:
            self._current.used += used

    def _must_leave(self, computation: _Computation, stint: float) -> bool:
        user = computation.user
        if any(self._next_of(other) for other in self._waiting if other != user):
            return True
        is_long = computation.used + stint >= LONG
        return is_long and stint >= LONG_SLICE and user in self._waiting and self._next_of(user) is not None

    def _queue(self, computation: _Computation) -> None:
        waiting = self._waiting.setdefault(computation.user, _Waiting())
        if computation.is_long:
            waiting.long.append(computation)
        elif computation.is_open:
            waiting.short.appendleft(computation)  # it goes on before others of its user begin
        else:
            waiting.short.append(computation)

    def _next_of(self, user: str) -> _Computation | None:
        """Who of a user's is next: long ones and short ones alternate; only so many may be open."""
        waiting = self._waiting[user]
        may_begin = self._open.total() < MOST_OPEN and self._open[user] < MOST_OPEN_OF_A_USER
        short = next((one for one in waiting.short if one.is_open or may_begin), None)
        long = next(iter(waiting.long), None)
        if short is None or (long is not None and not waiting.had_long):
            return long
        return short

    def _hand_on(self) -> None:
        """Give the device to the next one, if there is one; who has just had it comes after all other users."""
        if self._current is not None and self._current.user in self._waiting:
            self._waiting.move_to_end(self._current.user)
        self._current = None
        for user, waiting in self._waiting.items():
            if (computation := self._next_of(user)) is None:
                continue
            waiting.had_long = computation.is_long
            (waiting.long if computation.is_long else waiting.short).remove(computation)
            if not waiting.short and not waiting.long:
                del self._waiting[user]
            if not computation.is_open:
                computation.is_open = True
                self._open[user] += 1
            self._current = computation
            computation.came.set()
            return
