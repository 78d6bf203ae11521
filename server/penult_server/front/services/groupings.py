"""GroupingService: questions completed, answered from what is stored or by the compute worker, and registered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, groupings_pb2_grpc, refits_pb2
from penult_proto.v1 import groupings_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.observed.call import answered
from penult_server.front.queries.asked_sets import sets_of
from penult_server.front.queries.cards import given_of, page_length
from penult_server.front.queries.digests import query_digest
from penult_server.front.queries.grouping_request import (
    complete_discovery,
    complete_score,
    grouping_digest,
    resolve_set,
)
from penult_server.front.queries.shared_calls import SharedCalls
from penult_server.front.registry_thread import Registry
from penult_server.front.users.quotas import Quotas
from penult_server.front.users.rules import check_may_compute
from penult_server.front.workers.asked_queries import named
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs.traces import span
from penult_server.registry.cards import Given
from penult_server.registry.long_text import text_of

Ask = Callable[[Any, tuple[tuple[str, str], ...]], Awaitable[pb.Grouping]]
"""Ask a stub of the compute worker, with metadata."""
BYTES_OF_A_ROW = 24
"""What a grouping takes for each row on the disk, but for what says how far it belongs to each value."""


class GroupingServicer(groupings_pb2_grpc.GroupingServiceServicer):
    """GroupingService."""

    def __init__(self, registry: Registry, compute: ComputeWorkers, quotas: Quotas) -> None:
        self._quotas = quotas
        self._registry = registry
        self._compute = compute
        self._shared: SharedCalls[pb.Grouping] = SharedCalls()

    async def DiscoverGroups(self, request: pb.DiscoverGroupsRequest, context: Context) -> pb.Grouping:
        given = given_of(request.card, context, "grouping")
        request.ClearField("card")
        with span("resolve"):
            feature_set = await self._registry.run(complete_discovery, self._registry.catalog, request)
        digest = await asyncio.to_thread(grouping_digest, request)
        if request.head.WhichOneof("head") == "refit":
            refit = await self._registry.run(self._registry.catalog.refit, request.head.refit)
            request.head.CopyFrom(refits_pb2.HeadReference(explicit=refit.head))
        return await self._answer(
            digest,
            given,
            context,
            lambda stub, metadata: stub.DiscoverGroups(request, metadata=metadata),
            sets_of(request),
            feature_set.n_examples,
        )

    async def AssignGroups(self, request: pb.AssignGroupsRequest, context: Context) -> pb.Grouping:
        given = given_of(request.card, context, "grouping")
        request.ClearField("card")
        grouping, feature_set = await self._registry.run(self._resolve_assignment, request)
        if request.source.feature_set == grouping.feature_set and not grouping.request.source.HasField("rows"):
            digest = grouping.digest
        else:
            digest = query_digest("assigned_grouping", request)
        return await self._answer(
            digest,
            given,
            context,
            lambda stub, metadata: stub.AssignGroups(request, metadata=metadata),
            sets_of(request),
            feature_set.n_examples,
        )

    async def ScoreGrouping(self, request: pb.ScoreGroupingRequest, context: Context) -> pb.GroupingScores:
        with span("resolve"):
            await self._registry.run(complete_score, self._registry.catalog, request)
        return await self._compute.call(
            lambda channel: groupings_pb2_grpc.GroupingServiceStub(channel).ScoreGrouping(request)
        )

    async def GetGrouping(self, request: pb.GetGroupingRequest, context: Context) -> pb.Grouping:
        return await self._registry.run(self._registry.catalog.grouping, request.grouping)

    async def ListGroupings(self, request: pb.ListGroupingsRequest, context: Context) -> pb.ListGroupingsResponse:
        limit = page_length(request.limit if request.HasField("limit") else None)
        found, next_page = await self._registry.run(self._registry.catalog.grouping_page, request, limit)
        return pb.ListGroupingsResponse(groupings=found, next_page=next_page)

    async def ReadGrouping(
        self, request: pb.ReadGroupingRequest, context: Context
    ) -> AsyncIterator[pb.ReadGroupingResponse]:
        grouping = await self._registry.run(self._registry.catalog.grouping, request.grouping)
        asked = pb.ReadGroupingRequest(grouping=grouping.digest)
        messages = self._compute.relay(
            lambda channel: groupings_pb2_grpc.GroupingServiceStub(channel).ReadGrouping(asked)
        )
        async for message in messages:
            if message.HasField("header"):
                message.header.grouping.CopyFrom(grouping)
            yield message

    def _resolve_assignment(self, request: pb.AssignGroupsRequest) -> tuple[pb.Grouping, features_pb2.FeatureSet]:
        """The grouping whose rule is asked for, and the set.

        Raises ServiceError: INVALID_ARGUMENT where it has none, OTHER_CLASSES, UNKNOWN_GROUPING, UNKNOWN_FEATURE_SET.
        """
        catalog = self._registry.catalog
        grouping = catalog.grouping(request.grouping)
        request.grouping = grouping.digest
        feature_set = resolve_set(catalog, request.source)
        if not grouping.has_rule and feature_set.digest != grouping.feature_set:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"grouping {grouping.digest[:12]} ({grouping.method}) has no rule by which other rows are assigned; "
                "it serves every set of the same examples as it is, upload the values of others",
                grouping=grouping.digest,
            )
        if tuple(feature_set.labels.classes) != tuple(grouping.labels.classes):
            raise ServiceError(
                ErrorKind.OTHER_CLASSES,
                f"grouping {grouping.digest[:12]} is of the classes {list(grouping.labels.classes)[:20]}, feature set "
                f"{feature_set.digest[:12]} has {list(feature_set.labels.classes)[:20]}",
                grouping=grouping.digest,
            )
        return grouping, feature_set

    async def _answer(
        self, digest: str, given: Given, context: Context, ask: Ask, sets: Sequence[str], n_rows: int
    ) -> pb.Grouping:
        """The stored grouping of that digest, or a compute worker's; what is given is added to its card."""
        catalog = self._registry.catalog
        with span("stored"):
            stored = await self._registry.run(catalog.stored_grouping, digest, given)
        if stored is not None:
            stored.reused = True
            answered("stored")
            return stored

        check_may_compute()
        await self._quotas.check_bytes(BYTES_OF_A_ROW * n_rows)

        async def compute_and_keep() -> pb.Grouping:
            def begin(channel: grpc.aio.Channel) -> Awaitable[pb.Grouping]:
                return ask(groupings_pb2_grpc.GroupingServiceStub(channel), named(digest))

            found = await self._compute.call(begin, sets)
            # Answered only now: the arrays are on disk, and this commit makes them known.
            text = await asyncio.to_thread(text_of, found)
            with span("commit"):
                return await self._registry.run(catalog.add_grouping, found, Given(user=given.user), text)

        with self._compute.asked.asked(context) as query, self._compute.asked.answer(query, digest):
            shared = await self._shared.get(digest, compute_and_keep, query.give_ups.get(digest))
        described = await self._registry.run(catalog.stored_grouping, digest, given)
        return described if described is not None else shared
