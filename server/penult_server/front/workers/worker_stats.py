"""How the compute worker stands, asked at most once a second however many look."""

import asyncio
import time
from collections.abc import Callable

from penult_proto.v1.pipes_pb2 import ComputeStats

FRESH_SECONDS = 1.0
"""An answer is good for so long."""
PATIENCE = 1.0
"""Seconds in which the worker must answer."""


class StatsOfWorker:
    """The latest that the worker has said of itself; used in one event loop."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        """`ask` sends the question; it is false when there is no worker."""
        self._ask = ask
        self._latest: ComputeStats | None = None
        self._time = float("-inf")
        self._news = asyncio.Event()
        self._asking = asyncio.Lock()

    def come(self, stats: ComputeStats) -> None:
        """The worker has answered."""
        self._latest, self._time = stats, time.monotonic()
        self._news.set()

    async def latest(self) -> ComputeStats | None:
        """What the worker says now, or said within the last second; None when it does not answer."""
        async with self._asking:
            if time.monotonic() - self._time < FRESH_SECONDS:
                return self._latest
            self._news.clear()
            if not self._ask():
                return None
            try:
                await asyncio.wait_for(self._news.wait(), PATIENCE)
            except TimeoutError:
                return None
            return self._latest
