"""A server in this process with the real admission before services that do what a test says."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import grpc

from penult.connection.rpc import Connection
from penult_proto.v1 import arrays_pb2, features_pb2, features_pb2_grpc, info_pb2, info_pb2_grpc
from penult_server.errors import ServiceError
from penult_server.front.admission.calls import Calls
from penult_server.front.admission.interceptor import Admission
from penult_server.front.admission.limits import Limits
from penult_server.front.caller import CALLER, Caller, Role
from penult_server.status import abort, translate

PIECE = b"x" * 2**20


class Doorman(grpc.aio.ServerInterceptor):
    """Takes the user from the metadata `user`, and makes statuses of errors, as the guard does."""

    async def intercept_service(self, continuation, details):
        handler: Any = await continuation(details)
        user = str(dict(details.invocation_metadata).get("user", ""))
        caller = Caller(user=user, role=Role.ADMIN)

        async def once(request, context):
            CALLER.set(caller)
            try:
                return await (handler.stream_unary or handler.unary_unary)(request, context)
            except ServiceError as error:
                await abort(context, translate(error))

        async def stream(request, context):
            CALLER.set(caller)
            try:
                async for message in handler.unary_stream(request, context):
                    yield message
            except ServiceError as error:
                await abort(context, translate(error))

        coders = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(stream, **coders)
        make = grpc.stream_unary_rpc_method_handler if handler.stream_unary else grpc.unary_unary_rpc_method_handler
        return make(once, **coders)


class Services(info_pb2_grpc.InfoServiceServicer, features_pb2_grpc.FeatureServiceServicer):
    """Info that waits until it may answer, an upload that counts messages, a read of as many MiB as it is asked for."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = 0
        self.sent = 0

    async def GetInfo(self, request, context):
        self.begun += 1
        await self.gate.wait()
        return info_pb2.Info(version="1")

    async def UploadFeatures(self, request_iterator, context):
        count = 0
        async for _ in request_iterator:
            count += 1
        return features_pb2.FeatureSet(n_examples=count)

    async def ReadFeatures(self, request, context) -> AsyncIterator[features_pb2.ReadFeaturesResponse]:
        for _ in range(int(request.feature_set)):
            yield features_pb2.ReadFeaturesResponse(chunk=arrays_pb2.ArrayChunk(name="x", data=PIECE))
            self.sent += 1


class AdmittedServer:
    """The server, its loop in a thread, and what a test does in that loop."""

    def __init__(self, limits: Limits) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.services: Services
        self.calls: Calls
        self.port = self.run(self._start(limits))

    def run(self, what) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(100)

    def begin(self, what) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(what, self.loop)

    def set(self, function: Callable[[], object]) -> None:
        async def call() -> None:
            function()

        self.run(call())

    def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(20):
                while not condition():
                    await asyncio.sleep(0.005)

        self.run(wait())

    async def _start(self, limits: Limits) -> int:
        self.services, self.calls = Services(), Calls(limits)
        self._server = grpc.aio.server(interceptors=[Doorman(), Admission(self.calls)])
        info_pb2_grpc.add_InfoServiceServicer_to_server(self.services, self._server)
        features_pb2_grpc.add_FeatureServiceServicer_to_server(self.services, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    def close(self) -> None:
        self.run(self._server.stop(0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@contextmanager
def admitted_server(**limits):
    """One of them, with these limits."""
    server = AdmittedServer(Limits(**limits))
    try:
        yield server
    finally:
        server.close()


@contextmanager
def connected(server: AdmittedServer, user: str = ""):
    """A connection of penult's client, as a user."""
    connection = Connection(f"127.0.0.1:{server.port}")
    connection._metadata += (("user", user),)
    try:
        yield connection
    finally:
        connection.close()
