"""DatasetService and RunService: what is registered."""

import asyncio
from pathlib import Path
from typing import Any

import grpc

from penult_proto.v1 import datasets_pb2, datasets_pb2_grpc, runs_pb2, runs_pb2_grpc
from penult_server.front.registry_thread import Registry
from penult_server.front.specs import Resolver
from penult_server.messages import run_manifest_to_proto
from penult_server.stores.runs import read_run_manifest

Context = grpc.aio.ServicerContext[Any, Any]


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


class RunServicer(runs_pb2_grpc.RunServiceServicer):
    """Finetuning runs and their checkpoints."""

    def __init__(self, registry: Registry, root: Path) -> None:
        self._registry = registry
        self._root = root

    async def GetCheckpoint(self, request: runs_pb2.GetCheckpointRequest, context: Context) -> runs_pb2.Checkpoint:
        return await self._registry.run(self._registry.catalog.checkpoint, request.digest)

    async def GetRun(self, request: runs_pb2.GetRunRequest, context: Context) -> runs_pb2.Run:
        return await self._registry.run(self._registry.catalog.run, request.id)

    async def GetRunManifest(self, request: runs_pb2.GetRunRequest, context: Context) -> runs_pb2.RunManifest:
        job = await self._registry.run(self._registry.jobs.get, request.id)
        manifest = await asyncio.to_thread(read_run_manifest, self._root, job.id)
        return run_manifest_to_proto(manifest, job.spec.finetune)

    async def ListRuns(self, request: runs_pb2.ListRunsRequest, context: Context) -> runs_pb2.ListRunsResponse:
        return runs_pb2.ListRunsResponse(runs=await self._registry.run(self._registry.catalog.runs))
