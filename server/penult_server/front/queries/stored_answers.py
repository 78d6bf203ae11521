"""Answers that are kept: found in the registry, or computed once for all who ask, and then kept there."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from penult_proto.v1 import spectra_pb2
from penult_proto.v1.cards_pb2 import Card
from penult_server.front.observed.call import answered
from penult_server.front.queries.asked_sets import sets_of
from penult_server.front.queries.digests import query_digest
from penult_server.front.queries.shared_calls import SharedCalls
from penult_server.front.registry_thread import Registry
from penult_server.front.users.rules import check_may_compute
from penult_server.front.workers.asked_queries import AskedQuery, named
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs.traces import span
from penult_server.notes import Note, notes_to_proto
from penult_server.registry.cards import Given
from penult_server.registry.catalog import NewResult

A = TypeVar("A", bound=Message)


class StoredAnswers:
    """Answers of one service of the compute worker, each with a `digest` and whether it is `reused`."""

    def __init__(self, registry: Registry, compute: ComputeWorkers, stub: Callable[[grpc.aio.Channel], Any]) -> None:
        self._registry = registry
        self._compute = compute
        self._stub = stub
        self._shared: SharedCalls[Message] = SharedCalls()

    async def get(self, rpc: str, request: Message, answer_type: type[A], given: Given, query: AskedQuery) -> A:
        """The stored answer of a resolved query, or what the compute worker answers to `rpc`; with its card, to which
        what is given was added, whoever computed it, where answers of its type have one.

        Its kind in the registry is the name of its message, in small letters. Raises ServiceError: NOT_ALLOWED for who
        may not compute, and what the worker raises.
        """
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", answer_type.DESCRIPTOR.name).lower()
        digest = query_digest(kind, request)
        with span("stored"):
            found = await self._registry.run(self._registry.catalog.stored_result, digest, kind, given)
        own: Any = answer_type()
        has_card = "card" in answer_type.DESCRIPTOR.fields_by_name
        if found is not None:
            stored, card, notes = found
            own.ParseFromString(stored)
            own.reused = True
            if has_card:
                describe(own, card, notes)
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
                card = await self._registry.keep(NewResult(digest, kind, answer, Given(user=given.user)))
            if has_card:
                answer.card.CopyFrom(card)
            return answer

        with self._compute.asked.answer(query, digest):
            own.CopyFrom(await self._shared.get(digest, compute_and_keep, query.give_ups.get(digest)))
        if has_card and given.describes:
            describe(own, *await self._registry.run(self._registry.catalog.describe_result, digest, given))
        return own


def describe(answer: Any, card: Card, notes: Sequence[Note]) -> None:
    """Write a card into its answer, and what there is to say of it."""
    answer.card.CopyFrom(card)
    answer.notes.extend(notes_to_proto(notes))


def _cost_of(request: Any) -> tuple[str, int]:
    """The set that is asked about, and how often its rows or spectra are gone through."""
    source = getattr(request, "source", None)
    replicates = getattr(request, "replicates", 0)
    if isinstance(request, spectra_pb2.ComputeSpectraRequest) and not request.HasField("replicates"):
        # How many the rows decide: of a size of its own, which is not that of a question without any.
        replicates = 1
    return ("" if source is None else source.feature_set), 1 + replicates
