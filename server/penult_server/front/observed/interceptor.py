"""The outermost interceptor: every call, of any shape and however it ends, is numbered, counted, timed and logged."""

# grpc's handlers are untyped at this seam: a handler is a record of four optional functions.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import inspect
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias
from uuid import uuid4

import grpc

from penult_proto.errors import FALLBACK_KINDS, ErrorKind, said_by
from penult_proto.services import REQUEST_KEY
from penult_server.front.caller import CALLER
from penult_server.front.observed import metrics
from penult_server.front.observed.call import UNKNOWN, CallRecord, begin
from penult_server.front.observed.methods import METHODS
from penult_server.front.observed.slowness import Slowness

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
REFUSED = frozenset(
    {
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.NOT_ALLOWED,
        ErrorKind.TOO_LARGE,
        ErrorKind.QUEUE_FULL,
        ErrorKind.OUT_OF_MEMORY,
        ErrorKind.DISK_FULL,
        ErrorKind.BUSY,
        ErrorKind.QUOTA_EXCEEDED,
        ErrorKind.SHUTTING_DOWN,
    }
)
"""Kinds of errors by which the server refuses what it might do for another caller, or at another time."""
LATE_SECONDS = 0.25
"""A call that is cancelled with so little of its time left has met its deadline: the caller's clock for it starts
before ours, by what the request needs to come here.
"""
MOST_CHARACTERS = 64
_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{MOST_CHARACTERS}}}")
_CODES = {code.value[0]: code for code in grpc.StatusCode}
log = logging.getLogger("penult.access")


class Observer(grpc.aio.ServerInterceptor):
    """Stands before all other interceptors, so that it also sees what they refuse."""

    def __init__(self, *, by_user: bool = False) -> None:
        """`by_user`: count calls by user, too."""
        self._by_user = by_user
        self._slowness = Slowness()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = METHODS.get(str(handler_call_details.method), UNKNOWN)
        given = handler_call_details.invocation_metadata or ()
        request_id = number_of(given)
        others = tuple((key, value) for key, value in given if key != REQUEST_KEY)
        # Interceptors further inside are told the number, whoever made it. gRPC takes nothing but its own record.
        make_details: Any = type(handler_call_details)
        details = make_details(handler_call_details.method, (*others, (REQUEST_KEY, request_id)))
        handler: Any = await continuation(details)
        if handler is None:
            metrics.REQUESTS.labels(UNKNOWN, grpc.StatusCode.UNIMPLEMENTED.name, ErrorKind.VERSION_MISMATCH).inc()
            return None
        return self._wrapped(handler, method, request_id)

    def _wrapped(self, handler: Any, method: str, request_id: str) -> Handler:
        """The same handler, observed. Which of grpc's four it is, and whether it yields or writes, stays as it was."""
        shape = "stream" if handler.request_streaming else "unary"
        shape += "_stream" if handler.response_streaming else "_unary"
        answer = getattr(handler, shape)

        async def once(request: Any, context: Context) -> Any:
            with self._observed(CallRecord(method, request_id), context):
                return await answer(request, context)

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            with self._observed(CallRecord(method, request_id), context):
                async for message in answer(request, context):
                    yield message

        make = getattr(grpc, f"{shape}_rpc_method_handler")
        return make(
            stream if inspect.isasyncgenfunction(answer) else once,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    @contextmanager
    def _observed(self, record: CallRecord, context: Context) -> Generator[None]:
        """Everything is told at the end of the block, however it ends: a stream whose reader has gone never comes to
        the end of its loop."""
        begin(record)
        context.set_trailing_metadata(((REQUEST_KEY, record.request_id),))
        in_flight = metrics.IN_FLIGHT.labels(record.method)
        in_flight.inc()
        started = time.perf_counter()
        ending: BaseException | None = None
        try:
            yield
        except BaseException as error:
            ending = error
            raise
        finally:
            in_flight.dec()
            code = code_of(context, ending)
            kind = kind_of(context, code)
            self._count(record, code, kind, time.perf_counter() - started)
            ending = None  # it knows this frame

    def _count(self, record: CallRecord, code: grpc.StatusCode, kind: str, seconds: float) -> None:
        metrics.REQUESTS.labels(record.method, code.name, kind).inc()
        metrics.REQUEST_SECONDS.labels(record.method).observe(seconds)
        if record.waited:
            metrics.QUEUE_SECONDS.labels(record.method).observe(record.waited)
        # Who has no token has no name: whatever stands there is not theirs.
        user = "" if kind == ErrorKind.UNAUTHENTICATED else CALLER.get().user
        if self._by_user and user:
            metrics.USER_REQUESTS.labels(user, code.name).inc()
        if kind in REFUSED:
            metrics.REFUSALS.labels(kind).inc()
        if kind == ErrorKind.STORE_CORRUPT:
            metrics.STORE_CORRUPT.labels(record.service).inc()
        is_slow = self._slowness.is_slow(record.method, seconds)
        level = logging.WARNING if is_slow or kind in REFUSED or kind == ErrorKind.INTERNAL else logging.INFO
        if log.isEnabledFor(level):
            _tell(level, record, code, kind, seconds, user)


def _tell(level: int, record: CallRecord, code: grpc.StatusCode, kind: str, seconds: float, user: str) -> None:
    """The one line of a call."""
    values = {
        "request_id": record.request_id,
        "user": user,
        "method": record.method,
        "code": code.name,
        "kind": kind,
        "milliseconds": round(seconds * 1000, 1),
        "waited": round(record.waited * 1000, 1),
        "source": record.source,
    }
    said = f"{code.name} {kind}" if kind else code.name
    log.log(level, "%s %s in %.1f ms", record.method, said, seconds * 1000, extra=values)


def number_of(metadata: Any) -> str:
    """The number that a caller gave a call, or a new one where that is none."""
    for key, value in metadata:
        if key == REQUEST_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid4().hex[:16]


def code_of(context: Context, ending: BaseException | None) -> grpc.StatusCode:
    """The status that a call ends with, as far as the server can know it.

    The context says None or 0 for OK and a status after an abort. A deadline arrives as a cancellation, like a caller
    that goes, and a stream whose reader has gone ends by GeneratorExit.
    """
    said: Any = context.code()
    if isinstance(said, int):
        said = _CODES.get(said, grpc.StatusCode.UNKNOWN)
    if isinstance(said, grpc.StatusCode) and said is not grpc.StatusCode.OK:
        return said
    if ending is None:
        return grpc.StatusCode.OK
    if not isinstance(ending, (asyncio.CancelledError, GeneratorExit)):
        return grpc.StatusCode.UNKNOWN
    left: Any = context.time_remaining()  # None without a deadline, whatever its type says
    is_late = left is not None and left <= LATE_SECONDS
    return grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED


def kind_of(context: Context, code: grpc.StatusCode) -> str:
    """The kind of error that a call ends with; empty without one."""
    if code is grpc.StatusCode.OK:
        return ""
    said = said_by(context.trailing_metadata() or ())
    return said.kind if said else FALLBACK_KINDS.get(code, ErrorKind.INTERNAL)
