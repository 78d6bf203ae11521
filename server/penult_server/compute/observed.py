"""What the worker measures while it computes, and which call of the front its log lines are about."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import grpc

from penult_proto.services import REQUEST_KEY, WAITED_KEY

# grpc's handlers are untyped at this seam: a handler is a record of four optional functions.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
_REQUEST: ContextVar[str] = ContextVar("request", default="")
_SHAPES: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class Requests(grpc.ServerInterceptor):
    """Remembers of each thread which call it answers, so that its log lines say so."""

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The same handler, behind a note of the number that the front gave the call."""
        handler: Any = continuation(handler_call_details)
        if handler is None:
            return None
        metadata = dict(handler_call_details.invocation_metadata or ())
        request_id = str(metadata.get(REQUEST_KEY, ""))
        shape, make = _SHAPES[handler.request_streaming, handler.response_streaming]
        answer = getattr(handler, shape)

        def numbered(request: Any, context: grpc.ServicerContext) -> Any:
            _REQUEST.set(request_id)
            return answer(request, context)

        return make(
            numbered,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    @staticmethod
    def current() -> str:
        """The number of the call that this thread answers; empty without one."""
        return _REQUEST.get()


def tell_waited(context: grpc.ServicerContext, seconds: float) -> None:
    """Tell the front, ahead of the answer, how long a call waited for the device or its batch."""
    context.send_initial_metadata(((WAITED_KEY, f"{seconds:.6f}"),))
