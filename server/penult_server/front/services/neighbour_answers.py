"""What is read off a neighbour graph: names resolved, defaults filled in, answered from the store or by the worker."""

from google.protobuf.message import Message

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, neighbours_pb2_grpc, spectra_pb2
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.queries.cards import user_of
from penult_server.front.queries.feature_sources import resolve_source
from penult_server.front.queries.neighbours import defaults
from penult_server.front.queries.stored_answers import A, StoredAnswers
from penult_server.front.registry_thread import Registry
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs.traces import span
from penult_server.registry.cards import Given


class NeighbourAnswers(neighbours_pb2_grpc.NeighbourServiceServicer):
    """The four questions of NeighbourService whose answers are kept."""

    def __init__(self, registry: Registry, compute: ComputeWorkers) -> None:
        self._registry = registry
        self._compute = compute
        self._answers = StoredAnswers(registry, compute, neighbours_pb2_grpc.NeighbourServiceStub)

    async def EvaluateNeighbours(self, request: pb.EvaluateNeighboursRequest, context: Context) -> pb.NeighbourMetrics:
        source, among = await self._resolve_among(request)
        defaults.fill_in_evaluation(request, defaults.neighbours_of(source, among))
        return await self._answer("EvaluateNeighbours", request, pb.NeighbourMetrics, context)

    async def FindDuplicates(self, request: pb.FindDuplicatesRequest, context: Context) -> pb.Duplicates:
        source = await self._resolve(request.source, "features")
        defaults.neighbours_of(source, None)
        if request.HasField("against"):
            against = await self._resolve(request.against, "against")
            if against.digest == source.digest:
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT,
                    f"against= is feature set {source.digest[:12]} itself; leave it out to look within one set",
                    field="against",
                )
        else:
            request.across_checkpoints = False
        defaults.fill_in_duplicates(request)
        return await self._answer("FindDuplicates", request, pb.Duplicates, context)

    async def FindLabelNoise(self, request: pb.FindLabelNoiseRequest, context: Context) -> pb.LabelNoise:
        source = await self._resolve(request.source, "features")
        defaults.fill_in_label_noise(request, defaults.neighbours_of(source, None))
        return await self._answer("FindLabelNoise", request, pb.LabelNoise, context)

    async def ComputeNeighbourRates(
        self, request: pb.ComputeNeighbourRatesRequest, context: Context
    ) -> pb.NeighbourRates:
        source, among = await self._resolve_among(request)
        defaults.fill_in_rates(request, defaults.neighbours_of(source, among))
        return await self._answer("ComputeNeighbourRates", request, pb.NeighbourRates, context)

    async def _resolve_among(
        self, request: pb.EvaluateNeighboursRequest | pb.ComputeNeighbourRatesRequest
    ) -> tuple[features_pb2.FeatureSet, features_pb2.FeatureSet | None]:
        """The set that is asked about, and the one that neighbours are looked for in; None where it is the same."""
        source = await self._resolve(request.source, "features")
        among = await self._resolve(request.among, "among") if request.HasField("among") else None
        if among is not None and among.digest == source.digest:
            # A row is no neighbour of itself, whether its own set is named or not.
            if request.among.grouping not in ("", request.source.grouping):
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT,
                    f"among= is feature set {source.digest[:12]} itself, whose groups are by another grouping: one set "
                    "has one in a question",
                    field="among",
                )
            request.ClearField("among")
            among = None
        if among is None:
            request.across_checkpoints = False
        return source, among

    async def _resolve(self, source: spectra_pb2.FeatureSource, argument: str) -> features_pb2.FeatureSet:
        defaults.check_whole(source, argument)
        with span("resolve"):
            return await self._registry.run(resolve_source, self._registry.catalog, source)

    async def _answer(self, rpc: str, request: Message, answer_type: type[A], context: Context) -> A:
        with self._compute.asked.asked(context) as query:
            return await self._answers.get(rpc, request, answer_type, Given(user=user_of(context)), query)
