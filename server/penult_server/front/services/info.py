"""InfoService: what this server is, and who is attached to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version

from penult_proto import PROTOCOL
from penult_proto.limits import CHUNK_BYTES, MESSAGE_BYTES
from penult_proto.v1 import info_pb2, info_pb2_grpc
from penult_server.backbones.catalog import packaged_backbones
from penult_server.front.caller import CALLER
from penult_server.front.guard import Context
from penult_server.front.lifetime import Lifetime
from penult_server.front.registry_thread import Registry
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.settings import Settings

ATTACH_HEARTBEAT = 5.0
Resume = Callable[[], None]


class InfoServicer(info_pb2_grpc.InfoServiceServicer):
    """Answers from memory and the registry's counts."""

    def __init__(
        self, settings: Settings, registry: Registry, compute: ComputeWorkers, lifetime: Lifetime, resume: Resume
    ) -> None:
        """`resume` is called when a client attaches that does not only look."""
        self._settings = settings
        self._registry = registry
        self._compute = compute
        self._lifetime = lifetime
        self._resume = resume
        # What runs here is of the version that was started, whatever is installed meanwhile.
        self._version = version("penult")

    async def GetInfo(self, request: info_pb2.GetInfoRequest, context: Context) -> info_pb2.Info:
        counts = await self._registry.run(self._registry.catalog.counts)
        backbones = [
            info_pb2.Backbone(name=one.name, library=one.library, weights=one.weights) for one in packaged_backbones()
        ]
        caller = CALLER.get()
        return info_pb2.Info(
            version=self._version,
            protocol=PROTOCOL,
            device=self._compute.device,
            array_backend=self._compute.array_backend,
            max_message_bytes=MESSAGE_BYTES,
            chunk_bytes=CHUNK_BYTES,
            max_queued_jobs=self._settings.max_queued_jobs,
            max_running_jobs=self._settings.max_running_jobs,
            packaged_backbones=backbones,
            n_feature_sets=counts["feature_set"],
            n_checkpoints=counts["checkpoint"],
            n_results=counts["result"],
            n_groupings=counts["grouping"],
            root=str(self._settings.root),
            user=caller.user,
            role=caller.role.value,
            compute_workers=[
                info_pb2.ComputeWorker(device=one.device, is_up=one.is_up) for one in self._compute.workers
            ],
        )

    async def Attach(self, request: info_pb2.AttachRequest, context: Context) -> AsyncIterator[info_pb2.AttachEvent]:
        with self._lifetime.attached():
            if not request.look:
                self._resume()
            while True:
                yield info_pb2.AttachEvent()
                await asyncio.sleep(ATTACH_HEARTBEAT)
