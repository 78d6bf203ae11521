"""Before and around every call: who asks, which protocol, and errors turned into statuses."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Never, TypeAlias

import grpc
from google.protobuf.message import Message

from penult_proto import PROTOCOL
from penult_proto.errors import ErrorKind
from penult_proto.limits import MESSAGE_BYTES
from penult_server.errors import ServiceError
from penult_server.front.caller import CALLER, Caller
from penult_server.front.requests import checked, checked_stream, decoder
from penult_server.front.users.admitted import Admitted, Notes
from penult_server.front.users.authenticator import Authenticator
from penult_server.front.users.open_calls import OpenCalls
from penult_server.front.users.rules import check_method
from penult_server.front.users.strangers import OpenToAll, refusing
from penult_server.status import abort

# grpc's handlers are untyped at this seam: a handler is a record of four optional functions.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Services that are answered without a token: health probes and reflection."""

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Guard(grpc.aio.ServerInterceptor):
    """Checks who calls, in which protocol and role, before anything of the call is read; lets it run, or ends it."""

    def __init__(
        self, authenticator: Authenticator, calls: OpenCalls, notes: Notes, *, takes_certificates: bool = False
    ) -> None:
        """`takes_certificates`: clients show one that an authority of this server's signed, and need no token."""
        self._authenticator = authenticator
        self._calls = calls
        self._notes = notes
        self._takes_certificates = takes_certificates
        self._open = OpenToAll()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler: Any = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None:
            return handler
        if method.startswith(OPEN_SERVICES):
            return self._open.bounded(method, handler)
        metadata: dict[str, Any] = dict(handler_call_details.invocation_metadata or ())
        if self._takes_certificates and "authorization" not in metadata:
            # Only a handler is told the certificate; whoever has none could not connect.
            return self._wrapped(handler, method, metadata, None)
        caller: Caller | None = None
        try:
            caller = self._authenticator.of_token(metadata)
            _check(method, metadata, caller)
        except ServiceError as error:
            refusal = error
            return refusing(lambda context: self._refuse(method, caller, context, refusal))
        return self._wrapped(handler, method, metadata, caller)

    async def _refuse(self, method: str, caller: Caller | None, context: Context, error: ServiceError) -> Never:
        if caller is not None:
            CALLER.set(caller)  # for who counts calls by user
        started = time.perf_counter()
        peer = str(context.peer())
        written = self._notes.ended(method, caller, peer, messages=(), kind=error.kind, started=started, stored=False)
        if written is not None:
            await written
        await abort(context, error)

    async def _admitted(
        self, method: str, metadata: dict[str, Any], caller: Caller | None, context: Context
    ) -> Admitted:
        """The call of a caller who is known, or of one whom the certificate names."""
        if caller is None:
            try:
                request_id = str(metadata.get("x-request-id", ""))
                caller = self._authenticator.of_certificate(context.auth_context(), request_id)
                _check(method, metadata, caller)
            except ServiceError as error:
                await self._refuse(method, caller, context, error)
        return Admitted(method, caller, context, self._calls, self._notes)

    def _wrapped(self, handler: Any, method: str, metadata: dict[str, Any], caller: Caller | None) -> Handler:
        """The same handler within `Admitted`."""

        async def answer_once(request: Any, context: Context) -> Any:
            async with await self._admitted(method, metadata, caller, context) as call:
                if handler.stream_unary:
                    answer = await handler.stream_unary(checked_stream(request), context)
                else:
                    answer = await handler.unary_unary(call.asked(checked(request)), context)
                return call.answered(answerable(answer))

        async def answer_stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with await self._admitted(method, metadata, caller, context) as call:
                async for message in handler.unary_stream(call.asked(checked(request)), context):
                    yield message

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


def _check(method: str, metadata: dict[str, Any], caller: Caller) -> None:
    """Raise ServiceError: VERSION_MISMATCH for another protocol, NOT_ALLOWED for a role that is not enough."""
    protocol = str(metadata.get("penult-protocol", ""))
    if not protocol:
        raise ServiceError(
            ErrorKind.VERSION_MISMATCH,
            f"the call does not say which protocol it speaks: send the metadata 'penult-protocol: {PROTOCOL}', "
            "or use penult's client",
            server=PROTOCOL,
        )
    if protocol != str(PROTOCOL):
        raise ServiceError(
            ErrorKind.VERSION_MISMATCH,
            f"the server speaks protocol {PROTOCOL}, the client {protocol}: install the same version of penult on both",
            server=PROTOCOL,
            client=protocol,
        )
    check_method(caller, method)


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
