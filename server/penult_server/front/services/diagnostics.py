"""DiagnosticService: names resolved, families expanded, answered from the store or by the compute worker."""

from penult_kernels.diagnostics.registry import DEFINITIONS
from penult_kernels.diagnostics.shared.context import DEFAULTS
from penult_kernels.panels.registry import PANELS
from penult_proto.v1 import diagnostics_pb2 as pb
from penult_proto.v1 import diagnostics_pb2_grpc, features_pb2, influence_pb2, spectra_pb2
from penult_server.front.guard import Context
from penult_server.front.queries.cards import user_of
from penult_server.front.queries.diagnosis import influence
from penult_server.front.queries.diagnosis.request import fill_in
from penult_server.front.queries.feature_sources import resolve_source
from penult_server.front.queries.stored_answers import StoredAnswers
from penult_server.front.registry_thread import Registry
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs.traces import span
from penult_server.questions.diagnostics import definitions_to_proto, panel_definitions_to_proto
from penult_server.registry.cards import Given


class DiagnosticServicer(diagnostics_pb2_grpc.DiagnosticServiceServicer):
    """DiagnosticService."""

    def __init__(self, registry: Registry, compute: ComputeWorkers) -> None:
        self._registry = registry
        self._compute = compute
        self._answers = StoredAnswers(registry, compute, diagnostics_pb2_grpc.DiagnosticServiceStub)

    async def ListDiagnostics(self, request: pb.ListDiagnosticsRequest, context: Context) -> pb.ListDiagnosticsResponse:
        return pb.ListDiagnosticsResponse(
            definitions=definitions_to_proto(DEFINITIONS.values()),
            numbers=DEFAULTS,
            of_panels=panel_definitions_to_proto(PANELS.values()),
        )

    async def Diagnose(self, request: pb.DiagnoseRequest, context: Context) -> pb.Diagnosis:
        source = await self._resolve(request.source)
        other = await self._resolve(request.other) if request.HasField("other") else None
        fill_in(request, source, other)
        with self._compute.asked.asked(context) as query:
            return await self._answers.get("Diagnose", request, pb.Diagnosis, Given(user=user_of(context)), query)

    async def ComputeInfluence(
        self, request: influence_pb2.InfluenceRequest, context: Context
    ) -> influence_pb2.Influence:
        refit = await self._registry.run(self._registry.catalog.refit, request.refit)
        source = await self._resolve(request.source)
        influence.fill_in(request, refit, source)
        with self._compute.asked.asked(context) as query:
            given = Given(user=user_of(context))
            return await self._answers.get("ComputeInfluence", request, influence_pb2.Influence, given, query)

    async def _resolve(self, source: spectra_pb2.FeatureSource) -> features_pb2.FeatureSet:
        with span("resolve"):
            return await self._registry.run(resolve_source, self._registry.catalog, source)
