"""Refits of many callers, solved together: those that arrive at about the same time, or while others are solved.

One thread takes what has arrived, at once, and does all of it together (`refit_together`).
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refit_material import RefitMaterial
from penult_server.compute.refit_together import Asked, answer_together

QUIET = 0.05
"""Seconds: who comes so soon after the last one still joins a batch that has begun."""
LONGEST = 0.1
"""Seconds after a batch's beginning in which others may join it, however closely they follow each other."""
MOST_TOGETHER = 256


@dataclass(slots=True, eq=False)
class Arrivals:
    """Requests on their way: any thread puts them, one takes them, batch by batch."""

    clock: Callable[[], float] = time.monotonic
    _queue: "queue.SimpleQueue[tuple[float, Asked]]" = field(default_factory=lambda: queue.SimpleQueue())
    _come: deque[tuple[float, Asked]] = field(default_factory=deque[tuple[float, Asked]])
    _begun: float = 0.0
    _last: float = 0.0
    _size: int = 0

    def put(self, asked: Asked) -> None:
        """Ask."""
        self._queue.put((self.clock(), asked))

    def wait(self) -> None:
        """Until there is a request."""
        if not self._come:
            self._come.append(self._queue.get())

    def begin(self) -> list[Asked]:
        """All that has come: a new batch."""
        self._begun = self._last = self.clock()
        self._size = 0
        return self._taken(until=self._begun)

    def joining(self) -> list[Asked]:
        """Those that have come since, soon enough to join the batch that was begun last."""
        joined: list[Asked] = []
        while more := self._taken(until=min(self._last + QUIET, self._begun + LONGEST), most=1):
            joined += more
        return joined

    def _taken(self, *, until: float, most: int = MOST_TOGETHER) -> list[Asked]:
        while not self._queue.empty():
            self._come.append(self._queue.get())
        taken: list[Asked] = []
        while self._come and self._come[0][0] <= until and len(taken) < most and self._size < MOST_TOGETHER:
            arrived, asked = self._come.popleft()
            self._last, self._size = max(self._last, arrived), self._size + 1
            taken.append(asked)
        return taken


class RefitQueue:
    """Answers refits on a thread of its own."""

    def __init__(self, material: RefitMaterial, device: AbstractContextManager[Any]) -> None:
        self._material = material
        self._device = device
        self._arrivals = Arrivals()
        threading.Thread(target=self._serve, name="refits", daemon=True).start()

    def ask(self, request: pb.RefitRequest, is_waiting: Callable[[], bool]) -> "Future[pb.Refit]":
        """The answer to come; its exception is what went wrong with this request alone."""
        asked = Asked(request, is_waiting)
        self._arrivals.put(asked)
        return asked.answer

    def _serve(self) -> None:
        while True:
            self._arrivals.wait()
            with self._device:
                answer_together(self._arrivals.begin(), self._material, self._arrivals.joining)
