"""The visitors of the page: who has logged in, with which client of the server."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from penult.client import Client
from penult.errors import Busy, PenultError
from penult.results.metrics import EpochMetrics
from penult_proto.errors import ErrorKind
from penult_proto.roles import Role

T = TypeVar("T")
IDLE_SECONDS = 15 * 60.0
"""After this time without a request a session is closed. A page that is open and live asks on."""
MOST_SESSIONS = 64
MOST_ANSWERS = 64
"""Stored answers that a session keeps; they cannot change."""
MOST_HISTORIES = 32
"""Jobs whose metrics a session keeps."""
MOST_REFUSED, MOST_REFUSED_OF_ALL, REFUSED_SECONDS = 10, 100, 60.0
"""Logins that may fail within so many seconds, from one machine and from all; then none is tried until they have
passed."""
History = list[EpochMetrics]


@dataclass(slots=True)
class Session:
    """One visitor."""

    client: Client
    form_token: str
    role: str
    last_used: float
    n_streams: int = 0
    """Open streams of events."""
    answers: OrderedDict[str, Any] = field(default_factory=OrderedDict[str, Any])
    histories: OrderedDict[str, tuple[int, History]] = field(default_factory=OrderedDict[str, tuple[int, History]])
    """What is known of jobs that were looked at: the number of the newest event, and the metrics so far."""
    recent: dict[str, tuple[float, Any]] = field(default_factory=dict[str, tuple[float, Any]])
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def may_run(self) -> bool:
        """Whether the visitor may compute, cancel and delete. The server itself decides, each time."""
        return self.role in (Role.RUNNER, Role.ADMIN)

    def kept(self, key: str, ask: Callable[[], T]) -> T:
        """An answer that never changes, asked for once."""
        with self.lock:
            if key in self.answers:
                self.answers.move_to_end(key)
                return self.answers[key]
        found = ask()
        with self.lock:
            self.answers[key] = found
            while len(self.answers) > MOST_ANSWERS:
                self.answers.popitem(last=False)
        return found

    def lately(self, key: str, ask: Callable[[], T], seconds: float = 1.0) -> T:
        """An answer of the last second, so that tables that ask again and again cost the server little."""
        with self.lock:
            at, found = self.recent.get(key, (-1e9, None))
            if time.monotonic() - at < seconds:
                return found
        found = ask()
        with self.lock:
            self.recent = {name: one for name, one in self.recent.items() if time.monotonic() - one[0] < 10 * seconds}
            self.recent[key] = (time.monotonic(), found)
        return found

    def history(self, job: str) -> tuple[int, History]:
        """The number of the newest event of a job that was seen, and its metrics up to there."""
        with self.lock:
            return self.histories.get(job, (0, []))

    def keep_history(self, job: str, seen: int, history: History) -> None:
        """Keep what was seen of a job, unless more is known by now."""
        with self.lock:
            if seen >= self.histories.get(job, (0, []))[0]:
                self.histories[job] = (seen, history)
                self.histories.move_to_end(job)
            while len(self.histories) > MOST_HISTORIES:
                self.histories.popitem(last=False)


class Sessions:
    """All visitors, by the random ids that their cookies hold. Tokens stay in this process's memory."""

    def __init__(self, connect: Callable[[str], Client]) -> None:
        """`connect` makes a client of a token, or raises `PenultError`."""
        self._connect = connect
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._refused: deque[tuple[float, str]] = deque(maxlen=MOST_REFUSED_OF_ALL)

    def open(self, token: str, machine: str) -> str:
        """Log in from a machine; returns the id of the session. Blocks. Raises what `penult.connect` raises."""
        self._check_attempts(machine)
        try:
            client = self._connect(token)
            role = client.info().role
        except PenultError as error:
            if error.kind == ErrorKind.UNAUTHENTICATED:
                self._refused.append((time.monotonic(), machine))
            raise
        id = secrets.token_urlsafe(32)
        session = Session(client=client, form_token=secrets.token_hex(16), role=role, last_used=time.monotonic())
        with self._lock:
            most = [*self._sessions] if len(self._sessions) >= MOST_SESSIONS else []
            oldest = min(most, key=lambda one: self._sessions[one].last_used, default=None)
            closed = None if oldest is None else self._sessions.pop(oldest)
            self._sessions[id] = session
        if closed is not None:
            closed.client.close()
        return id

    def get(self, id: str) -> Session | None:
        """The session of a cookie; None where there is none any more."""
        now = time.monotonic()
        with self._lock:
            found = self._sessions.get(id)
            if found is None or now - found.last_used > IDLE_SECONDS:
                return None
            found.last_used = now
            return found

    def close(self, id: str) -> None:
        """Log out. Blocks."""
        with self._lock:
            found = self._sessions.pop(id, None)
        if found is not None:
            found.client.close()

    def close_idle(self) -> None:
        """Close the sessions of visitors who have left, and forget their tokens. Blocks."""
        now = time.monotonic()
        with self._lock:
            left = [
                id for id, one in self._sessions.items() if not one.n_streams and now - one.last_used > IDLE_SECONDS
            ]
        for id in left:
            self.close(id)

    def close_all(self) -> None:
        """Close every session. Blocks."""
        for id in list(self._sessions):
            self.close(id)

    def _check_attempts(self, machine: str) -> None:
        since = time.monotonic() - REFUSED_SECONDS
        refused = [one for at, one in list(self._refused) if at > since]
        if len(refused) >= MOST_REFUSED_OF_ALL or refused.count(machine) >= MOST_REFUSED:
            raise Busy("too many logins have failed: try again in a minute", kind=ErrorKind.BUSY, retry_after=60.0)
