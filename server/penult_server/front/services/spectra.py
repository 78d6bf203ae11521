"""SpectraService: names resolved, defaults filled in, answered from the store or by the compute worker."""

import math
from collections.abc import AsyncIterator
from typing import Any, TypeVar
from uuid import uuid4

from google.protobuf.message import Message

from penult_proto.errors import ErrorKind
from penult_proto.limits import MESSAGE_BYTES
from penult_proto.v1 import features_pb2, spectra_pb2, spectra_pb2_grpc
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.queries.asked_sets import sets_of
from penult_server.front.queries.cards import given_of, user_of
from penult_server.front.queries.feature_sources import check_rows_alone, features_of, resolve_source
from penult_server.front.queries.stored_answers import StoredAnswers
from penult_server.front.queries.used_groupings import check_by
from penult_server.front.registry_thread import Registry
from penult_server.front.workers.asked_queries import AskedQuery, named
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs.traces import span
from penult_server.registry.cards import Given
from penult_server.registry.catalog import Catalog

DEFAULT_REPLICATES = 200
"""Replicates of spectra with weights; of others the rows decide whether any are drawn: the question leaves it open."""
DEFAULT_CONFIDENCE = 0.95
DEFAULT_GAMMA = 10.0
"""LEIA's."""
BYTES_OF_A_PART = 512
"""Bytes of an answer for each group or class besides its eigenvalues: names, trace, method, imbalance."""
MOST_REPLICATES = 100_000
DEFAULT_POWER_LAW = (11, 50)
A = TypeVar("A", spectra_pb2.Spectra, spectra_pb2.Descriptors, spectra_pb2.PrincipalAngles)


class SpectraServicer(spectra_pb2_grpc.SpectraServiceServicer):
    """SpectraService."""

    def __init__(self, registry: Registry, compute: ComputeWorkers) -> None:
        self._registry = registry
        self._compute = compute
        self._answers = StoredAnswers(registry, compute, spectra_pb2_grpc.SpectraServiceStub)

    async def ComputeSpectra(self, request: spectra_pb2.ComputeSpectraRequest, context: Context) -> spectra_pb2.Spectra:
        with self._compute.asked.asked(context) as query:
            return await self._spectra(request, context, query)

    async def _spectra(
        self, request: spectra_pb2.ComputeSpectraRequest, context: Context, query: AskedQuery
    ) -> spectra_pb2.Spectra:
        given = given_of(request.card, context, "result")
        request.ClearField("card")
        feature_set = await self._resolve(request.source)
        fill_in(request, feature_set)
        return await self._answer(request, spectra_pb2.Spectra, given, query)

    async def ComputeRunSpectra(
        self, request: spectra_pb2.ComputeRunSpectraRequest, context: Context
    ) -> spectra_pb2.RunSpectra:
        run_id, epochs = await self._registry.run(epochs_of_run, self._registry.catalog, request)
        answers: list[spectra_pb2.EpochSpectra] = []
        with self._compute.asked.asked(context, len(epochs), "checkpoints") as query:
            for epoch, checkpoint, one in epochs:
                spectra = await self._spectra(one, context, query)
                answers.append(spectra_pb2.EpochSpectra(epoch=epoch, checkpoint=checkpoint, spectra=spectra))
                query.answered += 1
        return spectra_pb2.RunSpectra(run=run_id, split=request.split, epochs=answers)

    async def ComputeDescriptors(
        self, request: spectra_pb2.ComputeDescriptorsRequest, context: Context
    ) -> spectra_pb2.Descriptors:
        feature_set = await self._resolve(request.source)
        request.by = request.by or spectra_pb2.SPECTRA_BY_GROUP
        check_by(request.by, request.source)
        first, last = DEFAULT_POWER_LAW
        request.power_law_first = request.power_law_first if request.HasField("power_law_first") else first
        request.power_law_last = request.power_law_last if request.HasField("power_law_last") else last
        check_power_law(request, feature_set.n_features)
        with self._compute.asked.asked(context) as query:
            return await self._answer(request, spectra_pb2.Descriptors, Given(user=user_of(context)), query)

    async def ComputePrincipalAngles(
        self, request: spectra_pb2.ComputePrincipalAnglesRequest, context: Context
    ) -> spectra_pb2.PrincipalAngles:
        for side in (request.first, request.second):
            feature_set = await self._resolve(side.source)
            side.by = side.by or spectra_pb2.SPECTRA_BY_GROUP
            check_by(side.by, side.source)
            check_subspace_width(request.top_k, feature_set.n_features)
        with self._compute.asked.asked(context) as query:
            return await self._answer(request, spectra_pb2.PrincipalAngles, Given(user=user_of(context)), query)

    async def ReadEigenvectors(
        self, request: spectra_pb2.ReadEigenvectorsRequest, context: Context
    ) -> AsyncIterator[spectra_pb2.ReadEigenvectorsResponse]:
        feature_set = await self._resolve(request.source)
        request.by = request.by or spectra_pb2.SPECTRA_BY_GROUP
        check_by(request.by, request.source)
        request.center = request.center if request.HasField("center") else True
        check_subspace_width(request.top_k, feature_set.n_features)
        check_correction(request.correction)
        async for message in self._relayed("ReadEigenvectors", request, context):
            yield message

    async def ReadCoordinates(
        self, request: spectra_pb2.ReadCoordinatesRequest, context: Context
    ) -> AsyncIterator[spectra_pb2.ReadCoordinatesResponse]:
        feature_set = await self._resolve(request.source)
        asked = request.top_k if request.HasField("top_k") else 2
        request.top_k = min(asked, feature_set.n_features)
        check_subspace_width(request.top_k, feature_set.n_features)
        async for message in self._relayed("ReadCoordinates", request, context):
            yield message

    async def _relayed(self, rpc: str, request: Message, context: Context) -> AsyncIterator[Any]:
        """What the compute worker streams, as it comes."""
        stub = spectra_pb2_grpc.SpectraServiceStub
        with self._compute.asked.asked(context) as query, self._compute.asked.answer(query, uuid4().hex) as key:
            messages: AsyncIterator[Any] = self._compute.relay(
                lambda channel: getattr(stub(channel), rpc)(request, metadata=named(key)), sets_of(request)
            )
            async for message in messages:
                yield message

    async def _resolve(self, source: spectra_pb2.FeatureSource) -> features_pb2.FeatureSet:
        with span("resolve"):
            return await self._registry.run(resolve_source, self._registry.catalog, source)

    async def _answer(self, request: Message, answer_type: type[A], given: Given, query: AskedQuery) -> A:
        """The answer to a resolved query; its RPC is Compute and the answer's name.

        What is given is added to its card, whoever computed it.
        """
        rpc = f"Compute{answer_type.DESCRIPTOR.name}"
        return await self._answers.get(rpc, request, answer_type, given, query)


def epochs_of_run(
    catalog: Catalog, request: spectra_pb2.ComputeRunSpectraRequest
) -> tuple[str, list[tuple[float, str, spectra_pb2.ComputeSpectraRequest]]]:
    """The id of a run; and of every checkpoint of it epoch, digest and query.

    Raises ServiceError: UNKNOWN_RUN, INVALID_ARGUMENT, and UNKNOWN_FEATURE_SET naming every checkpoint
    whose features of the split are not stored.
    """
    check_rows_alone(request.spectra.source)
    if request.spectra.HasField("card"):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, "spectra of a run are several answers, which share no card", field="card"
        )
    run = catalog.run(request.run)
    found: list[tuple[float, str, spectra_pb2.ComputeSpectraRequest]] = []
    missing: list[str] = []
    for checkpoint in run.checkpoints:
        query = spectra_pb2.ComputeSpectraRequest()
        query.CopyFrom(request.spectra)
        try:
            twins = catalog.checkpoints_of_model(checkpoint)
            known = catalog.feature_sets_of(twins, request.split)
            query.source.feature_set = features_of(known, checkpoint, request.split, twins).digest
        except ServiceError as error:
            if error.kind != ErrorKind.UNKNOWN_FEATURE_SET:
                raise
            missing.append(f"epoch {checkpoint.epoch:g} ({checkpoint.digest[:12]})")
        found.append((checkpoint.epoch, checkpoint.digest, query))
    if missing:
        raise ServiceError(
            ErrorKind.UNKNOWN_FEATURE_SET,
            f"run {run.id} has no stored features of split {request.split!r} for {', '.join(missing)}; extract them "
            f"first: for checkpoint in client.runs.get({run.id!r}).checkpoints: "
            f"client.extract(checkpoint, splits=[{request.split!r}]).wait()",
            run=run.id,
            split=request.split,
        )
    return run.id, found


def check_power_law(request: spectra_pb2.ComputeDescriptorsRequest, n_features: int) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) unless the range holds at least two ranks."""
    first, last = request.power_law_first, request.power_law_last
    if not 1 <= first < last:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"a power law is fitted to ranks first < last, from 1 to {n_features}; got {first} and {last}",
            field="power_law",
        )


def check_subspace_width(top_k: int, n_features: int) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) unless 1 <= top_k <= n_features."""
    if not 1 <= top_k <= n_features:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"top_k must lie in 1 .. {n_features}, got {top_k}", field="top_k"
        )


def fill_in(request: spectra_pb2.ComputeSpectraRequest, feature_set: features_pb2.FeatureSet) -> None:
    """Fill in, in place, everything that the request left out but `replicates`, and check what it said.

    Raises ServiceError (INVALID_ARGUMENT).
    """
    n_features = feature_set.n_features
    request.by = request.by or spectra_pb2.SPECTRA_BY_GROUP
    _fill_in_weights(request)
    if not (request.weights and request.by == spectra_pb2.SPECTRA_BY_ALL):
        check_by(request.by, request.source)
    request.center = request.center if request.HasField("center") else True
    if request.weights and not request.HasField("replicates"):
        request.replicates = DEFAULT_REPLICATES
    request.confidence = request.confidence if request.HasField("confidence") else DEFAULT_CONFIDENCE
    request.top_k = request.top_k if request.HasField("top_k") else n_features
    _check(request, n_features)
    request.top_k = min(request.top_k, n_features)
    by_group = request.by == spectra_pb2.SPECTRA_BY_GROUP
    _check_size(len(feature_set.groups if by_group else feature_set.labels.classes), request.top_k)
    if request.HasField("replicates") and not request.replicates:
        # Neither changes an answer without replicates: one query, one stored answer.
        request.confidence, request.seed = DEFAULT_CONFIDENCE, 0


def _check_size(n_parts: int, top_k: int) -> None:
    """Refuse an answer too large for one message, which holds the eigenvalues and residuals of all parts."""
    most = (MESSAGE_BYTES // n_parts - BYTES_OF_A_PART) // 16
    if top_k > most:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{top_k} eigenvalues of each of {n_parts} groups or classes are more than one answer carries; ask for "
            f"top_k={max(most, 1)} at most",
            field="top_k",
        )


def _fill_in_weights(request: spectra_pb2.ComputeSpectraRequest) -> None:
    """Fill in the weights of rows, in place; uniform ones are none. Raises ServiceError (INVALID_ARGUMENT)."""
    if request.weights != spectra_pb2.SPECTRA_WEIGHTS_ERRORS:
        if request.HasField("gamma"):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                "gamma= has no effect on these spectra: it goes with weights='errors'. Leave it out, or ask for that",
                field="gamma",
            )
        request.ClearField("weights")
        return
    request.gamma = request.gamma if request.HasField("gamma") else DEFAULT_GAMMA
    for name, is_legal, expected, got in (
        ("gamma", math.isfinite(request.gamma) and request.gamma >= 0, "a finite number, at least 0", request.gamma),
        ("correction", request.correction == 0, "0 with weights='errors': weights have no count", request.correction),
        ("center", request.center or not request.HasField("center"), "True with weights='errors'", "False"),
    ):
        if not is_legal:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{name} must be {expected}, got {got}", field=name)


def check_correction(correction: int) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) unless it is 0 or 1."""
    if correction not in (0, 1):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"correction must be 0 (divisor n, the paper) or 1 (divisor n - 1), got {correction}",
            field="correction",
        )


def _check(request: spectra_pb2.ComputeSpectraRequest, n_features: int) -> None:
    check_correction(request.correction)
    problems = [
        ("top_k", request.top_k >= 1, f"at least 1, or left out for all {n_features}", request.top_k),
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
