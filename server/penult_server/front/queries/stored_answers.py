"""Answers that are kept: found in the registry, or computed once for all who ask, and then kept there."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from penult_proto.v1 import spectra_pb2
from penult_server.front.observed.call import answered
from penult_server.front.queries.asked_sets import sets_of
from penult_server.front.queries.digests import query_digest
from penult_server.front.queries.shared_calls import SharedCalls
from penult_server.front.registry_thread import Registry
from penult_server.front.users.rules import check_may_compute
from penult_server.front.workers.asked_queries import AskedQuery, named
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs.traces import span
from penult_server.registry.cards import Given

A = TypeVar("A", bound=Message)


class StoredAnswers:
    """Answers of one service of the compute worker, each with a `digest` and whether it is `reused`."""

    def __init__(self, registry: Registry, compute: ComputeWorkers, stub: Callable[[grpc.aio.Channel], Any]) -> None:
        self._registry = registry
        self._compute = compute
        self._stub = stub
        self._shared: SharedCalls[Message] = SharedCalls()

    async def get(self, rpc: str, request: Message, answer_type: type[A], user: str, query: AskedQuery) -> A:
        """The stored answer of a resolved query, or what the compute worker answers to `rpc`.

        Its kind in the registry is the name of its message, in small letters. Raises ServiceError: NOT_ALLOWED for who
        may not compute, and what the worker raises.
        """
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", answer_type.DESCRIPTOR.name).lower()
        digest = query_digest(kind, request)
        with span("stored"):
            stored = await self._registry.run(self._registry.catalog.result, digest, kind)
        own: Any = answer_type()
        if stored is not None:
            own.ParseFromString(stored)
            own.reused = True
            answered("stored")
            return own
        check_may_compute()

        async def compute_and_keep() -> Message:
            answer: Any = await self._compute.call(
                lambda channel: getattr(self._stub(channel), rpc)(request, metadata=named(digest)),
                sets_of(request),
                _cost_of(request),
            )
            answer.digest = digest
            with span("commit"):
                await self._registry.run(self._registry.catalog.add_result, digest, kind, answer, Given(user=user))
            return answer

        with self._compute.asked.answer(query, digest):
            own.CopyFrom(await self._shared.get(digest, compute_and_keep, query.give_ups.get(digest)))
        return own


def _cost_of(request: Any) -> tuple[str, int]:
    """The set that is asked about, and how often its rows or spectra are gone through."""
    source = getattr(request, "source", None)
    replicates = getattr(request, "replicates", 0)
    if isinstance(request, spectra_pb2.ComputeSpectraRequest) and not request.HasField("replicates"):
        # How many the rows decide: of a size of its own, which is not that of a question without any.
        replicates = 1
    return ("" if source is None else source.feature_set), 1 + replicates
