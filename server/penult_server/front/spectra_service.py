"""SpectraService: names resolved, defaults filled in, answered from the store or by the compute worker."""

import math
from typing import Any

import grpc

from penult_proto.errors import ErrorKind
from penult_proto.v1 import spectra_pb2, spectra_pb2_grpc
from penult_server.errors import ServiceError
from penult_server.front.compute_process import ComputeProcess
from penult_server.front.feature_sources import resolve_source
from penult_server.front.queries import query_digest
from penult_server.front.registry_thread import Registry
from penult_server.front.shared_calls import SharedCalls

DEFAULT_REPLICATES = 200
DEFAULT_CONFIDENCE = 0.95
MOST_REPLICATES = 100_000
Context = grpc.aio.ServicerContext[Any, Any]


class SpectraServicer(spectra_pb2_grpc.SpectraServiceServicer):
    """SpectraService."""

    def __init__(self, registry: Registry, compute: ComputeProcess) -> None:
        self._registry = registry
        self._compute = compute
        self._shared: SharedCalls[spectra_pb2.Spectra] = SharedCalls()

    async def ComputeSpectra(self, request: spectra_pb2.ComputeSpectraRequest, context: Context) -> spectra_pb2.Spectra:
        feature_set = await self._registry.run(resolve_source, self._registry.catalog, request.source)
        fill_in(request, feature_set.n_features)
        digest = query_digest("spectra", request)
        stored = await self._registry.run(self._registry.catalog.result, digest, "spectra")
        if stored is not None:
            spectra = spectra_pb2.Spectra.FromString(stored)
            spectra.reused = True
            return spectra
        return await self._shared.get(digest, lambda: self._compute_and_keep(digest, request))

    async def _compute_and_keep(self, digest: str, request: spectra_pb2.ComputeSpectraRequest) -> spectra_pb2.Spectra:
        spectra = await self._compute.call(
            lambda channel: spectra_pb2_grpc.SpectraServiceStub(channel).ComputeSpectra(request)
        )
        spectra.digest = digest
        await self._registry.run(self._registry.catalog.add_result, digest, "spectra", spectra.SerializeToString())
        return spectra


def fill_in(request: spectra_pb2.ComputeSpectraRequest, n_features: int) -> None:
    """Fill in, in place, everything that the request left out, and check what it said.

    Raises ServiceError (INVALID_ARGUMENT).
    """
    request.by = request.by or spectra_pb2.SPECTRA_BY_GROUP
    request.center = request.center if request.HasField("center") else True
    request.replicates = request.replicates if request.HasField("replicates") else DEFAULT_REPLICATES
    request.confidence = request.confidence or DEFAULT_CONFIDENCE
    _check(request, n_features)
    request.top_k = min(request.top_k or n_features, n_features)
    if not request.replicates:
        # Neither changes an answer without replicates: one query, one stored answer.
        request.confidence, request.seed = DEFAULT_CONFIDENCE, 0


def _check(request: spectra_pb2.ComputeSpectraRequest, n_features: int) -> None:
    kinds = (spectra_pb2.SPECTRA_BY_GROUP, spectra_pb2.SPECTRA_BY_CLASS)
    problems = [
        ("by", request.by in kinds, "group or class", request.by),
        ("top_k", request.top_k >= 0, f"0 (all {n_features} eigenvalues) or how many to return", request.top_k),
        (
            "correction",
            request.correction in (0, 1),
            "0 (divisor n, the paper) or 1 (divisor n - 1)",
            request.correction,
        ),
        (
            "replicates",
            0 <= request.replicates <= MOST_REPLICATES,
            f"0 (none) .. {MOST_REPLICATES}",
            request.replicates,
        ),
        (
            "confidence",
            math.isfinite(request.confidence) and 0 < request.confidence < 1,
            "between 0 and 1, such as 0.95",
            request.confidence,
        ),
    ]
    for name, is_legal, expected, got in problems:
        if not is_legal:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{name} must be {expected}, got {got}", field=name)
