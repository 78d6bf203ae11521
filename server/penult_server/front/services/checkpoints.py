"""CheckpointService: what is registered, its stored files, and the files of models that come to be imported."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import arrays_pb2, checkpoints_pb2_grpc, runs_pb2
from penult_proto.v1 import checkpoints_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.jobs.queue import JobQueue
from penult_server.front.queries.cards import page_length
from penult_server.front.registry_thread import Registry
from penult_server.stores.checkpoint_stream import CheckpointStream
from penult_server.stores.checkpoints import manifest_text
from penult_server.stores.places.opening import store_of
from penult_server.stores.uploads import FOLDER as UPLOADS
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

    async def UploadFiles(
        self, request_iterator: AsyncIterator[pb.UploadFilesRequest], context: Context
    ) -> pb.UploadedFiles:
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None or not first.HasField("header"):
            raise ServiceError(ErrorKind.INCOMPLETE_UPLOAD, "an upload begins with its header; got none")
        await self._queue.quotas.check_bytes(sum(file.size for file in first.header.files))
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
        await asyncio.to_thread(store_of(self._root).keep, UPLOADS, incoming.digest)
        return pb.UploadedFiles(digest=incoming.digest, size=incoming.size)


def _header(checkpoint: runs_pb2.Checkpoint, stream: CheckpointStream) -> pb.CheckpointHeader:
    files = stream.manifest.files.items()
    return pb.CheckpointHeader(
        checkpoint=checkpoint,
        manifest=manifest_text(stream.manifest),
        files=[pb.StoredFile(name=name, size=stream.sizes[name], sha256=digest) for name, digest in files],
        weights_header=stream.weights_header,
    )
