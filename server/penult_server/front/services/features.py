"""FeatureService: the registry's part is done here, the bytes are passed to and from the compute worker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import grpc

from penult_proto.errors import ErrorKind
from penult_proto.upload_pieces import Piece, UploadMessage, upload_call
from penult_proto.v1 import features_pb2 as pb
from penult_proto.v1 import features_pb2_grpc
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.queries.cards import checked, page_length, user_of
from penult_server.front.registry_thread import Registry
from penult_server.front.users.quotas import Quotas
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.registry.long_text import text_of

T = TypeVar("T")


class FeatureServicer(features_pb2_grpc.FeatureServiceServicer):
    """Upload, read, list, get."""

    def __init__(self, registry: Registry, compute: ComputeWorkers, quotas: Quotas) -> None:
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

        refused: list[ServiceError] = []
        is_told = asyncio.Event()
        telling: list[asyncio.Task[None]] = []

        async def messages() -> AsyncIterator[UploadMessage]:
            yield first
            try:
                async for message in until(is_told, request_iterator):
                    yield message
            except ServiceError as error:
                # The worker is told that the stream ends: for one that fails, gRPC would wait until the deadline.
                refused.append(error)

        def begin(channel: grpc.aio.Channel) -> Any:
            call: Any = upload_call(channel)(messages())
            telling.append(asyncio.ensure_future(told(call, is_told)))
            return call

        try:
            stored = await self._compute.pass_on(begin)
        finally:
            for task in telling:
                task.cancel()
            if refused:
                raise refused[0]
        # Answered only now: the arrays are on disk and verified, and this commit makes them known.
        text = await asyncio.to_thread(text_of, stored)
        return await self._registry.run(self._registry.catalog.add_feature_set, stored, given, text)

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


async def told(call: "grpc.aio.Call", is_told: asyncio.Event) -> None:
    """Set the event once the worker has said anything of a call."""
    try:
        await call.initial_metadata()
    finally:
        is_told.set()


async def until(is_over: asyncio.Event, messages: AsyncIterator[T]) -> AsyncIterator[T]:
    """The same messages, up to the event, also while the next one does not come."""
    iterator, over = aiter(messages), asyncio.ensure_future(is_over.wait())
    following: asyncio.Future[T | None] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(iterator, None))
            await asyncio.wait({following, over}, return_when=asyncio.FIRST_COMPLETED)
            if over.done() or (message := following.result()) is None:
                return
            yield message
    finally:
        over.cancel()
        if following is not None:
            following.cancel()
