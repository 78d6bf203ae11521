"""Calls that belong together and can be given up together, from another thread: what `penult.aio` cancels by."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from penult.errors import from_kind
from penult_proto.errors import ErrorKind


class Cancellable(Protocol):
    """A call that has been started."""

    def cancel(self) -> object:
        """Give it up. May be called again."""
        ...


class Scope:
    """The calls that one method makes, one after the other or at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Cancellable] = []
        self._is_cancelled = threading.Event()

    def cancel(self) -> None:
        """Give up the calls that have been started; those that would follow raise `Cancelled`."""
        with self._lock:
            self._is_cancelled.set()
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    def check(self) -> None:
        """Raise `Cancelled` once it was cancelled."""
        if self._is_cancelled.is_set():
            raise from_kind(ErrorKind.CANCELLED, "it was given up by the task that waited for it", {})

    def sleep(self, seconds: float) -> None:
        """Wait, at most until it is cancelled, which raises `Cancelled`."""
        self._is_cancelled.wait(seconds)
        self.check()

    @contextmanager
    def holding(self, call: Cancellable) -> Generator[None]:
        """A block that waits for a call."""
        with self._lock:
            self._calls.append(call)
            is_late = self._is_cancelled.is_set()
        if is_late:
            call.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(call)


SCOPE: ContextVar[Scope | None] = ContextVar("penult: calls that are given up together", default=None)


def sleep(seconds: float) -> None:
    """Wait between two calls."""
    scope = SCOPE.get()
    if scope is None:
        time.sleep(seconds)
    else:
        scope.sleep(seconds)


@contextmanager
def held(call: Cancellable) -> Generator[None]:
    """A block that waits for a call, which the scope of this thread, if there is one, can give up."""
    scope = SCOPE.get()
    if scope is None:
        yield
    else:
        with scope.holding(call):
            yield
