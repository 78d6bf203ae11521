"""The side of the job's worker of a process that does tasks."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping

from penult_server.jobs.fleets.answers import outcome_of
from penult_server.jobs.fleets.fleet import Json, Outcome

CANCEL = b'{"cancel": true}\n'


class TaskProcess:
    """One process on this machine. `do` is for one thread at a time; `cancel` and `kill` may be called by any."""

    def __init__(self, slot: int, table: str, threads: int, variables: Mapping[str, str]) -> None:
        """`slot`: its number among those that are at work, by which it has a device."""
        self.slot = slot
        self._sending, self._reading = threading.Lock(), threading.Lock()
        self._process = subprocess.Popen(
            (sys.executable, "-m", "penult_server.jobs.fleets.task", table, str(threads)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | variables,
        )

    def do(self, name: str, order: Json) -> Outcome:
        """Do one task, and wait for its end."""
        self._send(json.dumps({"entry": name, "order": order}).encode() + b"\n")
        with self._reading:
            pipe = self._process.stdout
            said = b"" if pipe is None or pipe.closed else pipe.readline()
        if said.endswith(b"\n"):
            return outcome_of(json.loads(said))
        return Outcome(died=f"exit status {self._process.wait()}")

    def cancel(self) -> None:
        """Tell its task to end; tasks that come later end at once."""
        self._send(CANCEL)

    def kill(self) -> None:
        """End it now; whoever waits for its task is told that it died."""
        self._process.kill()
        self._process.wait()
        with self._sending, self._reading:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):  # what it did not read any more
                        pipe.close()

    def _send(self, line: bytes) -> None:
        # One that has died is noticed by who reads from it.
        with self._sending, contextlib.suppress(OSError, ValueError):
            if self._process.stdin:
                self._process.stdin.write(line)
                self._process.stdin.flush()
