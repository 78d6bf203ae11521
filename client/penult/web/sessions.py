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
from penult.errors import Busy, NotAllowed, PenultError
from penult.results.metrics import EpochMetrics
from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2

T = TypeVar("T")
IDLE_SECONDS = 15 * 60.0
"""After this time without a request a session is closed."""
MOST_SESSIONS = 64
MOST_ANSWERS = 64
"""Stored answers that a session keeps; they cannot change."""
MOST_REFUSED, REFUSED_SECONDS = 10, 60.0
"""Logins of all visitors that may fail within so many seconds; then none is tried until they have passed."""
NO_JOB = "0" * 32
"""The id of no job, for asking whether a job might be cancelled."""


@dataclass(slots=True)
class Session:
    """One visitor."""

    client: Client
    form_token: str
    may_run: bool
    """Whether the visitor's role may compute and cancel."""
    last_used: float
    answers: OrderedDict[str, Any] = field(default_factory=OrderedDict[str, Any])
    histories: dict[str, tuple[int, list[EpochMetrics]]] = field(
        default_factory=dict[str, tuple[int, list[EpochMetrics]]]
    )
    """What is known of jobs that were looked at: the number of the newest event, and the metrics so far."""
    recent: dict[str, tuple[float, Any]] = field(default_factory=dict[str, tuple[float, Any]])
    lock: threading.Lock = field(default_factory=threading.Lock)

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


class Sessions:
    """All visitors, by the random ids that their cookies hold. Tokens stay in this process's memory."""

    def __init__(self, connect: Callable[[str], Client]) -> None:
        """`connect` makes a client of a token, or raises `PenultError`."""
        self._connect = connect
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._refused: deque[float] = deque(maxlen=MOST_REFUSED)

    def open(self, token: str) -> str:
        """Log in; returns the id of the session. Blocks. Raises what `penult.connect` raises."""
        self._check_attempts()
        try:
            client = self._connect(token)
        except PenultError as error:
            if error.kind == ErrorKind.UNAUTHENTICATED:
                self._refused.append(time.monotonic())
            raise
        id = secrets.token_urlsafe(32)
        session = Session(
            client=client, form_token=secrets.token_hex(16), may_run=may_run(client), last_used=time.monotonic()
        )
        with self._lock:
            idle = [*self._sessions] if len(self._sessions) >= MOST_SESSIONS else []
            oldest = min(idle, key=lambda one: self._sessions[one].last_used, default=None)
            closed = None if oldest is None else self._sessions.pop(oldest)
            self._sessions[id] = session
        if closed is not None:
            closed.client.close()
        return id

    def get(self, id: str) -> Session | None:
        """The session of a cookie; None where there is none any more."""
        self.close_idle()
        with self._lock:
            found = self._sessions.get(id)
            if found is not None:
                found.last_used = time.monotonic()
            return found

    def close(self, id: str) -> None:
        """Log out."""
        with self._lock:
            found = self._sessions.pop(id, None)
        if found is not None:
            found.client.close()

    def close_idle(self) -> None:
        """Close the sessions of visitors who have left."""
        now = time.monotonic()
        with self._lock:
            left = [id for id, one in self._sessions.items() if now - one.last_used > IDLE_SECONDS]
        for id in left:
            self.close(id)

    def close_all(self) -> None:
        """Close every session."""
        for id in list(self._sessions):
            self.close(id)

    def _check_attempts(self) -> None:
        full = len(self._refused) == MOST_REFUSED
        if full and time.monotonic() - self._refused[0] < REFUSED_SECONDS:
            raise Busy("too many logins have failed: try again in a minute", kind=ErrorKind.BUSY, retry_after=60.0)


def may_run(client: Client) -> bool:
    """Whether the client's role may run jobs: it is asked by cancelling a job that does not exist."""
    try:
        call = client.connection.stubs.jobs.CancelJob
        client.connection.unary(call, jobs_pb2.CancelJobRequest(id=NO_JOB), timeout=10.0)
    except NotAllowed:
        return False
    except PenultError:
        return True
    return True
