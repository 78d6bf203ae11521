"""FeatureService: the registry's part is done here, the bytes are passed to and from the compute worker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc.aio

from penult_proto.errors import ErrorKind
from penult_proto.pieces.uploads import Piece, UploadMessage
from penult_proto.v1 import features_pb2 as pb
from penult_proto.v1 import features_pb2_grpc
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.queries.cards import checked, page_length, user_of
from penult_server.front.registry_thread import Registry
from penult_server.front.uploads import own_socket, upload_beside, upload_streamed, upload_through
from penult_server.front.users.quotas import Quotas
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.registry.long_text import text_of
from penult_server.settings import Settings


class FeatureServicer(features_pb2_grpc.FeatureServiceServicer):
    """Upload, read, list, get."""

    def __init__(self, settings: Settings, registry: Registry, compute: ComputeWorkers, quotas: Quotas) -> None:
        self._root = settings.root
        self._idle_seconds = settings.idle_seconds
        self._quotas = quotas
        self._registry = registry
        self._compute = compute

    async def UploadFeatures(self, request_iterator: AsyncIterator[UploadMessage], context: Context) -> pb.FeatureSet:
        first = await anext(aiter(request_iterator), None)
        if first is None or isinstance(first, Piece) or not first.HasField("header"):
            raise ServiceError(ErrorKind.INCOMPLETE_UPLOAD, "an upload begins with its header; got none")
        header = first.header
        await self._quotas.check_bytes(sum(array.total_bytes for array in header.arrays))
        user = user_of(context)
        given = checked("feature set", user=user, name=header.name, tags=header.tags, note=header.note)

        stored = await self._compute.pass_on(self._sending(header, request_iterator))
        # Answered only now: the arrays are on disk and verified, and this commit makes them known.
        text = await asyncio.to_thread(text_of, stored)
        return await self._registry.run(self._registry.catalog.add_feature_set, stored, given, text)

    def _sending(
        self, header: pb.UploadHeader, pieces: AsyncIterator[UploadMessage]
    ) -> Callable[[grpc.aio.Channel], Awaitable[pb.FeatureSet]]:
        """How the arrays get to a worker. Raises ServiceError (INVALID_ARGUMENT) for a socket that it cannot read."""
        ours = self._compute.new_socket()
        if header.beside:
            theirs = own_socket(self._root, header.beside, is_near=ours is not None)
            return lambda channel: upload_beside(channel, header, theirs, self._idle_seconds)
        if ours is None:
            return lambda channel: upload_streamed(channel, header, pieces)
        return lambda channel: upload_through(channel, header, pieces, ours, self._idle_seconds)

    async def ReadFeatures(
        self, request: pb.ReadFeaturesRequest, context: Context
    ) -> AsyncIterator[pb.ReadFeaturesResponse]:
        feature_set = await self._registry.run(self._registry.catalog.feature_set, request.feature_set)
        request.feature_set = feature_set.digest
        messages = self._compute.relay(
            lambda channel: features_pb2_grpc.FeatureServiceStub(channel).ReadFeatures(request)
        )
        async for message in messages:
            if message.HasField("header"):
                message.header.feature_set.CopyFrom(feature_set)
            yield message

    async def GetFeatureSet(self, request: pb.GetFeatureSetRequest, context: Context) -> pb.FeatureSet:
        return await self._registry.run(self._registry.catalog.feature_set, request.feature_set)

    async def ListFeatureSets(self, request: pb.ListFeatureSetsRequest, context: Context) -> pb.ListFeatureSetsResponse:
        limit = page_length(request.limit if request.HasField("limit") else None)
        found, next_page = await self._registry.run(self._registry.catalog.feature_set_page, request, limit)
        return pb.ListFeatureSetsResponse(feature_sets=found, next_page=next_page)
