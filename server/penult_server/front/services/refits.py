"""Refits and evaluations: names resolved, presets expanded, answered from the store or by the compute worker."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any, Protocol
from uuid import uuid4

import grpc

from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2, refits_pb2, refits_pb2_grpc
from penult_proto.v1.cards_pb2 import Card
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.observed.call import answered, failed_alone, note_waited
from penult_server.front.queries.asked_sets import sets_of
from penult_server.front.queries.cards import given_of
from penult_server.front.queries.diagnosis.panels import check_panels
from penult_server.front.queries.digests import query_digest
from penult_server.front.queries.feature_sources import refittable
from penult_server.front.queries.refits.request import expand
from penult_server.front.queries.refits.soups import complete_soup
from penult_server.front.queries.shared_calls import SharedCalls
from penult_server.front.queries.stored_answers import describe
from penult_server.front.queries.used_groupings import resolve_grouping
from penult_server.front.registry_thread import Registry
from penult_server.front.users.rules import check_may_compute
from penult_server.front.workers.asked_queries import AskedQuery, named
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs.traces import span
from penult_server.messages import failure_to_proto
from penult_server.registry.cards import Given
from penult_server.registry.catalog import NewResult

MOST_TOGETHER = 8
"""Problems of a call up to which others like it are solved with it in hardly more time: one pass serves all."""


class _Named(Protocol):
    """A message that names a feature set."""

    feature_set: str


class _Grouped(Protocol):
    """A message that may name a grouping, of the rows of a feature set."""

    feature_set: str
    grouping: str


class _Weighed(Protocol):
    """A message that may name the training set of what is scored."""

    train: str


class RefitServicer(refits_pb2_grpc.RefitServiceServicer):
    """RefitService."""

    def __init__(self, registry: Registry, compute: ComputeWorkers) -> None:
        self._registry = registry
        self._compute = compute
        self._shared: SharedCalls[refits_pb2.RefitOutcome] = SharedCalls()

    async def ComputeRefits(
        self, request: refits_pb2.ComputeRefitsRequest, context: Context
    ) -> AsyncIterator[refits_pb2.RefitOutcome]:
        cards = list(request.cards) or [Card()] * len(request.requests)
        if len(cards) != len(request.requests):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"there must be a card for each request or none at all, got {len(cards)} for {len(request.requests)}",
                field="cards",
            )
        pairs = zip(request.requests, cards, strict=True)
        with self._compute.asked.asked(context, len(request.requests), "refits") as query:
            tasks = [asyncio.ensure_future(self._described(one, card, context, query)) for one, card in pairs]
            try:
                for task in tasks:
                    outcome = await task
                    failed_alone(outcome.failure.kind)
                    yield outcome
            finally:
                for task in tasks:
                    task.cancel()

    async def Evaluate(self, request: refits_pb2.EvaluateRequest, context: Context) -> groups_pb2.Metrics:
        await self._resolve_set(request)
        await self._resolve_grouping(request)
        await self._resolve_train(request)
        await self._resolve_head(request)
        check_panels(request)
        if request.calibration:
            request.calibration = await self._scorable(request.calibration)
        with self._compute.asked.asked(context) as query, self._compute.asked.answer(query, uuid4().hex) as key:
            return await self._compute.call(
                lambda channel: refits_pb2_grpc.RefitServiceStub(channel).Evaluate(request, metadata=named(key)),
                sets_of(request),
                (request.feature_set, 1),
            )

    async def EvaluateMixtures(
        self, request: refits_pb2.EvaluateMixturesRequest, context: Context
    ) -> refits_pb2.EvaluateMixturesResponse:
        await self._resolve_set(request)
        await self._resolve_grouping(request)
        await self._resolve_train(request)
        if not request.heads:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "there is no head to mix: give at least one")
        for head in request.heads:
            await self._resolve_head(head)
        with self._compute.asked.asked(context) as query, self._compute.asked.answer(query, uuid4().hex) as key:
            return await self._compute.call(
                lambda channel: refits_pb2_grpc.RefitServiceStub(channel).EvaluateMixtures(
                    request, metadata=named(key)
                ),
                sets_of(request),
                (request.feature_set, len(request.heads)),
            )

    async def SoupHeads(self, request: refits_pb2.SoupHeadsRequest, context: Context) -> refits_pb2.HeadSoup:
        await self._resolve_set(request)
        complete_soup(request)
        for head in request.heads:
            await self._resolve_head(head)
        with self._compute.asked.asked(context) as query, self._compute.asked.answer(query, uuid4().hex) as key:
            return await self._compute.call(
                lambda channel: refits_pb2_grpc.RefitServiceStub(channel).SoupHeads(request, metadata=named(key)),
                sets_of(request),
                (request.feature_set, len(request.heads)),
            )

    async def _resolve_set(self, named: _Named) -> None:
        named.feature_set = await self._scorable(named.feature_set)

    async def _scorable(self, name: str) -> str:
        """Digest of a set that heads are applied to."""
        return refittable(await self._registry.run(self._registry.catalog.bare_feature_set, name)).digest

    async def _resolve_grouping(self, asked: _Grouped, feature_set: str = "") -> None:
        """In place, the digest of the grouping of the rows of a set, which may be named apart."""
        if asked.grouping:
            catalog, run = self._registry.catalog, self._registry.run
            rows = await run(catalog.bare_feature_set, asked.feature_set or feature_set)
            asked.grouping = (await run(resolve_grouping, catalog, asked.grouping, rows)).digest

    async def _resolve_train(self, weighed: _Weighed) -> None:
        if weighed.train:
            weighed.train = await self._digest(weighed.train)

    async def _digest(self, name: str) -> str:
        return (await self._registry.run(self._registry.catalog.bare_feature_set, name)).digest

    async def _resolve_head(self, message: refits_pb2.EvaluateRequest | refits_pb2.HeadReference) -> None:
        """A stored refit becomes its head, a checkpoint its digest."""
        catalog, run = self._registry.catalog, self._registry.run
        match message.WhichOneof("head"):
            case "refit":
                message.explicit.CopyFrom(await self._stored_head(message.refit))
            case "checkpoint":
                message.checkpoint = (await run(catalog.checkpoint, message.checkpoint)).digest
            case "explicit":
                pass
            case None:
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT,
                    "there is no head to evaluate: give a refit, a checkpoint or weights",
                )

    async def _stored_head(self, name: str) -> refits_pb2.Head:
        return (await self._registry.run(self._registry.catalog.refit, name)).head

    async def _described(
        self, request: refits_pb2.RefitRequest, card: Card, context: Context, query: AskedQuery
    ) -> refits_pb2.RefitOutcome:
        """One answer with its card, after what the request says was added to that."""
        try:
            given = given_of(card, context, "result")
            outcome = refits_pb2.RefitOutcome()
            outcome.CopyFrom(await self._outcome(request, given, query))
            refit = outcome.refit
            if outcome.HasField("refit") and given.describes and not refit.reused:
                described = self._registry.catalog.describe_result
                describe(refit, *await self._registry.run(described, refit.digest, given))
            return outcome
        except ServiceError as error:
            if error.kind is ErrorKind.BUSY:
                raise  # of the whole call, which is asked again as a whole
            return failure_to_proto(error)
        finally:
            query.answered += 1

    async def _outcome(
        self, request: refits_pb2.RefitRequest, given: Given, query: AskedQuery
    ) -> refits_pb2.RefitOutcome:
        """One answer with its card, to which what is given was added if it was stored; an impossible request fails
        alone."""
        try:
            with span("resolve"):
                await self._resolve(request)
            digest = query_digest("refit", request)
            with span("stored"):
                found = await self._registry.run(self._registry.catalog.stored_result, digest, "refit", given)
            if found is not None:
                stored, card, notes = found
                refit = refits_pb2.Refit.FromString(stored)
                refit.reused = True
                describe(refit, card, notes)
                answered("stored")
                return refits_pb2.RefitOutcome(refit=refit)
            check_may_compute()
            with self._compute.asked.answer(query, digest):
                give_up = query.give_ups.get(digest)
                return await self._shared.get(
                    digest, lambda: self._compute_and_keep(digest, request, query.n_answers, given.user), give_up
                )
        except ServiceError as error:
            if error.kind is ErrorKind.BUSY:
                raise  # of the whole call, which is asked again as a whole
            return failure_to_proto(error)

    async def _resolve(self, request: refits_pb2.RefitRequest) -> None:
        """Complete a request: every name a digest, every default filled in, heads of other refits put in place."""
        expand(request)
        stored = await self._registry.run(self._registry.catalog.bare_feature_set, request.feature_set)
        request.feature_set = refittable(stored).digest
        for name, feature_set in list(request.evaluate.items()):
            request.evaluate[name] = await self._scorable(feature_set)
        if request.train and not request.evaluate:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                "train= gives the weights for averages of what is evaluated, and nothing is: "
                "give evaluate=, or leave it out",
                argument="train",
            )
        await self._resolve_train(request)
        for scaling in (request.scaling, request.select.scaling):
            if scaling.kind == refits_pb2.SCALING_KIND_SET:
                await self._resolve_set(scaling)
        if request.select.WhichOneof("on") == "feature_set":
            await self._resolve_set(request.select)
        await self._resolve_grouping(request)
        await self._resolve_grouping(request.select, request.feature_set)
        if request.rows.kind == refits_pb2.ROWS_KIND_TOP_DISAGREEMENT:
            request.rows.other = await self._digest(request.rows.other)
        for source in (request.center, request.path.start, request.weights.detector.start):
            if source.kind == refits_pb2.HEAD_KIND_REFIT:
                await self._resolve_source(source)

    async def _resolve_source(self, source: refits_pb2.HeadSource) -> None:
        """In place, the digest and the head of a stored refit."""
        try:
            refit = await self._registry.run(self._registry.catalog.refit, source.refit)
        except ServiceError as error:
            if error.kind != ErrorKind.UNKNOWN_RESULT:
                raise
            said = "a head to penalise towards or to start from is 'zero', 'stored', 'random', or a stored refit"
            raise ServiceError(error.kind, f"{said}: {error.message}", name=source.refit) from error
        source.refit = refit.digest
        source.head.CopyFrom(refit.head)

    async def _compute_and_keep(
        self, digest: str, request: refits_pb2.RefitRequest, n_together: int, user: str
    ) -> refits_pb2.RefitOutcome:
        batch = refits_pb2.ComputeRefitsRequest(requests=[request])
        size = n_together * max(request.repeats, 1) * math.prod(max(len(axis.values), 1) for axis in request.grid)
        outcome = await self._compute.call(
            lambda channel: _only_outcome(channel, batch, digest),
            sets_of(request),
            (request.feature_set, size),
            is_together=size <= MOST_TOGETHER,
        )
        if outcome.HasField("refit"):
            outcome.refit.digest = digest
            with span("commit"):
                card = await self._registry.keep(NewResult(digest, "refit", outcome.refit, Given(user=user)))
            outcome.refit.card.CopyFrom(card)
        else:
            self._compute.note(outcome.failure.kind, outcome.failure.metadata)
        return outcome


async def _only_outcome(
    channel: grpc.aio.Channel, request: refits_pb2.ComputeRefitsRequest, digest: str
) -> refits_pb2.RefitOutcome:
    """The outcome of one request; the call is cancelled with its caller."""
    call: Any = refits_pb2_grpc.RefitServiceStub(channel).ComputeRefits(request, metadata=named(digest))
    try:
        async for outcome in call:
            await note_waited(call)
            return outcome
    finally:
        call.cancel()
    raise ServiceError(ErrorKind.INTERNAL, "the compute worker ended a refit without an outcome")
