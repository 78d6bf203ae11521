"""Calls of whoever has no token: refused before anything is read of them, or, to probe, of a small message.

gRPC reads the whole message of a call before a handler for one message runs. A handler for streams runs first, and
reads if it wants to: so what is refused is answered as a stream of bytes of which none is taken.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn
from weakref import WeakValueDictionary

import grpc
from google.protobuf.message import DecodeError

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.status import abort

# grpc's handlers are untyped at this seam.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
MOST_BYTES = 4096
"""Most bytes of a message to the services that are open to all: it is a name."""
READ_SECONDS = 5.0
"""How long such a message may take, and wait for its turn."""
MOST_MESSAGES = 100
"""Most messages of a stream without a token."""
Context = grpc.aio.ServicerContext[Any, Any]


def refusing(refuse: Callable[[Context], Awaitable[NoReturn]]) -> Any:
    """A handler that reads nothing and ends the call as `refuse` does."""

    async def answer(requests: object, context: Context) -> AsyncIterator[bytes]:
        await refuse(context)
        yield b""

    return grpc.stream_stream_rpc_method_handler(answer)


class OpenToAll:
    """Handlers of the services that need no token, which read small messages, and few at once."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def bounded(self, method: str, handler: Any) -> Any:
        """The same handler of an RPC, for calls of anybody."""

        async def answer(requests: object, context: Context) -> AsyncIterator[Any]:
            messages = self._messages(method, handler, context)
            try:
                if handler.request_streaming:
                    replies = handler.stream_stream(messages, context)
                elif handler.response_streaming:
                    replies = handler.unary_stream(await anext(messages), context)
                else:
                    replies = handler.unary_unary(await anext(messages), context)
                if inspect.isasyncgen(replies):
                    async for reply in replies:
                        yield reply
                elif (reply := await replies) is not None:
                    yield reply
            except ServiceError as error:
                await abort(context, error)

        return grpc.stream_stream_rpc_method_handler(answer, response_serializer=handler.response_serializer)

    async def _messages(self, method: str, handler: Any, context: Context) -> AsyncIterator[Any]:
        """The messages of a call. Raises ServiceError: INVALID_ARGUMENT, TOO_LARGE, BUSY."""
        host = str(context.peer()).rpartition(":")[0]  # the machine that calls, without its port
        for number in range(MOST_MESSAGES):
            # One at a time from each machine: gRPC bounds a message by what callers with a token may send. Who waits
            # for a later one of a stream is not in the way of probes.
            turn = self._turns.setdefault(f"{method} {min(number, 1)} {host}", asyncio.Lock())
            try:
                async with asyncio.timeout(READ_SECONDS), turn:
                    content: Any = await context.read()
            except TimeoutError:
                raise ServiceError(
                    ErrorKind.BUSY,
                    f"without a token a message must come within {READ_SECONDS:g} s, one at a time from each machine",
                ) from None
            if content is grpc.aio.EOF:
                if not handler.request_streaming:
                    raise ServiceError(ErrorKind.INVALID_ARGUMENT, "the call has no message; it must have one")
                return
            if (size := len(content)) > MOST_BYTES:
                del content  # the error's trace keeps this frame, and would keep it
                raise ServiceError(
                    ErrorKind.TOO_LARGE, f"without a token a message has at most {MOST_BYTES} bytes, got {size}"
                )
            try:
                yield handler.request_deserializer(content)
            except DecodeError:
                raise ServiceError(ErrorKind.INVALID_ARGUMENT, "the request is no message of this protocol") from None
