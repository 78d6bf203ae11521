"""Around every handler: its caller is known, its errors become statuses, and what it changed is written down."""

import asyncio
import time
from typing import Any

import grpc

from penult_proto.errors import STATUS_CODES, ErrorKind, said_by
from penult_proto.roles import LOOKING
from penult_proto.v1 import jobs_pb2
from penult_server.errors import ServiceError
from penult_server.front.caller import CALLER, Caller
from penult_server.front.observed.call import current
from penult_server.front.users.audit import Audit, Entry, RefusalLimit
from penult_server.front.users.open_calls import OpenCalls
from penult_server.status import abort, translate

Context = grpc.aio.ServicerContext[Any, Any]
REFUSALS = frozenset(
    {
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.NOT_ALLOWED,
        ErrorKind.VERSION_MISMATCH,
        ErrorKind.QUOTA_EXCEEDED,
        ErrorKind.BUSY,
        ErrorKind.TOO_LARGE,
    }
)
"""Kinds of errors that are written down also of calls that only look."""
NAMES = ("digest", "id", "feature_set", "run", "name", "grouping", "dataset")
"""Fields of messages that name a thing, the first that there is."""


class Notes:
    """Writes down what calls did."""

    def __init__(self, audit: Audit, *, all_calls: bool = False) -> None:
        self._audit = audit
        self._all_calls = all_calls
        self._limit = RefusalLimit()

    def ended(
        self,
        method: str,
        caller: Caller | None,
        peer: str,
        *,
        messages: tuple[Any, ...],
        kind: str,
        started: float,
        stored: bool,
    ) -> asyncio.Future[None] | None:
        """Write a line of a call, if it is to have one; done once it is written.

        `messages`: the answer and the request, where there are such, the first to name a thing tells what it is about;
        `peer` is where the call came from; `kind` is that of the call's error, empty for none; `stored`: all that it
        answered was there before.
        """
        changes = not method.rpartition("/")[2].startswith(LOOKING) and not stored
        left_out: int | None = 0
        if kind in REFUSALS:
            left_out = self._limit.counted(caller.user if caller else "")
        if left_out is None or not (changes or kind in REFUSALS or self._all_calls):
            return None
        return self._audit.append(
            Entry(
                request_id=caller.request_id if caller else "",
                user=caller.user if caller else "",
                token=caller.token_id if caller else "",
                peer=peer,
                method=method,
                what=next((what for message in messages if (what := named(message))), ""),
                code=STATUS_CODES[ErrorKind(kind)].name if kind else "OK",
                kind=kind,
                milliseconds=(time.perf_counter() - started) * 1e3,
                left_out=left_out,
            )
        )


class Admitted:
    """One call whose caller is known: the handler runs within it."""

    def __init__(self, method: str, caller: Caller, context: Context, calls: OpenCalls, notes: Notes) -> None:
        self._method, self._caller, self._context, self._notes = method, caller, context, notes
        self._opened = calls.opened(caller)
        self._asked: Any = None
        self._answered: Any = None
        self._started = time.perf_counter()
        # Asked now: of a stream that is ended once its call is gone, gRPC reads freed memory to answer.
        self._peer = str(context.peer())

    async def __aenter__(self) -> "Admitted":
        CALLER.set(self._caller)
        self._call = self._opened.__enter__()
        return self

    def asked(self, request: Any) -> Any:
        """The same request, which may name a thing."""
        self._asked = request
        return request

    def answered(self, message: Any) -> Any:
        """The same answer, which may name a thing."""
        self._answered = message
        return message

    async def __aexit__(self, _: object, error: BaseException | None, trace: object) -> None:
        """Raises grpc's AbortError in place of what the handler raised."""
        self._opened.__exit__(None, None, None)
        refusal: ServiceError | None = None
        if self._call.is_cut and error is not None and not isinstance(error, GeneratorExit):
            self._call.task.uncancel()
            refusal = ServiceError(
                ErrorKind.UNAUTHENTICATED, "the token of this call has ended: ask the server's owner for another"
            )
        elif error is not None and isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            refusal = translate(error)  # the seam: whatever is left is a bug, logged and answered as INTERNAL
        record = current()
        kind = refusal.kind.value if refusal else _said(error, self._context) or record.failed
        written = self._notes.ended(
            self._method,
            self._caller,
            self._peer,
            messages=(self._answered, self._asked),
            kind=kind,
            started=self._started,
            stored=error is None and record.source == "stored",
        )
        # Of a stream whose reader has gone nothing may be waited for, and nothing answered.
        if written is not None and not isinstance(error, GeneratorExit):
            await written
        if refusal is not None:
            await abort(self._context, refusal)


def _said(error: BaseException | None, context: Context) -> str:
    """The kind of error that a call ends with which ended itself, or whose client has gone; empty for none."""
    if error is None:
        return ""
    if isinstance(error, grpc.aio.AbortError):
        said = said_by(context.trailing_metadata() or ())
        return said.kind if said else ErrorKind.INTERNAL.value
    return ErrorKind.CANCELLED.value


def named(message: Any) -> str:
    """The thing that a message names; empty for none."""
    if message is None:
        return ""
    for field in NAMES:
        found = getattr(message, field, "")
        if found and isinstance(found, str):
            return f"{message.spec.WhichOneof('kind')} {found}" if isinstance(message, jobs_pb2.Job) else found
    for field in ("refit", "requests", "source", "spectra", "first", "goes"):
        inner = getattr(message, field, None)
        if inner is None or isinstance(inner, str):
            continue
        inner = next(iter(inner), None) if hasattr(inner, "__len__") else inner
        if inner is not None and (found := named(inner)):
            return found
    return ""
