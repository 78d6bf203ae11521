"""The standard health service (grpc.health.v1), so that probes work unasked."""

# The health package has no types for its asyncio half.
# pyright: reportUnknownMemberType=false, reportAttributeAccessIssue=false, reportUnknownArgumentType=false

from collections.abc import Iterable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE_NAME: str = health.SERVICE_NAME


STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


class Health:
    """Which services answer at present."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self._serving: dict[str, bool] = {}

    def add_to(self, server: grpc.aio.Server) -> None:
        """Let the server answer probes."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, services: Iterable[str], *, is_serving: bool) -> None:
        """Say of each of the services whether it answers; and of the server, "", whether all of them do."""
        self._serving |= dict.fromkeys(services, is_serving)
        for service, answers in (*self._serving.items(), ("", all(self._serving.values()))):
            await self._servicer.set(service, STATUS[answers])

    async def leave(self) -> None:
        """Say of all services that they do not answer any more."""
        await self._servicer.enter_graceful_shutdown()
