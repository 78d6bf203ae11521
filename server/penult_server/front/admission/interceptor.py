"""Around every call, after the guard: a place among the calls in progress, and streams that may not stand still."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError, idle_upload
from penult_server.front.admission.calls import Calls
from penult_server.front.admission.limits import LANES

# grpc's handlers are untyped at this seam: a handler is a record of four optional functions.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Admission(grpc.aio.ServerInterceptor):
    """Lets calls in or refuses them; who calls is known from the guard."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler: Any = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        return handler if handler is None or method not in LANES else _wrapped(handler, method, self._calls)


async def flowing(requests: AsyncIterator[Any], idle_seconds: float) -> AsyncIterator[Any]:
    """The same requests. Raises ServiceError (DEADLINE_EXCEEDED) when the next one does not come."""
    iterator = aiter(requests)
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                request = await anext(iterator, None)
        except TimeoutError:
            raise idle_upload(idle_seconds) from None
        if request is None:
            return
        yield request


async def written(context: Context, message: Any, idle_seconds: float) -> None:
    """Write an answer of a stream once the one before has been taken.

    Raises ServiceError (DEADLINE_EXCEEDED) when the client does not read on.
    """
    try:
        async with asyncio.timeout(idle_seconds):
            await context.write(message)
    except TimeoutError:
        raise ServiceError(
            ErrorKind.DEADLINE_EXCEEDED,
            f"nothing of the answer was read for {idle_seconds:g} seconds; ask again, and read on",
            idle_seconds=idle_seconds,
        ) from None
    except Exception as error:
        # How gRPC says that the client has gone, by a class of its inner parts.
        if type(error).__name__ == "ExecuteBatchError":
            raise asyncio.CancelledError from error
        raise


def _wrapped(handler: Any, method: str, calls: Calls) -> Handler:
    idle_seconds = calls.limits.idle_seconds

    async def answer_once(request: Any, context: Context) -> Any:
        async with calls.admitted(method):
            if handler.stream_unary:
                return await handler.stream_unary(flowing(request, idle_seconds), context)
            return await handler.unary_unary(request, context)

    async def answer_stream(request: Any, context: Context) -> AsyncIterator[Any]:
        """Writes its answers itself, since only so is known how long they are not taken."""
        async with calls.admitted(method), aclosing(handler.unary_stream(request, context)) as answers:
            async for message in answers:
                await written(context, message, idle_seconds)
        for nothing in ():
            yield nothing  # an asynchronous generator, as handlers of streams are

    if handler.unary_stream:
        make, wrapped = grpc.unary_stream_rpc_method_handler, answer_stream
    else:
        make = grpc.stream_unary_rpc_method_handler if handler.stream_unary else grpc.unary_unary_rpc_method_handler
        wrapped = answer_once
    return make(
        wrapped,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
