"""Products of portions of rows that other threads work on while the next rows come, added in the order of portions.

Nothing here depends on the number of threads but the time: every product is of one whole portion, and a group's
products are added one after the other.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from penult_kernels.products import start

Multiply = Callable[[], Callable[[], None]]
"""Computes a product; what it returns adds it to the sums."""


@dataclass(slots=True, eq=False)
class _Portion:
    """One product, which is added after that of the portion before it in its group."""

    multiply: Multiply
    before: "_Portion | None"
    added: threading.Event = field(default_factory=threading.Event)
    started: Future[None] | None = None

    def work(self) -> None:
        try:
            add = self.multiply()
            if self.before is not None:
                # It was given earlier, so that it has been started: this never waits for what nobody works on.
                self.before.added.wait()
            add()
        finally:
            self.before = None
            self.added.set()


class Portions:
    """Work on portions, in the order in which they are given; at most `at_once` wait or are worked on."""

    def __init__(self, at_once: int) -> None:
        """`at_once`: 1 is no thread but the caller's."""
        self._at_once = at_once
        self._given: deque[_Portion] = deque()
        self._last: dict[int, _Portion] = {}

    def give(self, group: int, multiply: Multiply) -> None:
        """Work on a portion of a group, at once or later. Raises what an earlier one raised."""
        if self._at_once == 1:
            multiply()()
            return
        while self._given and (first := self._given[0].started) is not None and first.done():
            self._given.popleft()
            first.result()
        portion = _Portion(multiply, self._last.get(group))
        self._last[group] = portion
        self._given.append(portion)
        portion.started = start(portion.work)
        if len(self._given) >= self._at_once:
            self._take_back()

    def finish(self) -> None:
        """Return when every portion is added. Raises what one of them raised."""
        while self._given:
            portion = self._given.popleft()
            if portion.started is None or portion.started.cancel():
                portion.work()
            else:
                portion.started.result()
        self._last.clear()

    def _take_back(self) -> None:
        """Work on the first portion that no thread has started on, or wait for the first."""
        for portion in self._given:
            if portion.started is None or portion.started.cancel():
                self._given.remove(portion)
                portion.work()
                return
        first = self._given.popleft().started
        if first is not None:
            first.result()
