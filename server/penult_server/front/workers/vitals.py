"""Whether a worker lives: it answers the front about every second, and while it has the device it computes.

A worker that was stopped, or whose interpreter hangs, does not answer. A long call may also keep it from answering, if
a library holds the interpreter's lock meanwhile, but then the process computes, which the system counts; so may a
machine that is too busy, but then it waits for a core. A worker that answers, but whose device is held by a call that
does nothing, hangs in that call.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field

from penult_proto.v1.pipes_pb2 import ToWorker
from penult_server import pipes
from penult_server.front.workers.processes import Worker
from penult_server.machine.processes import Activity, activity, is_held_up

INTERVAL = 0.5
"""Seconds between two questions."""
SILENT_SECONDS = 5.0
"""How long a worker that does not compute may be silent."""
DRIVER_SILENT_SECONDS = 45.0
"""How long a cluster's driver may be: while Ray waits for its node it holds the interpreter's lock."""
STUCK_SECONDS = 60.0
"""How long a call may have the device without computing."""
LEAST_SHARE = 0.01
"""Part of one core that is called computing; to answer takes less."""
log = logging.getLogger("penult")
QUESTION = pipes.framed(ToWorker(pulse=True))


@dataclass(slots=True)
class Vitals:
    """The last signs of life of one worker; times are of one steady clock."""

    now: float
    silent_seconds: float = field(default_factory=lambda: SILENT_SECONDS)
    """How long it may be silent without computing."""
    answered: float = field(init=False)
    busy_since: float | None = None
    """Since when a call has had the device, as far as is known; None while none has."""
    is_heard: bool = True
    """Whether somebody listens to it; otherwise its silence says nothing."""
    _computed: "deque[tuple[float, float]]" = field(default_factory=lambda: deque[tuple[float, float]]())
    """What it had computed, and when that was."""

    def __post_init__(self) -> None:
        self.answered = self.now

    def note(self, now: float, *, is_busy: bool) -> None:
        """It has answered."""
        self.answered = now
        if not is_busy:
            self.busy_since = None
        elif self.busy_since is None:
            self.busy_since = now

    @contextlib.contextmanager
    def set_aside(self) -> Generator[None]:
        """A block in which nobody listens."""
        self.is_heard = False
        try:
            yield
        finally:
            self.is_heard, self.answered = True, time.monotonic()

    def judge(self, now: float, seen: Activity) -> str:
        """Why the worker counts as dead, now that the system has seen this of it; empty while it lives."""
        if now - self.now > SILENT_SECONDS / 2:
            # The front itself was stopped: what the worker said meanwhile is still in the pipe.
            self.answered, self.busy_since = now, None
            self._computed.clear()
        self.now = now
        if seen.is_held_up or not self.is_heard:
            self.answered = now
        self._computed.append((now, seen.cpu_seconds))
        while self._computed[0][0] < now - STUCK_SECONDS - 1:
            self._computed.popleft()
        if now - self.answered > self.silent_seconds and self._is_still(now, self.silent_seconds):
            return f"it has not answered for {self.silent_seconds:.0f} s, and does not compute"
        is_long = self.busy_since is not None and now - self.busy_since > STUCK_SECONDS
        if is_long and self._is_still(now, STUCK_SECONDS):
            return f"a call has had the device for {STUCK_SECONDS:.0f} s without computing"
        return ""

    def spare(self, now: float) -> None:
        """What looked like death was not."""
        self.answered = now
        self.busy_since = None if self.busy_since is None else now

    def _is_still(self, now: float, seconds: float) -> bool:
        """Whether it has computed nothing for that long; not known of a shorter time."""
        before = [computed for at, computed in self._computed if at <= now - seconds]
        return bool(before) and self._computed[-1][1] - before[-1] < LEAST_SHARE * seconds


async def until_dead(process: Worker, vitals: Vitals) -> str:
    """Ask a worker how it is until it counts as dead; returns why. Never returns where the system does not say."""
    while True:
        if process.stdin and not process.stdin.is_closing():
            process.stdin.write(QUESTION)
        await asyncio.sleep(INTERVAL)
        seen = activity(process.pid)
        if seen is None or not (why := vitals.judge(time.monotonic(), seen)):
            continue
        if not is_held_up(process.pid):
            return why
        vitals.spare(time.monotonic())


async def end_when_dead(process: Worker, vitals: Vitals, who: str) -> None:
    """End a worker that hangs, so that who waits for it learns so."""
    why = await until_dead(process, vitals)
    log.error("%s hangs: %s; it is ended", who, why)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
