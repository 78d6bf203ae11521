"""DatasetService and RunService: what is registered."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2, datasets_pb2_grpc, runs_pb2, runs_pb2_grpc
from penult_server.datasets.shown import DEFAULT_SIDE, check_shown
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.queries.cards import page_length
from penult_server.front.queries.specs import Resolver
from penult_server.front.registry_thread import Registry
from penult_server.messages import array_from_proto, run_manifest_to_proto
from penult_server.stores.runs import read_run_manifest


class DatasetServicer(datasets_pb2_grpc.DatasetServiceServicer):
    """Packaged and registered datasets."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def GetDataset(self, request: datasets_pb2.GetDatasetRequest, context: Context) -> datasets_pb2.Dataset:
        return await self._resolver.dataset(request.name)

    async def ListDatasets(
        self, request: datasets_pb2.ListDatasetsRequest, context: Context
    ) -> datasets_pb2.ListDatasetsResponse:
        limit = page_length(request.limit if request.HasField("limit") else None)
        found, next_page = await self._resolver.dataset_page(request.options, limit)
        return datasets_pb2.ListDatasetsResponse(datasets=found, next_page=next_page)

    async def ReadExamples(
        self, request: datasets_pb2.ReadExamplesRequest, context: Context
    ) -> AsyncIterator[datasets_pb2.ShownExample]:
        row_ids = array_from_proto(request.row_ids, "row_ids")
        if row_ids.ndim != 1 or row_ids.dtype != np.uint64:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"row_ids must be a list of row ids, (n,) uint64, got {row_ids.shape} {row_ids.dtype}",
                field="row_ids",
            )
        side = request.side if request.HasField("side") else DEFAULT_SIDE
        check_shown(len(row_ids), side)
        for shown in await self._resolver.shown_examples(request.dataset, request.split, row_ids, side):
            yield shown


def spec_of_run(registry: Registry, name: str) -> tuple[str, runs_pb2.FinetuneSpec]:
    """Id of a run, finished or not, and what was asked of it. Raises ServiceError (UNKNOWN_RUN)."""
    try:
        run_id = registry.catalog.finder.find("run", name)
    except ServiceError as none_finished:
        try:
            job = registry.jobs.get(registry.jobs.find(name))
        except ServiceError:
            raise none_finished from None
        if not job.spec.HasField("finetune"):
            raise
        return job.id, job.spec.finetune
    return run_id, registry.catalog.run(run_id).spec


class RunServicer(runs_pb2_grpc.RunServiceServicer):
    """Finetuning runs."""

    def __init__(self, registry: Registry, root: Path) -> None:
        self._registry = registry
        self._root = root

    async def GetRun(self, request: runs_pb2.GetRunRequest, context: Context) -> runs_pb2.Run:
        return await self._registry.run(self._registry.catalog.run, request.id)

    async def GetRunManifest(self, request: runs_pb2.GetRunRequest, context: Context) -> runs_pb2.RunManifest:
        run_id, spec = await self._registry.run(spec_of_run, self._registry, request.id)
        manifest = await asyncio.to_thread(read_run_manifest, self._root, run_id)
        return run_manifest_to_proto(manifest, spec)

    async def ListRuns(self, request: runs_pb2.ListRunsRequest, context: Context) -> runs_pb2.ListRunsResponse:
        limit = page_length(request.limit if request.HasField("limit") else None)
        runs, next_page = await self._registry.run(self._registry.catalog.run_page, request, limit)
        return runs_pb2.ListRunsResponse(runs=runs, next_page=next_page)
