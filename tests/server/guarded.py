"""Every RPC behind the real guard, answered by handlers that say nothing: what is tested is who gets through."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from penult_proto import PROTOCOL
from penult_proto.limits import MESSAGE_OPTIONS
from penult_proto.roles import Role
from penult_proto.services import SERVICES
from penult_server.front.caller import CALLER, Caller
from penult_server.front.guard import Guard
from penult_server.front.health import Health
from penult_server.front.registry_thread import Registry
from penult_server.front.users.admitted import Notes
from penult_server.front.users.audit import Audit
from penult_server.front.users.authenticator import Authenticator
from penult_server.front.users.open_calls import OpenCalls
from penult_server.registry.database import Database
from penult_server.users.tokens import TokenTable

OWNER = "o" * 43
METHODS = {f"/{name}/{one.name}": one for name, service in SERVICES.items() for one in service.methods}
T = TypeVar("T")


class Guarded(grpc.GenericRpcHandler):
    """A server in this process, whose loop runs in a thread; streams of answers last until they are ended."""

    def __init__(self, root: Path, tokens: Callable[[TokenTable], None] = lambda _: None) -> None:
        self.root = root
        self.callers: list[Caller] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.registry = Registry()
        self.do(self.registry.open(root / "penult.db"))
        self.edit(tokens)
        self.authenticator = Authenticator(OWNER)
        self.calls = OpenCalls(self.registry, self.authenticator)
        self.audit = Audit(root / "logs" / "audit.jsonl")
        self.port = self.do(self._start())
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", [*MESSAGE_OPTIONS, ("grpc.enable_retries", 0)])

    def edit(self, change: Callable[[TokenTable], T]) -> T:
        """Change tokens as another process would: by a connection of its own."""
        database = Database(self.root / "penult.db")
        try:
            return change(TokenTable(database))
        finally:
            database.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=100)

    async def _start(self) -> int:
        await self.calls.refresh()
        guard = Guard(self.authenticator, self.calls, Notes(self.audit))
        self.server = grpc.aio.server(interceptors=[guard], options=[*MESSAGE_OPTIONS, ("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers([self])
        self.health = Health()
        self.health.add_to(self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        await self.health.set(["penult.v1.InfoService"], is_serving=True)
        self.watch = asyncio.create_task(self.calls.watch())
        return port

    def close(self) -> None:
        self.channel.close()
        self.do(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _stop(self) -> None:
        await self.server.stop(0)
        self.watch.cancel()
        await asyncio.wait([self.watch])
        await self.registry.close()
        await asyncio.to_thread(self.audit.close)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = METHODS.get(str(handler_call_details.method))
        if method is None:
            return None
        request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        codecs = {"request_deserializer": request.FromString, "response_serializer": answer.SerializeToString}

        async def once(request: Any, _: object) -> Any:
            self.callers.append(CALLER.get())
            if method.client_streaming:
                async for _message in request:
                    pass
            return answer()

        async def stream(_request: Any, _: object) -> AsyncIterator[Any]:
            self.callers.append(CALLER.get())
            yield answer()
            await asyncio.sleep(60)

        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, **codecs)
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(once, **codecs)
        return grpc.unary_unary_rpc_method_handler(once, **codecs)

    def call(self, method: str, token: str | None = OWNER, content: bytes = b"", timeout: float = 20.0) -> Any:
        """The first answer of an RPC as bytes. Raises grpc.RpcError."""
        call = self.channel.unary_stream(method)(content, metadata=metadata(token), timeout=timeout)
        try:
            return next(call)
        finally:
            call.cancel()

    def lines(self) -> list[str]:
        """Of the audit."""
        path = self.root / "logs" / "audit.jsonl"
        return path.read_text().splitlines() if path.exists() else []


def metadata(token: str | None) -> list[tuple[str, str]]:
    shown = [] if token is None else [("authorization", f"Bearer {token}")]
    return [("penult-protocol", str(PROTOCOL)), ("x-request-id", "r1"), *shown]


def make_tokens(tokens: TokenTable) -> dict[str, str]:
    """One token in each state and role; returns the secrets."""
    made = {}
    for name, role in (("reader", Role.READER), ("runner", Role.RUNNER), ("admin", Role.ADMIN)):
        made[name] = tokens.create(name, user=f"user-{name}", role=role, expires=time.time() + 3600)[1]
    made["revoked"] = tokens.create("revoked", user="user-revoked", role=Role.ADMIN, expires=None)[1]
    tokens.revoke("revoked")
    made["expired"] = tokens.create("expired", user="user-expired", role=Role.ADMIN, expires=time.time() + 0.001)[1]
    made["wrong"] = "pen_" + "x" * 43
    return made


PROBE = health_pb2.HealthCheckRequest(service="penult.v1.InfoService").SerializeToString()
