"""Queries and transfers that are waited for: shown where they take long, and ended by Ctrl-C."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from penult.calls.waiting.bars import PATIENCE, Late, Silent, Watcher, is_shown, new_bar
from penult.calls.waiting.interrupts import told
from penult.connection.rpc import Connection
from penult.display.names import one_line
from penult.errors import PenultError
from penult.results.records import Checkpoint, Features, FeatureSet, Run
from penult_proto.pieces.uploads import Piece, UploadMessage
from penult_proto.services import QUERY_KEY
from penult_proto.v1 import checkpoints_pb2, features_pb2, jobs_pb2, progress_pb2

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

Q = TypeVar("Q", bound="Message")
R = TypeVar("R", bound="Message")
Moved = TypeVar(
    "Moved",
    UploadMessage,
    features_pb2.ReadFeaturesResponse,
    checkpoints_pb2.ReadCheckpointResponse,
)
Metadata = tuple[tuple[str, str], ...]

KILOBYTE, MEGABYTE = 1e3, 1e6
AGAIN = 0.5
"""Seconds until a query is looked for again that the server did not know."""
LONGEST_GOODBYE = 2.0
"""Seconds that an answer waits for the last drawing of its bar."""


def ask(
    connection: Connection,
    method: "grpc.UnaryUnaryMultiCallable[Q, R]",
    request: Q,
    *,
    timeout: float,
    title: str,
    progress: bool | None,
) -> R:
    """The answer to one query, which is shown while it is waited for. Raises `PenultError`.

    Ctrl-C cancels it on the server, and is told in a line.
    """
    with waiting(connection, title, progress) as metadata:
        return connection.ask(method, request, timeout=timeout, metadata=metadata)


@contextmanager
def waiting(connection: Connection, title: str, progress: bool | None) -> Generator[Metadata]:
    """A block that waits for a query; what it gives is sent with the query, so that its progress can be asked for."""
    if not is_shown(progress):
        with cancelled_by_interrupts(title):
            yield ()
        return
    query = uuid4().hex
    shower = _Shower(connection, query, title)
    shower.start()
    is_answered = False
    try:
        with cancelled_by_interrupts(title, before=shower.stop):
            yield ((QUERY_KEY, query),)
        is_answered = True
    finally:
        shower.stop(is_answered=is_answered)


@contextmanager
def cancelled_by_interrupts(title: str, *, before: Callable[[], None] = lambda: None) -> Generator[None]:
    """A block that Ctrl-C ends, with everything that it had asked for."""
    try:
        yield
    except KeyboardInterrupt as error:
        before()
        told(error, f"cancelled: {title}")
        raise


class _Shower:
    """Asks how far a query is, once it has taken a second, and draws it; on a thread of its own."""

    def __init__(self, connection: Connection, query: str, title: str) -> None:
        self._connection, self._query, self._title = connection, query, title
        self._ended = threading.Event()
        self._is_answered = False
        self._thread = threading.Thread(target=self._show, name="penult progress", daemon=True)

    def start(self) -> None:
        """Begin to wait for the query to take long."""
        self._thread.start()

    def stop(self, *, is_answered: bool = False) -> None:
        """The query has ended. May be called again."""
        if not self._ended.is_set():
            self._is_answered = is_answered
            self._ended.set()
        self._thread.join(LONGEST_GOODBYE)

    def _show(self) -> None:
        if self._ended.wait(PATIENCE):
            return
        bar, last = new_bar(self._title), jobs_pb2.Progress()
        try:
            while not self._ended.is_set():
                last = self._follow(bar, last)
                self._ended.wait(AGAIN)
            if self._is_answered and last.total:
                last.done = last.total
                bar.advance(last)
        finally:
            bar.close()

    def _follow(self, bar: Watcher, last: jobs_pb2.Progress) -> jobs_pb2.Progress:
        """Draw what the server says until the query has ended, or it says nothing more; the last of it."""
        request = progress_pb2.WatchQueryRequest(id=self._query)
        try:
            with self._connection.stream(self._connection.stubs.progress.WatchQuery, request, timeout=None) as said:
                for progress in said:
                    if self._ended.is_set():
                        break
                    last = progress
                    bar.advance(progress)
        except PenultError:
            pass  # the query itself meets what is wrong, and says it
        return last


class Transfer:
    """Bytes that are sent or received, and the bar that counts them."""

    def __init__(self, title: str, stage: str, after: str, progress: bool | None) -> None:
        self._watcher: Watcher = Late(title) if is_shown(progress) else Silent()
        self._stage, self._after = stage, after
        self._done = self._total = 0

    def expect(self, n_bytes: int) -> None:
        """Say how many bytes there are in all, where that is not what the header of one stream announces."""
        self._total = n_bytes

    def counted(self, messages: Iterable[Moved]) -> Iterator[Moved]:
        """The same messages, of which each is counted once the next one is wanted."""
        for message in messages:
            if isinstance(message, features_pb2.UploadFeaturesRequest) and message.HasField("header"):
                self._done = 0  # perhaps of an upload that is sent again
            if not self._total and not isinstance(message, Piece | checkpoints_pb2.ReadCheckpointResponse):
                self._total = sum(one.total_bytes for one in message.header.arrays)
            yield message
            if message.HasField("chunk"):
                self._done += len(message.chunk.data)
                self._advance()

    def _advance(self) -> None:
        is_over = self._done >= self._total
        stage = self._after if is_over and self._after else self._stage
        unit, size = ("MB", MEGABYTE) if self._total >= MEGABYTE else ("kB", KILOBYTE)
        self._watcher.advance(
            jobs_pb2.Progress(stage=stage, done=self._done / size, total=self._total / size, unit=unit)
        )

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._watcher.close()


@contextmanager
def transferring(title: str, stage: str, progress: bool | None, *, after: str = "") -> Generator[Transfer]:
    """A block that sends or receives; `after` is the stage in which everything has passed and the end is waited for."""
    transfer = Transfer(title, stage, after, progress)
    try:
        with cancelled_by_interrupts(title, before=transfer.close):
            yield transfer
    finally:
        transfer.close()


def uploading(name: str | None, progress: bool | None) -> AbstractContextManager[Transfer]:
    """A block that uploads a feature set, by the name that it gets."""
    title = f"upload of {one_line(name)}" if isinstance(name, str) and name else "upload"
    return transferring(title, "sending", progress, after="being verified")


def shown_name(value: object) -> str:
    """What a query is about, in a few words: it is shown before the answer says it."""
    if isinstance(value, Features):
        value = value.feature_set
    if isinstance(value, FeatureSet):
        of_dataset = f"{value.dataset}/{value.split}" if value.dataset else ""
        return one_line(of_dataset or next(iter(value.names), "") or value.digest[:12])
    if isinstance(value, Checkpoint):
        return f"checkpoint {value.digest[:12]}"
    if isinstance(value, Run):
        return f"run {value.id}"
    return one_line(value) if isinstance(value, str) else "features"
