"""A server in a process of its own, for the tests that stop, kill or configure it."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import penult

SERVE = [sys.executable, "-m", "penult_server", "serve", "--port", "0"]


class RunningServer:
    """`penult serve` in a process of its own."""

    def __init__(self, root: Path, *options: str, **connect) -> None:
        self.root = root
        self._connect = connect
        root.mkdir(parents=True, exist_ok=True)
        with (root / "server.log").open("ab") as log:
            self.process = subprocess.Popen([*SERVE, "--root", str(root), *options], stdout=log, stderr=log)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    @property
    def record(self) -> dict:
        return json.loads((self.root / "server.json").read_text())

    def connect(self, **options) -> penult.Client:
        return penult.connect(self.record["address"], **options)

    def kill(self) -> None:
        """kill -9, and wait until the process is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=100)

    def log(self) -> str:
        return (self.root / "server.log").read_text()

    def _has_ended_within(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is not None

    def _wait_until_it_answers(self) -> None:
        while not self._has_ended_within(0.02):
            with suppress(FileNotFoundError, json.JSONDecodeError):
                if self.record["pid"] == self.process.pid:
                    self.connect(**self._connect).close()
                    return
        raise AssertionError(f"the server did not start: {self.log()}")
