"""What queries tell the front of how far they are: now and then, and never so that it changes an answer."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, TypeAlias

import grpc

from penult_proto.services import CALLER_KEY, IDLE_KEY, QUERY_KEY
from penult_proto.v1.jobs_pb2 import Progress
from penult_proto.v1.pipes_pb2 import FromWorker, QueryProgress
from penult_server import pipes

INTERVAL = 0.2
"""Seconds between two reports of a query, at least."""
Report: TypeAlias = Callable[[float, float], None]
"""Told how much of a stage is done, and of how much."""


class Reporter:
    """Reports of one query, or of several that are answered together; may be used by several threads.

    `send` gets them; without it nothing is reported.
    """

    def __init__(self, send: Callable[[Progress], None] | None = None, clock: Callable[[], float] = time.monotonic):
        self._send = send
        self._clock = clock
        self._lock = threading.Lock()
        self._due = clock() + INTERVAL
        self._begun: Counter[str] = Counter()

    def stage(self, name: str, unit: str) -> Report:
        """Begin a stage. What its report is told never falls: a smaller number than before is that one again.

        A stage that begins once more is another one, and numbered.
        The end of a stage is reported at once if its beginning was, so that no bar stops short of it.
        """
        if self._send is None:
            return _unreported
        self._begun[name] += 1
        again = self._begun[name]
        now = Progress(stage=f"{name} ({again})" if again > 1 else name, unit=unit)
        is_seen = False

        def report(done: float, total: float) -> None:
            nonlocal is_seen
            with self._lock:
                is_end = done >= total > 0 and is_seen and now.done < total
                now.done, now.total = max(now.done, done), total
                if is_end or self._clock() >= self._due:
                    is_seen = True
                    self._due = self._clock() + INTERVAL
                    self._say(now)

        return report

    def each(self, name: str, unit: str, total: float) -> Callable[[float], None]:
        """Begin a stage whose pieces are counted as they are done, by any thread."""
        report, counted, lock = self.stage(name, unit), [0.0], threading.Lock()

        def add(amount: float) -> None:
            with lock:
                counted[0] += amount
                report(counted[0], total)

        return add

    def _say(self, progress: Progress) -> None:
        if self._send is not None:
            # The front has gone: then this process ends.
            with suppress(OSError):
                self._send(progress)


def _unreported(done: float, total: float) -> None:
    return


SILENT = Reporter()
"""Reports nothing."""


class ReportPipe:
    """Where the reports of all queries go: the pipe to the front, written by one thread at a time."""

    def __init__(self, pipe: IO[bytes] | None = None) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def of(self, queries: Sequence[str]) -> Reporter:
        """Reports of queries by the names that the front knows them by; an empty name is nobody's."""
        names = [name for name in queries if name]
        if self._pipe is None or not names:
            return SILENT

        return Reporter(lambda progress: self.say(FromWorker(queries=QueryProgress(queries=names, progress=progress))))

    def say(self, message: FromWorker) -> None:
        """Send any message to the front; one that has gone is told nothing more."""
        if self._pipe is not None:
            with self._lock, suppress(OSError):
                pipes.send(self._pipe, message)


NO_REPORTS = ReportPipe()
"""Where nobody listens."""


def query_of(context: grpc.ServicerContext) -> str:
    """The name that the front gave a query; empty without one."""
    return _said(context, QUERY_KEY)


def user_of(context: grpc.ServicerContext) -> str:
    """The user for whom the front asks, in some form; empty if it does not say."""
    return _said(context, CALLER_KEY)


def idle_seconds_of(context: grpc.ServicerContext) -> float:
    """How long a stream may stand still; 0 is for ever."""
    return float(_said(context, IDLE_KEY) or 0)


def _said(context: grpc.ServicerContext, key: str) -> str:
    said = dict(context.invocation_metadata() or ()).get(key, "")
    return said if isinstance(said, str) else said.decode()
