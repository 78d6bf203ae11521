"""The compute worker's process: `python -m penult_server.compute.worker`, started by the front."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Never, TypeVar

import grpc

from penult_kernels.products import spread_over
from penult_proto.errors import STATUS_CODES, ErrorKind
from penult_proto.limits import MESSAGE_OPTIONS
from penult_proto.v1 import (
    diagnostics_pb2,
    diagnostics_pb2_grpc,
    features_pb2,
    features_pb2_grpc,
    groupings_pb2,
    groupings_pb2_grpc,
    groups_pb2,
    influence_pb2,
    neighbours_pb2,
    neighbours_pb2_grpc,
    refits_pb2,
    refits_pb2_grpc,
    spectra_pb2,
    spectra_pb2_grpc,
)
from penult_proto.v1.pipes_pb2 import ComputeReady, ComputeStats, FromWorker, Pulse, Residents, ToWorker
from penult_server import pipes
from penult_server.compute import warming
from penult_server.compute.arriving import SentPiece, pieces_beside
from penult_server.compute.backend import Backend, choose_backend
from penult_server.compute.diagnostics.diagnose import diagnose
from penult_server.compute.diagnostics.influence import compute_influence
from penult_server.compute.groupings import transfer as grouping_transfer
from penult_server.compute.groupings.discover import assign, discover
from penult_server.compute.groupings.inputs import Access
from penult_server.compute.groupings.scoring import score
from penult_server.compute.head_soups.answer import soup_heads
from penult_server.compute.memory import available_bytes, give_back, give_back_much, used_bytes
from penult_server.compute.neighbours.answers.duplicates import find_duplicates
from penult_server.compute.neighbours.answers.evaluation import evaluate_neighbours
from penult_server.compute.neighbours.answers.label_noise import find_label_noise
from penult_server.compute.neighbours.answers.rates import compute_neighbour_rates
from penult_server.compute.neighbours.known import KnownGraphs
from penult_server.compute.neighbours.libraries import warn_of_libraries
from penult_server.compute.neighbours.reading import read_neighbours
from penult_server.compute.observed import Requests, tell_waited
from penult_server.compute.ports import PINGS, open_port
from penult_server.compute.refits.evaluation import evaluate, evaluate_mixtures
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.queue import RefitQueue
from penult_server.compute.reporting import Reporter, ReportPipe, idle_seconds_of, query_of, user_of
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.spectra.coordinates import read_coordinates
from penult_server.compute.spectra.descriptors import compute_descriptors, compute_principal_angles
from penult_server.compute.spectra.eigenvectors import read_eigenvectors
from penult_server.compute.spectra.inference_cache import InferenceCache
from penult_server.compute.spectra.parts import Resources
from penult_server.compute.spectra.spectra import compute_spectra
from penult_server.compute.transfer import receive, send
from penult_server.compute.turns import Turns
from penult_server.compute_environment import PRODUCT_THREADS
from penult_server.errors import ServiceError
from penult_server.lanes import QUERIES_AT_ONCE, READS_AT_ONCE, UPLOADS_AT_ONCE
from penult_server.logs import traces
from penult_server.logs.bounded import keep_bounded
from penult_server.logs.setup import write_worker_lines
from penult_server.machine.gpus import leave_if_lost
from penult_server.messages import error_to_proto, failure_to_proto
from penult_server.status import shortened, trailers_of, translate
from penult_server.stores.neighbours import forget_graphs
from penult_server.stores.writing.kinds import kind_here

THREADS = QUERIES_AT_ONCE + UPLOADS_AT_ONCE + READS_AT_ONCE
"""Calls that are served at a time. Transfers wait for disks and clients; the device serves one call at a time."""
T = TypeVar("T")
Q = TypeVar("Q")
Device = Callable[[], AbstractContextManager[None]]
"""Takes the device for a block."""
Context = grpc.ServicerContext


class Worker(
    diagnostics_pb2_grpc.DiagnosticServiceServicer,
    features_pb2_grpc.FeatureServiceServicer,
    groupings_pb2_grpc.GroupingServiceServicer,
    neighbours_pb2_grpc.NeighbourServiceServicer,
    refits_pb2_grpc.RefitServiceServicer,
    spectra_pb2_grpc.SpectraServiceServicer,
):
    """The services that need features or the device."""

    def __init__(self, root: Path, backend: Backend, resident_bytes: int, reports: ReportPipe) -> None:
        self._root = root
        self._backend = backend
        self._reports = reports
        self._device = Turns()
        self._residents = ResidentFeatures(root, backend, resident_bytes, self._device.steady, self._tell_residents)
        self._inferences = InferenceCache()
        self._graphs = KnownGraphs()
        self._material = RefitMaterial(root, backend, self._residents, self._device.pause)
        self._refits = RefitQueue(self._material, self._device, reports)

    def ComputeSpectra(self, request: spectra_pb2.ComputeSpectraRequest, context: Context) -> spectra_pb2.Spectra:
        return self._answered(context, compute_spectra, request)

    def ComputeDescriptors(
        self, request: spectra_pb2.ComputeDescriptorsRequest, context: Context
    ) -> spectra_pb2.Descriptors:
        return self._answered(context, compute_descriptors, request)

    def ComputePrincipalAngles(
        self, request: spectra_pb2.ComputePrincipalAnglesRequest, context: Context
    ) -> spectra_pb2.PrincipalAngles:
        return self._answered(context, compute_principal_angles, request)

    def ReadEigenvectors(
        self, request: spectra_pb2.ReadEigenvectorsRequest, context: Context
    ) -> Iterator[spectra_pb2.ReadEigenvectorsResponse]:
        return self._streamed(context, read_eigenvectors, request)

    def ReadCoordinates(
        self, request: spectra_pb2.ReadCoordinatesRequest, context: Context
    ) -> Iterator[spectra_pb2.ReadCoordinatesResponse]:
        return self._streamed(context, read_coordinates, request)

    def ReadNeighbours(
        self, request: neighbours_pb2.NeighbourQuery, context: Context
    ) -> Iterator[neighbours_pb2.ReadNeighboursResponse]:
        return self._streamed(context, read_neighbours, request)

    def EvaluateNeighbours(
        self, request: neighbours_pb2.EvaluateNeighboursRequest, context: Context
    ) -> neighbours_pb2.NeighbourMetrics:
        return self._answered(context, evaluate_neighbours, request)

    def FindDuplicates(
        self, request: neighbours_pb2.FindDuplicatesRequest, context: Context
    ) -> neighbours_pb2.Duplicates:
        return self._answered(context, find_duplicates, request)

    def FindLabelNoise(
        self, request: neighbours_pb2.FindLabelNoiseRequest, context: Context
    ) -> neighbours_pb2.LabelNoise:
        return self._answered(context, find_label_noise, request)

    def ComputeNeighbourRates(
        self, request: neighbours_pb2.ComputeNeighbourRatesRequest, context: Context
    ) -> neighbours_pb2.NeighbourRates:
        return self._answered(context, compute_neighbour_rates, request)

    def Diagnose(self, request: diagnostics_pb2.DiagnoseRequest, context: Context) -> diagnostics_pb2.Diagnosis:
        return self._answered(context, diagnose, request)

    def ComputeInfluence(self, request: influence_pb2.InfluenceRequest, context: Context) -> influence_pb2.Influence:
        def compute(check: Callable[[], None], progress: Reporter) -> influence_pb2.Influence:
            material = self._material.reporting(progress)
            return compute_influence(request, material, self._resources(check, progress))

        return self._on_device(context, compute)

    def ComputeRefits(
        self, request: refits_pb2.ComputeRefitsRequest, context: Context
    ) -> Iterator[refits_pb2.RefitOutcome]:
        query, user = query_of(context), user_of(context)
        asked = [self._refits.asked(one, context.is_active, query, user) for one in request.requests]
        for position, one in enumerate(asked):
            outcome = outcome_of(one.answer)
            if position == 0:
                tell_waited(context, one.waited)
            yield outcome

    def Evaluate(self, request: refits_pb2.EvaluateRequest, context: Context) -> groups_pb2.Metrics:
        return self._on_device(context, lambda check, progress: evaluate(request, self._material, check, progress))

    def EvaluateMixtures(
        self, request: refits_pb2.EvaluateMixturesRequest, context: Context
    ) -> refits_pb2.EvaluateMixturesResponse:
        return self._on_device(
            context, lambda check, progress: evaluate_mixtures(request, self._material, check, progress)
        )

    def SoupHeads(self, request: refits_pb2.SoupHeadsRequest, context: Context) -> refits_pb2.HeadSoup:
        return self._on_device(context, lambda check, progress: soup_heads(request, self._material, check, progress))

    def UploadFeatures(
        self, request_iterator: Iterator[features_pb2.UploadFeaturesRequest], context: Context
    ) -> features_pb2.FeatureSet:
        try:
            header = next(request_iterator).header
            if header.beside:
                with pieces_beside(Path(header.beside), idle_seconds_of(context)) as pieces:
                    stored = receive(self._root, header, pieces)
            else:  # the front is on another machine
                stored = receive(self._root, header, (SentPiece(one.chunk) for one in request_iterator))
            give_back_much()
            return stored
        except Exception as error:  # the seam, see `refuse`
            read_on(context, request_iterator)
            refuse(context, error)

    def ReadFeatures(
        self, request: features_pb2.ReadFeaturesRequest, context: Context
    ) -> Iterator[features_pb2.ReadFeaturesResponse]:
        try:
            yield from send(self._root, request)
        except Exception as error:  # the seam, see `refuse`
            refuse(context, error)

    def DiscoverGroups(self, request: groupings_pb2.DiscoverGroupsRequest, context: Context) -> groupings_pb2.Grouping:
        # The front knows the query by its digest, which the grouping gets.
        digest = query_of(context)
        return self._on_device(
            context, lambda check, progress: discover(request, digest, self._access(check, progress))
        )

    def AssignGroups(self, request: groupings_pb2.AssignGroupsRequest, context: Context) -> groupings_pb2.Grouping:
        digest = query_of(context)
        return self._on_device(context, lambda check, progress: assign(request, digest, self._access(check, progress)))

    def ScoreGrouping(
        self, request: groupings_pb2.ScoreGroupingRequest, context: Context
    ) -> groupings_pb2.GroupingScores:
        try:
            return score(request, self._root)
        except Exception as error:  # the seam, see `refuse`
            refuse(context, error)

    def ReadGrouping(
        self, request: groupings_pb2.ReadGroupingRequest, context: Context
    ) -> Iterator[groupings_pb2.ReadGroupingResponse]:
        try:
            yield from grouping_transfer.send(self._root, request.grouping)
        except Exception as error:  # the seam, see `refuse`
            refuse(context, error)

    def forget(self, digest: str) -> None:
        """Drop what is in memory of a feature set that was deleted."""
        self._residents.drop(digest)
        forget_graphs(self._root, digest)
        with self._device.held():
            self._material.drop(digest)

    def report_stats(self) -> None:
        """Tell the front how this worker stands."""
        self._reports.say(FromWorker(stats=self.stats()))

    def stats(self) -> ComputeStats:
        """How this worker stands."""
        return ComputeStats(
            resident_bytes=self._residents.nbytes,
            budget_bytes=self._residents.budget,
            evictions=self._residents.evictions,
            device_seconds=self._device.used_seconds(),
            used_bytes=used_bytes(self._backend),
            free_bytes=available_bytes(self._backend) or 0,
            batches=dict(self._refits.batches),
        )

    def _tell_residents(self, digests: Sequence[str]) -> None:
        """Tell the front which feature sets are in memory: it sends questions about them here."""
        self._reports.say(FromWorker(residents=Residents(digests=digests)))

    def answer_pulse(self) -> None:
        """Tell the front that this process lives, and whether a call has the device."""
        self._reports.say(FromWorker(pulse=Pulse(is_busy=self.is_busy())))

    def is_busy(self) -> bool:
        """Whether a call has the device."""
        return self._device.is_taken

    def _check_of(self, context: Context) -> Callable[[], None]:
        """A check between chunks that also lets others have the device."""
        is_wanted, pause = still_wanted(context), self._device.pause

        def check() -> None:
            is_wanted()
            pause()

        return check

    def _reporter(self, context: Context) -> Reporter:
        return self._reports.of([query_of(context)])

    def _resources(self, check: Callable[[], None], progress: Reporter) -> Resources:
        return Resources(
            root=self._root,
            residents=self._residents,
            backend=self._backend,
            check=check,
            progress=progress,
            inferences=self._inferences,
            graphs=self._graphs,
        )

    def _access(self, check: Callable[[], None], progress: Reporter) -> Access:
        return Access(root=self._root, material=self._material, check=check, progress=progress)

    def _answered(self, context: Context, compute: Callable[[Q, Resources], T], request: Q) -> T:
        """What `compute` answers to a request, with the device."""
        return self._on_device(context, lambda check, progress: compute(request, self._resources(check, progress)))

    def _streamed(
        self, context: Context, read: Callable[[Q, Resources, Device], Iterator[T]], request: Q
    ) -> Iterator[T]:
        """What `read` sends; it takes the device while it computes, and leaves it while it sends."""
        try:
            resources = self._resources(self._check_of(context), self._reporter(context))
            yield from read(request, resources, lambda: self._device.held(user_of(context)))
            give_back_much()
        except Exception as error:  # the seam, see `refuse`
            refuse(context, error)

    def _on_device(self, context: Context, compute: Callable[[Callable[[], None], Reporter], T]) -> T:
        arrived = time.monotonic()
        try:
            with self._device.held(user_of(context)):
                tell_waited(context, time.monotonic() - arrived)
                answer = compute(self._check_of(context), self._reporter(context))
            give_back_much()
            return answer
        except Exception as error:  # the seam, see `refuse`
            refuse(context, error)


def still_wanted(context: Context) -> Callable[[], None]:
    """A check that is called between chunks: raises ServiceError (CANCELLED) when the caller has gone."""

    def check() -> None:
        if not context.is_active():
            raise ServiceError(ErrorKind.CANCELLED, "the caller has gone")

    return check


def outcome_of(answer: "Future[refits_pb2.Refit]") -> refits_pb2.RefitOutcome:
    """Wait for one answer of several; `translate` logs bugs."""
    error = answer.exception()
    if error is None:
        return refits_pb2.RefitOutcome(refit=answer.result())
    leave_if_lost(error)
    return failure_to_proto(translate(error))


def read_on(context: Context, messages: Iterator[object]) -> None:
    """Read what is still arriving of an upload that is refused, until the front, which is told, writes no more.

    If a call ends while the front is writing to it, the front may see its failed write instead of the error.
    """
    # A caller that has gone needs no answer.
    with suppress(grpc.RpcError, ValueError):
        context.send_initial_metadata(())
        for _ in messages:
            pass


def refuse(context: Context, error: Exception) -> Never:
    """End a call with the status of an error; or this process, when its GPU cannot be used any more."""
    leave_if_lost(error)
    said = translate(error)
    # What the failed call had in memory goes with its frames.
    traceback.clear_frames(error.__traceback__)
    give_back()
    context.set_trailing_metadata(trailers_of(said))
    context.abort(STATUS_CODES[said.kind], shortened(said.message))


def serve_front(worker: Worker) -> None:
    """Answer the front how this process is, and drop what it says was deleted.

    When it closes our input, end at once: nothing here is worth keeping.
    """
    # In a thread of its own: who computes is waited for, and the front's end must be noticed meanwhile.
    with suppress(ValueError, OSError), ThreadPoolExecutor(1) as forgetting:
        while (said := pipes.receive(sys.stdin.buffer, ToWorker)) is not None:
            if said.pulse:
                worker.answer_pulse()
            elif said.stats:
                worker.report_stats()
            else:
                forgetting.submit(worker.forget, said.forget)
        os._exit(0)
    os._exit(0)


def leave_with(failed: threading.ExceptHookArgs) -> None:
    """End this process when a thread fails that was to go on for ever: callers would wait for it as long."""
    threading.__excepthook__(failed)
    sys.stderr.flush()
    os._exit(1)


def main() -> None:
    """Read the order from the front, and serve until the front has gone."""
    threading.excepthook = leave_with
    spread_over(int(os.environ.get(PRODUCT_THREADS, "0")))
    messages = pipes.own_stdout()
    requests = Requests()
    write_worker_lines(lambda: {"request_id": requests.current()})
    keep_bounded()
    said = pipes.receive(sys.stdin.buffer, ToWorker)
    if said is None:
        return
    order = said.compute
    try:
        backend = choose_backend(order.device, max(1, order.sharers))
    except ServiceError as error:
        pipes.send(messages, FromWorker(error=error_to_proto(error)))
        return
    warming.take_larger_steps(backend)
    # The services' other methods are answered by the front and never reach this process.
    worker = Worker(  # pyright: ignore[reportAbstractUsage]
        Path(order.root), backend, order.resident_bytes, ReportPipe(messages)
    )
    warn_of_libraries()
    server = grpc.server(
        ThreadPoolExecutor(THREADS), interceptors=[requests, *traces.of_worker()], options=[*MESSAGE_OPTIONS, *PINGS]
    )
    diagnostics_pb2_grpc.add_DiagnosticServiceServicer_to_server(worker, server)
    features_pb2_grpc.add_FeatureServiceServicer_to_server(worker, server)
    groupings_pb2_grpc.add_GroupingServiceServicer_to_server(worker, server)
    neighbours_pb2_grpc.add_NeighbourServiceServicer_to_server(worker, server)
    refits_pb2_grpc.add_RefitServiceServicer_to_server(worker, server)
    spectra_pb2_grpc.add_SpectraServiceServicer_to_server(worker, server)
    address = open_port(server, order)
    server.start()
    ready = ComputeReady(device=backend.device, array_backend=backend.name, address=address, processor=kind_here().core)
    pipes.send(messages, FromWorker(ready=ready))
    warming.start(backend)
    serve_front(worker)


if __name__ == "__main__":
    main()
