"""Whether a worker lives: it answers the front about every second, and while it has the device it computes.

A worker that was stopped, or whose interpreter hangs, does not answer. A long call may also keep it from answering, if
a library holds the interpreter's lock meanwhile, but then the process computes, which the system counts. A worker that
answers, but whose device is held by a call that does nothing, hangs in that call.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from penult_proto.v1.pipes_pb2 import ToWorker
from penult_server import pipes
from penult_server.machine.processes import cpu_seconds

INTERVAL = 0.5
"""Seconds between two questions."""
SILENT_SECONDS = 5.0
"""How long a worker that does not compute may be silent."""
STUCK_SECONDS = 60.0
"""How long a call may have the device without computing."""
LEAST_SHARE = 0.01
"""Part of one core that is called computing; to answer takes less."""
QUESTION = pipes.framed(ToWorker(pulse=True))


@dataclass(slots=True)
class Vitals:
    """The last signs of life of one worker; times are of one steady clock."""

    now: float
    answered: float = field(init=False)
    idle: float = field(init=False)
    """When it last said that no call has the device."""
    _computed: "deque[tuple[float, float]]" = field(default_factory=lambda: deque[tuple[float, float]]())
    """What it had computed, and when that was."""

    def __post_init__(self) -> None:
        self.answered = self.idle = self.now

    def note(self, now: float, *, is_busy: bool) -> None:
        """It has answered."""
        self.answered = now
        if not is_busy:
            self.idle = now

    def judge(self, now: float, computed: float) -> str:
        """Why the worker counts as dead, now that it has `computed` so many seconds; empty while it lives."""
        if now - self.now > SILENT_SECONDS / 2:
            # The front itself was stopped: what the worker said meanwhile is still in the pipe.
            self.answered = self.idle = now
            self._computed.clear()
        self.now = now
        self._computed.append((now, computed))
        while self._computed[0][0] < now - STUCK_SECONDS - 1:
            self._computed.popleft()
        if now - self.answered > SILENT_SECONDS and self._is_still(now, SILENT_SECONDS):
            return f"it has not answered for {SILENT_SECONDS:.0f} s, and does not compute"
        if now - self.idle > STUCK_SECONDS and self._is_still(now, STUCK_SECONDS):
            return f"a call has had the device for {STUCK_SECONDS:.0f} s without computing"
        return ""

    def _is_still(self, now: float, seconds: float) -> bool:
        """Whether it has computed nothing for that long; not known of a shorter time."""
        before = [computed for at, computed in self._computed if at <= now - seconds]
        return bool(before) and self._computed[-1][1] - before[-1] < LEAST_SHARE * seconds


async def until_dead(process: asyncio.subprocess.Process, vitals: Vitals) -> str:
    """Ask a worker how it is until it counts as dead; returns why. Never returns where the system does not say."""
    while True:
        if process.stdin and not process.stdin.is_closing():
            process.stdin.write(QUESTION)
        await asyncio.sleep(INTERVAL)
        computed = cpu_seconds(process.pid)
        if computed is not None and (why := vitals.judge(time.monotonic(), computed)):
            return why
