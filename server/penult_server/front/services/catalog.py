"""DatasetService and RunService: what is registered."""

import asyncio
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2, datasets_pb2_grpc, runs_pb2, runs_pb2_grpc
from penult_server.errors import ServiceError
from penult_server.front.guard import Context
from penult_server.front.queries.specs import Resolver
from penult_server.front.registry_thread import Registry
from penult_server.messages import run_manifest_to_proto
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
        return datasets_pb2.ListDatasetsResponse(datasets=await self._resolver.datasets())


def spec_of_run(registry: Registry, run_id: str) -> runs_pb2.FinetuneSpec:
    """What was asked of a run, finished or not. Raises ServiceError (UNKNOWN_RUN)."""
    try:
        job = registry.jobs.get(run_id)
    except ServiceError as error:
        if error.kind is not ErrorKind.UNKNOWN_JOB:
            raise
        job = None
    # The job of a run may have been deleted.
    return job.spec.finetune if job and job.spec.HasField("finetune") else registry.catalog.run(run_id).spec


class RunServicer(runs_pb2_grpc.RunServiceServicer):
    """Finetuning runs."""

    def __init__(self, registry: Registry, root: Path) -> None:
        self._registry = registry
        self._root = root

    async def GetRun(self, request: runs_pb2.GetRunRequest, context: Context) -> runs_pb2.Run:
        return await self._registry.run(self._registry.catalog.run, request.id)

    async def GetRunManifest(self, request: runs_pb2.GetRunRequest, context: Context) -> runs_pb2.RunManifest:
        spec = await self._registry.run(spec_of_run, self._registry, request.id)
        manifest = await asyncio.to_thread(read_run_manifest, self._root, request.id)
        return run_manifest_to_proto(manifest, spec)

    async def ListRuns(self, request: runs_pb2.ListRunsRequest, context: Context) -> runs_pb2.ListRunsResponse:
        return runs_pb2.ListRunsResponse(runs=await self._registry.run(self._registry.catalog.runs))
