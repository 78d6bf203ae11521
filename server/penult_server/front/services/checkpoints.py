"""CheckpointService: what is registered."""

from penult_proto.v1 import checkpoints_pb2 as pb
from penult_proto.v1 import checkpoints_pb2_grpc, runs_pb2
from penult_server.front.guard import Context
from penult_server.front.queries.cards import page_length
from penult_server.front.registry_thread import Registry


class CheckpointServicer(checkpoints_pb2_grpc.CheckpointServiceServicer):
    """Checkpoints of runs."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: Context) -> runs_pb2.Checkpoint:
        return await self._registry.run(self._registry.catalog.checkpoint, request.digest)

    async def ListCheckpoints(self, request: pb.ListCheckpointsRequest, context: Context) -> pb.ListCheckpointsResponse:
        limit = page_length(request.limit if request.HasField("limit") else None)
        found, next_page = await self._registry.run(self._registry.catalog.checkpoint_page, request, limit)
        return pb.ListCheckpointsResponse(checkpoints=found, next_page=next_page)
