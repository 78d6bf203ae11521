"""A job as it goes: its events to a browser, as server-sent events, and the metrics that it has reported so far."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from penult.errors import Busy, PenultError, Unavailable
from penult.results.metrics import EpochMetrics
from penult.web.charts.model import safe_json
from penult.wire import decode
from penult_proto.enums import name_or
from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2

if TYPE_CHECKING:
    from penult.calls.job import Job
    from penult.client import Client
    from penult.connection.patience import Call
    from penult.web.sessions import Session

BEAT_SECONDS = 15.0
"""Seconds of silence after which a comment is sent: proxies close connections on which nothing comes."""
AGAIN_MS = 2000
"""Milliseconds after which a browser connects again."""
BACKLOG_SECONDS = 3.0
MOST_STREAMS = 8
"""Jobs that one visitor follows at once; pages that are not seen follow none."""
AHEAD = 256
"""Events that are read before a browser takes them."""


def history(session: Session, job: Job[Any]) -> list[EpochMetrics]:
    """The metrics that a job has reported up to its newest event, read from where the last look ended. Blocks."""
    seen, found = session.history(job.id)
    if job.last_seq <= seen:
        return found
    connection = session.client.connection
    request = jobs_pb2.WatchJobRequest(id=job.id, after_seq=seen, may_stop=True)
    new: list[EpochMetrics] = []
    try:
        with connection.stream(connection.stubs.jobs.WatchJob, request, timeout=BACKLOG_SECONDS) as events:
            for event in events:
                seen = max(seen, event.seq)
                if event.WhichOneof("kind") == "metrics":
                    new.append(decode.epoch_metrics(event.metrics))
                if seen >= job.last_seq:
                    break
    except PenultError:
        return found  # shown again with what has come, when the next look succeeds
    # An attempt that begins again reports epochs that another had reported: the later one counts.
    by_epoch = {(entry.split, entry.epoch): entry for entry in (*found, *new)}
    history = list(by_epoch.values())
    session.keep_history(job.id, seen, history)
    return history


def check_streams(session: Session) -> None:
    """Raise `Busy` where a visitor follows as many jobs as may be followed at once."""
    if session.n_streams >= MOST_STREAMS:
        raise Busy(f"{MOST_STREAMS} pages of jobs are live already: close one", kind=ErrorKind.BUSY, retry_after=60.0)


async def events(session: Session, id: str, after: int) -> AsyncIterator[str]:
    """A job's events after the number `after`, as text/event-stream, until it has ended or the browser has gone.

    Each has its number as its id, with which a browser that was cut off asks again. A lost server ends the stream: the
    browser then asks again by itself.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[jobs_pb2.JobEvent | PenultError | None] = asyncio.Queue()

    def say(one: jobs_pb2.JobEvent | PenultError | None) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, one)

    follower = _Follower(session.client, id, after, say)
    session.n_streams += 1
    try:
        follower.start()
        yield f"retry: {AGAIN_MS}\n\n"
        while True:
            session.last_used = time.monotonic()
            try:
                event = await asyncio.wait_for(queue.get(), BEAT_SECONDS)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            follower.was_read()
            if event is None:
                yield "event: ended\ndata: {}\n\n"
                return
            if isinstance(event, PenultError):
                yield f"event: away\ndata: {safe_json({'said': event.message[:500]})}\n\n"
                return
            yield _said(event)
    finally:
        session.n_streams -= 1
        follower.stop()


class _Follower:
    """Reads a job's stream of events on a thread of its own, at most `AHEAD` events before a browser takes them."""

    def __init__(
        self, client: Client, id: str, after: int, say: Callable[[jobs_pb2.JobEvent | PenultError | None], None]
    ) -> None:
        self._client, self._id, self._after, self._say = client, id, after, say
        self._call: Call[jobs_pb2.JobEvent] | None = None
        self._ahead = threading.Semaphore(AHEAD)
        self._is_over = False
        self._thread = threading.Thread(target=self._follow, name="penult web follower", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def was_read(self) -> None:
        """An event has been taken."""
        self._ahead.release()

    def stop(self) -> None:
        """Stop reading; the server is told."""
        self._is_over = True
        self._ahead.release()
        if self._call is not None:
            self._call.cancel()

    def _follow(self) -> None:
        connection = self._client.connection
        request = jobs_pb2.WatchJobRequest(id=self._id, after_seq=self._after, may_stop=True)
        try:
            with connection.stream(connection.stubs.jobs.WatchJob, request, timeout=None) as call:
                self._call = call
                # It may have been stopped before there was a call to cancel; then no event might ever come.
                if self._is_over:
                    return
                for event in call:
                    if self._is_over:
                        return
                    if event.seq:
                        self._tell(event)
            self._tell(None)
        except PenultError as error:
            self._tell(error)
        except ValueError as error:  # gRPC says so of a channel that was closed meanwhile, by a logout
            self._tell(Unavailable(str(error), kind=ErrorKind.UNREACHABLE))

    def _tell(self, what: jobs_pb2.JobEvent | PenultError | None) -> None:
        self._ahead.acquire()
        try:
            if not self._is_over:
                self._say(what)
        except RuntimeError:
            pass  # the page's process ends, and its loop has closed


def _said(event: jobs_pb2.JobEvent) -> str:
    """An event as a browser reads it."""
    what = event.WhichOneof("kind") or "other"
    said: dict[str, object] = {}
    match what:
        case "state":
            said = {"state": name_or(jobs_pb2.JobState, event.state, "queued")}
        case "progress":
            one = event.progress
            said = {
                "stage": f"{one.stage}: {one.done:g} of {one.total:g} {one.unit}" if one.stage else "",
                "fraction": min(1.0, one.done / one.total) if one.total > 0 else 0.0,
            }
        case "metrics":
            said = {"split": event.metrics.split, "epoch": event.metrics.epoch}
        case _:
            pass
    return f"id: {event.seq}\nevent: {what}\ndata: {safe_json(said)}\n\n"
