"""Refits: names resolved, presets expanded, answered from the store or by the compute worker."""

import asyncio
import hashlib
import json
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2, refits_pb2, refits_pb2_grpc
from penult_server.errors import ServiceError
from penult_server.front.compute_process import ComputeProcess
from penult_server.front.feature_sources import refittable
from penult_server.front.presets import expand
from penult_server.front.registry_thread import Registry
from penult_server.front.shared_calls import SharedCalls

QUERY_VERSION = 2
"""Raised when the same query would be answered otherwise than before."""
Context = grpc.aio.ServicerContext[Any, Any]


def query_digest(kind: str, request: Message) -> str:
    """Identity of a query whose names are resolved and whose defaults are filled in."""
    content = json.dumps([QUERY_VERSION, kind, MessageToDict(request)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


class RefitServicer(refits_pb2_grpc.RefitServiceServicer):
    """RefitService."""

    def __init__(self, registry: Registry, compute: ComputeProcess) -> None:
        self._registry = registry
        self._compute = compute
        self._shared: SharedCalls[refits_pb2.RefitOutcome] = SharedCalls()

    async def ComputeRefits(
        self, request: refits_pb2.ComputeRefitsRequest, context: Context
    ) -> refits_pb2.ComputeRefitsResponse:
        outcomes = await asyncio.gather(*(self._outcome(one) for one in request.requests))
        return refits_pb2.ComputeRefitsResponse(outcomes=outcomes)

    async def Evaluate(self, request: refits_pb2.EvaluateRequest, context: Context) -> groups_pb2.Metrics:
        catalog, run = self._registry.catalog, self._registry.run
        request.feature_set = (await run(catalog.feature_set, request.feature_set)).digest
        match request.WhichOneof("head"):
            case "refit":
                stored = await run(catalog.result_by_prefix, request.refit, "refit")
                request.explicit.CopyFrom(refits_pb2.Refit.FromString(stored).head)
            case "checkpoint":
                request.checkpoint = (await run(catalog.checkpoint, request.checkpoint)).digest
            case "explicit":
                pass
            case None:
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT,
                    "there is no head to evaluate: give a refit, a checkpoint or weights",
                )
        return await self._compute.call(lambda channel: refits_pb2_grpc.RefitServiceStub(channel).Evaluate(request))

    async def _outcome(self, request: refits_pb2.RefitRequest) -> refits_pb2.RefitOutcome:
        """One answer; an impossible request fails alone."""
        try:
            await self._resolve(request)
            digest = query_digest("refit", request)
            stored = await self._registry.run(self._registry.catalog.result, digest, "refit")
            if stored is not None:
                refit = refits_pb2.Refit.FromString(stored)
                refit.reused = True
                return refits_pb2.RefitOutcome(refit=refit)
            return await self._shared.get(digest, lambda: self._compute_and_keep(digest, request))
        except ServiceError as error:
            failure = refits_pb2.RefitFailure(kind=error.kind, message=error.message, metadata=error.metadata)
            return refits_pb2.RefitOutcome(failure=failure)

    async def _resolve(self, request: refits_pb2.RefitRequest) -> None:
        catalog, run = self._registry.catalog, self._registry.run
        request.feature_set = refittable(await run(catalog.feature_set, request.feature_set)).digest
        for name, feature_set in list(request.evaluate.items()):
            request.evaluate[name] = (await run(catalog.feature_set, feature_set)).digest
        expand(request)

    async def _compute_and_keep(self, digest: str, request: refits_pb2.RefitRequest) -> refits_pb2.RefitOutcome:
        batch = refits_pb2.ComputeRefitsRequest(requests=[request])
        response = await self._compute.call(
            lambda channel: refits_pb2_grpc.RefitServiceStub(channel).ComputeRefits(batch)
        )
        outcome = response.outcomes[0]
        if outcome.HasField("refit"):
            outcome.refit.digest = digest
            message = outcome.refit.SerializeToString()
            await self._registry.run(self._registry.catalog.add_result, digest, "refit", message)
        else:
            self._compute.note(outcome.failure.kind, outcome.failure.metadata)
        return outcome
