"""Before and around every call: who asks, which protocol, and errors turned into statuses."""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from penult_proto import PROTOCOL
from penult_proto.errors import ErrorKind
from penult_proto.limits import MESSAGE_BYTES
from penult_proto.roles import Role
from penult_server.errors import ServiceError
from penult_server.front.caller import CALLER, Caller, owner_name
from penult_server.front.requests import checked, checked_stream, decoder
from penult_server.status import abort, translate

# grpc's handlers are untyped at this seam: a handler is a record of four optional functions.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Services that are answered without a token: health probes and reflection."""

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Guard(grpc.aio.ServerInterceptor):
    """Checks the token and the protocol of every call; turns whatever a handler raises into a status."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._owner = Caller(user=owner_name(), role=Role.ADMIN, is_owner=True)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler: Any = await continuation(handler_call_details)
        if handler is None or str(handler_call_details.method).startswith(OPEN_SERVICES):
            return handler
        metadata: dict[str, Any] = dict(handler_call_details.invocation_metadata or ())
        caller = replace(self._owner, request_id=str(metadata.get("x-request-id", "")))
        return _wrapped(handler, caller, self._refusal(metadata))

    def _refusal(self, metadata: dict[str, Any]) -> ServiceError | None:
        got = str(metadata.get("authorization", ""))
        if not hmac.compare_digest(got.encode(), self._expected):
            return ServiceError(
                ErrorKind.UNAUTHENTICATED,
                "this server needs its token: pass token=... or set PENULT_TOKEN (it is in the file `token` of the "
                "server's root); over plain gRPC send the metadata 'authorization: Bearer TOKEN'",
            )
        protocol = str(metadata.get("penult-protocol", ""))
        if not protocol:
            return ServiceError(
                ErrorKind.VERSION_MISMATCH,
                f"the call does not say which protocol it speaks: send the metadata 'penult-protocol: {PROTOCOL}', "
                "or use penult's client",
                server=PROTOCOL,
            )
        if protocol != str(PROTOCOL):
            return ServiceError(
                ErrorKind.VERSION_MISMATCH,
                f"the server speaks protocol {PROTOCOL}, the client {protocol}: install the same version of "
                "penult on both",
                server=PROTOCOL,
                client=protocol,
            )
        return None


def answerable(answer: Message) -> Message:
    """The same answer. Raises ServiceError (INVALID_ARGUMENT) for one that gRPC would not carry."""
    size = answer.ByteSize()
    if size > MESSAGE_BYTES:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the answer has {size / 2**20:.0f} MiB, and a message carries at most {MESSAGE_BYTES // 2**20}; ask for "
            "less at once",
            size=size,
        )
    return answer


def _wrapped(handler: Any, caller: Caller, refusal: ServiceError | None) -> Handler:
    """The same handler with the check before and the conversion of errors around it."""

    async def answer_once(request: Any, context: Context) -> Any:
        CALLER.set(caller)
        if refusal:
            await abort(context, refusal)
        try:
            if handler.stream_unary:
                return answerable(await handler.stream_unary(checked_stream(request), context))
            return answerable(await handler.unary_unary(checked(request), context))
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # the seam: whatever is left is a bug, logged and answered as INTERNAL
            await abort(context, translate(error))

    async def answer_stream(request: Any, context: Context) -> AsyncIterator[Any]:
        CALLER.set(caller)
        if refusal:
            await abort(context, refusal)
        try:
            async for message in handler.unary_stream(checked(request), context):
                yield message
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # the seam: whatever is left is a bug, logged and answered as INTERNAL
            await abort(context, translate(error))

    if handler.unary_stream:
        make, wrapped = grpc.unary_stream_rpc_method_handler, answer_stream
    else:
        make = grpc.stream_unary_rpc_method_handler if handler.stream_unary else grpc.unary_unary_rpc_method_handler
        wrapped = answer_once
    return make(
        wrapped,
        request_deserializer=decoder(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )
