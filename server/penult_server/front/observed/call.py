"""What is noted of the call that runs, by whoever knows it."""

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import grpc

from penult_proto.errors import ErrorKind
from penult_proto.services import WAITED_KEY
from penult_server.front.observed.metrics import ANSWERS, STORE_CORRUPT
from penult_server.logs.traces import span

UNKNOWN = "unknown"


@dataclass(slots=True)
class CallRecord:
    """One call."""

    method: str = UNKNOWN
    """Such as ``RefitService/ComputeRefits``."""
    request_id: str = ""
    waited: float = 0.0
    """Seconds."""
    source: str = ""
    """Where its answer came from; "several" where it has answers of several sources."""
    failed: str = ""
    """The kind of error of the first of several answers that failed alone."""

    @property
    def service(self) -> str:
        """Such as ``RefitService``."""
        return self.method.partition("/")[0]


_CALL: ContextVar[CallRecord | None] = ContextVar("call", default=None)


def current() -> CallRecord:
    """The record of the call that runs; one that nobody reads outside of calls."""
    return _CALL.get() or CallRecord()


def begin(record: CallRecord) -> None:
    """From here on the task works on this call."""
    _CALL.set(record)


def answered(source: str) -> None:
    """Note that an answer to a query came from the store, from an equal query, or was computed."""
    record = current()
    ANSWERS.labels(record.service, source).inc()
    record.source = source if record.source in ("", source) else "several"


def failed_alone(kind: str) -> None:
    """Note that one of several answers failed while its call goes on."""
    record = current()
    record.failed = record.failed or kind
    if kind == ErrorKind.STORE_CORRUPT:
        STORE_CORRUPT.labels(record.service).inc()


def waited(seconds: float) -> None:
    """Note that the call has waited."""
    current().waited += seconds


async def note_waited(call: grpc.aio.Call) -> None:
    """Note what the compute worker says of a call to it: how long that waited for the device."""
    for key, value in await call.initial_metadata() or ():
        if key == WAITED_KEY:
            waited(float(value))


@asynccontextmanager
async def waited_for(slot: AbstractAsyncContextManager[object]) -> AsyncGenerator[None]:
    """Hold a slot in the block; the time until it is free counts as waiting."""
    started = time.perf_counter()
    async with AsyncExitStack() as held:
        with span("wait"):
            await held.enter_async_context(slot)
        waited(time.perf_counter() - started)
        yield
