"""CheckpointService: what is registered, and the stored files themselves."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from penult_proto.v1 import arrays_pb2, checkpoints_pb2_grpc, runs_pb2
from penult_proto.v1 import checkpoints_pb2 as pb
from penult_server.front.guard import Context
from penult_server.front.queries.cards import page_length
from penult_server.front.registry_thread import Registry
from penult_server.stores.checkpoint_stream import CheckpointStream
from penult_server.stores.checkpoints import manifest_text


class CheckpointServicer(checkpoints_pb2_grpc.CheckpointServiceServicer):
    """Checkpoints of runs."""

    def __init__(self, root: Path, registry: Registry) -> None:
        self._root = root
        self._registry = registry

    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: Context) -> runs_pb2.Checkpoint:
        return await self._registry.run(self._registry.catalog.checkpoint, request.digest)

    async def ListCheckpoints(self, request: pb.ListCheckpointsRequest, context: Context) -> pb.ListCheckpointsResponse:
        limit = page_length(request.limit if request.HasField("limit") else None)
        found, next_page = await self._registry.run(self._registry.catalog.checkpoint_page, request, limit)
        return pb.ListCheckpointsResponse(checkpoints=found, next_page=next_page)

    async def ReadCheckpoint(
        self, request: pb.ReadCheckpointRequest, context: Context
    ) -> AsyncIterator[pb.ReadCheckpointResponse]:
        checkpoint = await self._registry.run(self._registry.catalog.checkpoint, request.digest)
        stream = await asyncio.to_thread(CheckpointStream, self._root, checkpoint.digest)
        yield pb.ReadCheckpointResponse(header=_header(checkpoint, stream))
        pieces = stream.pieces()
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            chunk = arrays_pb2.ArrayChunk(name=piece.name, offset=piece.offset, data=piece.content)
            yield pb.ReadCheckpointResponse(chunk=chunk)


def _header(checkpoint: runs_pb2.Checkpoint, stream: CheckpointStream) -> pb.CheckpointHeader:
    files = stream.manifest.files.items()
    return pb.CheckpointHeader(
        checkpoint=checkpoint,
        manifest=manifest_text(stream.manifest),
        files=[pb.StoredFile(name=name, size=stream.sizes[name], sha256=digest) for name, digest in files],
        weights_header=stream.weights_header,
    )
