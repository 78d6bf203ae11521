"""`logs/audit.jsonl`: who changed what, and who was refused; one line per call, never contents, never tokens.

A line is appended before the call is answered and flushed to the disk within a second: a power cut may lose one second
of it, the end of the process none.
"""

import asyncio
import json
import logging
import os
import re
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from penult_server.stores.disk.private import PRIVATE_FILE

FLUSH_SECONDS = 0.5
MOST_BYTES = 32 * 2**20
"""Most bytes of one file; then it is renamed to audit.jsonl.1, and that to audit.jsonl.2, and so on."""
KEPT = 8
"""Renamed files that stay."""
REFUSALS_PER_SECOND = 20
"""How many refusals of one user, or of all who are not known, get a line; the next line tells how many got none."""
MOST_TEXT = 200
SECRET = re.compile(r"pen_[A-Za-z0-9_-]{43}")
log = logging.getLogger("penult")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line."""

    request_id: str
    user: str
    token: str
    """The id of the token, "owner", "certificate", or nothing."""
    peer: str
    method: str
    what: str
    """The thing, by its digest, name or number."""
    code: str
    kind: str
    milliseconds: float
    left_out: int = 0
    """Refusals before this one that got no line."""

    def line(self) -> bytes:
        """As it stands in the file."""
        fields: dict[str, object] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        for name in ("request_id", "user", "token", "peer", "method", "what", "code", "kind"):
            said: str = getattr(self, name)
            fields[name] = SECRET.sub("pen_...", said)[:MOST_TEXT]
        fields["milliseconds"] = round(self.milliseconds, 1)
        if self.left_out:
            fields["left_out"] = self.left_out
        return json.dumps(fields).encode() + b"\n"


class Audit:
    """Appends to the file, in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._file = -1
        self._size = 0
        self._is_flushing = False
        self._warned = float("-inf")
        self.errors = 0
        """Lines that could not be written."""

    def append(self, entry: Entry) -> asyncio.Future[None]:
        """Write a line; done once it is in the file. A line that cannot be written stops no call."""
        loop = asyncio.get_running_loop()
        if not self._is_flushing:
            self._is_flushing = True
            loop.call_later(FLUSH_SECONDS, self._start_flush)
        return loop.run_in_executor(self._thread, self._write, entry.line())

    def close(self) -> None:
        """Flush and close the file, after the lines that wait."""
        self._thread.submit(self._flush).result()
        self._thread.shutdown()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _start_flush(self) -> None:
        self._is_flushing = False
        try:
            self._thread.submit(self._flush)
        except RuntimeError:  # closed meanwhile, and flushed then
            return

    def _write(self, line: bytes) -> None:
        try:
            if self._size + len(line) > MOST_BYTES:
                self._rotate()
            if self._file < 0:
                self._open()
            self._size += os.write(self._file, line)
        except OSError as error:
            self._failed(error)

    def _flush(self) -> None:
        try:
            if self._file >= 0:
                os.fsync(self._file)
        except OSError as error:
            self._failed(error)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            # A line that a full disk or a power cut has left: the next stands apart from it.
            self._size += os.write(self._file, b"\n")

    def _rotate(self) -> None:
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1
        for number in range(KEPT - 1, -1, -1):
            older = self._path if number == 0 else Path(f"{self._path}.{number}")
            if older.exists():
                older.replace(f"{self._path}.{number + 1}")
        self._size = 0

    def _failed(self, error: OSError) -> None:
        self.errors += 1
        if time.monotonic() - self._warned > 60:
            self._warned = time.monotonic()
            log.error("the audit cannot be written, %d lines are lost: %s", self.errors, error)


class RefusalLimit:
    """Which refusals get a line: a flood of them must not fill the disk, or push other lines out."""

    def __init__(self) -> None:
        self._second = 0
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._left_out: defaultdict[str, int] = defaultdict(int)

    def counted(self, user: str) -> int | None:
        """None where this refusal gets no line; else how many of this user got none since the last that did."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._counts.clear()
        self._counts[user] += 1
        if self._counts[user] > REFUSALS_PER_SECOND:
            self._left_out[user] += 1
            return None
        return self._left_out.pop(user, 0)
