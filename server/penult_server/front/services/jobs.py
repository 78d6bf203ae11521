"""JobService: jobs as clients see them."""

from collections.abc import AsyncIterator

from penult_proto.v1 import jobs_pb2, jobs_pb2_grpc
from penult_server.finetuning.checks import check_whole
from penult_server.front.guard import Context
from penult_server.front.jobs.queue import JobQueue
from penult_server.front.registry_thread import Registry

DEFAULT_LIMIT, MAX_LIMIT = 100, 2**31 - 1
"""Number of jobs in a list when none is asked for, and at most."""


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """Decodes, calls the queue, encodes."""

    def __init__(self, registry: Registry, queue: JobQueue) -> None:
        self._registry = registry
        self._queue = queue

    async def CreateJob(self, request: jobs_pb2.CreateJobRequest, context: Context) -> jobs_pb2.Job:
        return await self._said(await self._queue.submit(request.spec, request.request_id))

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Context) -> jobs_pb2.Job:
        return await self._said(await self._registry.run(self._registry.jobs.get, request.id))

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Context) -> jobs_pb2.ListJobsResponse:
        limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT
        check_whole("limit", limit, 1, MAX_LIMIT)
        jobs = await self._registry.run(self._registry.jobs.list, list(request.states), limit)
        return jobs_pb2.ListJobsResponse(jobs=[await self._said(job) for job in jobs])

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Context) -> jobs_pb2.Job:
        return await self._said(await self._queue.cancel(request.id))

    async def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: Context) -> AsyncIterator[jobs_pb2.JobEvent]:
        async for event in self._queue.watch(request.id, request.after_seq):
            yield event

    async def _said(self, job: jobs_pb2.Job) -> jobs_pb2.Job:
        """A job as clients see it: with what has become of that which it made."""
        job.deleted.extend(await self._registry.run(self._registry.deletions.planner.deleted_products, job))
        return job
