"""CheckpointService: what is registered, and the files of models that come to be imported."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import checkpoints_pb2 as pb
from penult_proto.v1 import checkpoints_pb2_grpc, runs_pb2
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.jobs.queue import JobQueue
from penult_server.front.registry_thread import Registry
from penult_server.stores.uploads import ExpectedFile, IncomingFiles


class CheckpointServicer(checkpoints_pb2_grpc.CheckpointServiceServicer):
    """Checkpoints of runs, and imported ones."""

    def __init__(self, root: Path, registry: Registry, queue: JobQueue) -> None:
        self._root = root
        self._registry = registry
        self._queue = queue

    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: Context) -> runs_pb2.Checkpoint:
        return await self._registry.run(self._registry.catalog.checkpoint, request.digest)

    async def ListCheckpoints(self, request: pb.ListCheckpointsRequest, context: Context) -> pb.ListCheckpointsResponse:
        return pb.ListCheckpointsResponse(checkpoints=await self._registry.run(self._registry.catalog.checkpoints))

    async def UploadFiles(
        self, request_iterator: AsyncIterator[pb.UploadFilesRequest], context: Context
    ) -> pb.UploadedFiles:
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None or not first.HasField("header"):
            raise ServiceError(ErrorKind.INCOMPLETE_UPLOAD, "an upload begins with its header; got none")
        await self._queue.remove_abandoned_uploads()
        expected = [ExpectedFile(file.name, file.size, file.sha256) for file in first.header.files]
        incoming = await asyncio.to_thread(IncomingFiles, self._root, expected)
        # Entered and left in threads, too: both flush to the disk.
        await asyncio.to_thread(incoming.__enter__)
        try:
            async for request in requests:
                if not request.HasField("data"):
                    raise ServiceError(ErrorKind.INCOMPLETE_UPLOAD, "after the header an upload has data alone")
                await asyncio.to_thread(incoming.write, request.data)
            incoming.finish()
        except BaseException as error:  # a client that has gone cancels this call: nothing of it may stay
            await asyncio.shield(asyncio.to_thread(incoming.__exit__, type(error), error, None))
            raise
        await asyncio.to_thread(incoming.__exit__, None, None, None)
        return pb.UploadedFiles(digest=incoming.digest, size=incoming.size)
