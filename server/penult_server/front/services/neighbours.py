"""NeighbourService: neighbours as a stream, and what is read off them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from penult_proto.v1 import neighbours_pb2 as pb
from penult_proto.v1 import neighbours_pb2_grpc
from penult_server.front.guard import Context
from penult_server.front.observed.call import answered
from penult_server.front.queries.asked_sets import sets_of
from penult_server.front.queries.digests import query_digest
from penult_server.front.queries.neighbours.sources import resolve_neighbours
from penult_server.front.registry_thread import Registry
from penult_server.front.services.neighbour_answers import NeighbourAnswers
from penult_server.front.users.rules import check_may_compute
from penult_server.front.workers.asked_queries import named
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs.traces import span
from penult_server.questions.neighbours import key_of
from penult_server.stores.neighbours import STORED_NEIGHBOURS, is_stored


class NeighbourServicer(NeighbourAnswers):
    """NeighbourService."""

    def __init__(self, root: Path, registry: Registry, compute: ComputeWorkers) -> None:
        super().__init__(registry, compute)
        self._root = root

    async def ReadNeighbours(
        self, request: pb.NeighbourQuery, context: Context
    ) -> AsyncIterator[pb.ReadNeighboursResponse]:
        with span("resolve"):
            query = await self._registry.run(resolve_neighbours, self._registry.catalog, request)
        digest = query_digest("neighbours", query)
        key = key_of(query)
        stored = key and query.k <= STORED_NEIGHBOURS and await asyncio.to_thread(is_stored, self._root, key)
        if not stored:
            check_may_compute()
        with self._compute.asked.asked(context) as asked, self._compute.asked.answer(asked, uuid4().hex) as work:
            messages = self._compute.relay(
                lambda channel: neighbours_pb2_grpc.NeighbourServiceStub(channel).ReadNeighbours(
                    query, metadata=named(work)
                ),
                sets_of(query),
                computes=not stored,
            )
            async for message in messages:
                if message.HasField("header"):
                    answered("stored" if stored else "computed")
                    message.header.digest = digest
                yield message
