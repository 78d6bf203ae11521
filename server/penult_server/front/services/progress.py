"""ProgressService: how far queries are, as the compute worker tells the front."""

from collections.abc import AsyncIterator

from penult_proto.v1 import jobs_pb2, progress_pb2, progress_pb2_grpc
from penult_server.front.guard import Context
from penult_server.front.workers.asked_queries import AskedQueries


class ProgressServicer(progress_pb2_grpc.ProgressServiceServicer):
    """ProgressService."""

    def __init__(self, asked: AskedQueries) -> None:
        self._asked = asked

    async def WatchQuery(
        self, request: progress_pb2.WatchQueryRequest, context: Context
    ) -> AsyncIterator[jobs_pb2.Progress]:
        async for progress in self._asked.watch(request.id):
            yield progress
