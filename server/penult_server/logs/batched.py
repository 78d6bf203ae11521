"""Writing log lines from a thread, several at a time: whoever logs neither formats nor waits for who reads the log."""

import contextlib
import logging
import sys
import threading
from collections import deque
from typing import IO

PAUSE = 0.05
"""Seconds for which lines are collected. A line written by itself costs a call of a millisecond a tenth of its time."""
MOST_WAITING = 10_000
"""Lines that wait for a reader who has stopped reading; then the oldest go."""
LEAVING_SECONDS = 2.0
"""How long the end of a process waits for that reader."""


class BatchedLines(logging.Handler):
    """Hands lines to a thread, which writes them in order; the last are written when the process ends by itself."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        super().__init__()
        self._stream = sys.stderr if stream is None else stream
        self._waiting: deque[logging.LogRecord] = deque(maxlen=MOST_WAITING)
        self._news = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="log-lines", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        self._waiting.append(record)
        self._news.set()

    def close(self) -> None:
        """Write what waits, unless nobody reads it."""
        self._leaving.set()
        self._news.set()
        self._thread.join(LEAVING_SECONDS)
        super().close()

    def _write_on(self) -> None:
        is_last = False
        while not is_last:
            self._news.wait()
            is_last = self._leaving.wait(PAUSE)
            self._news.clear()
            # A log that cannot be written must not end the thread: the next lines may be.
            with contextlib.suppress(OSError, ValueError):
                self._write(len(self._waiting))

    def _write(self, n_lines: int) -> None:
        lines: list[str] = []
        for _ in range(n_lines):
            record = self._waiting.popleft()
            try:
                lines.append(f"{self.format(record)}\n")
            except Exception:  # a line with wrong arguments; the standard handlers report it, too
                self.handleError(record)
        self._stream.write("".join(lines))
        self._stream.flush()
