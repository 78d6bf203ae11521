"""JobService: jobs as clients see them."""

import asyncio
from collections.abc import AsyncIterator

from penult_proto.limits import CHUNK_BYTES
from penult_proto.v1 import jobs_pb2, jobs_pb2_grpc
from penult_server.front.caller import CALLER
from penult_server.front.guard import Context
from penult_server.front.jobs.queue import JobQueue
from penult_server.front.queries.cards import given_of, page_length
from penult_server.front.registry_thread import Registry
from penult_server.front.users.rules import check_job, check_own
from penult_server.logs.reading import read_piece

MAX_LIMIT = 2**31 - 1


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """Decodes, calls the queue, encodes."""

    def __init__(self, registry: Registry, queue: JobQueue) -> None:
        self._registry = registry
        self._queue = queue

    async def CreateJob(self, request: jobs_pb2.CreateJobRequest, context: Context) -> jobs_pb2.Job:
        check_job(request.spec.WhichOneof("kind"))
        given = given_of(request.card, context, "run")
        if request.dry_run:
            return await self._filled(await self._queue.check(request.spec, request.request_id, given))
        return await self._filled(
            await self._queue.submit(request.spec, request.request_id, given, may_stop=request.may_stop)
        )

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Context) -> jobs_pb2.Job:
        return await self._filled(await self._registry.run(self._registry.jobs.get, await self._find(request.id)))

    async def GetJobLog(self, request: jobs_pb2.GetJobLogRequest, context: Context) -> jobs_pb2.JobLog:
        log = self._queue.log_of(await self._find(request.id))
        piece = await asyncio.to_thread(read_piece, log, request.offset, CHUNK_BYTES)
        return jobs_pb2.JobLog(content=piece.content, offset=piece.offset, size=piece.size)

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Context) -> jobs_pb2.ListJobsResponse:
        limit = page_length(request.limit if request.HasField("limit") else None, MAX_LIMIT)
        jobs, next_page = await self._registry.run(self._registry.jobs.page, request, limit)
        await self._registry.run(self._fill, jobs)
        return jobs_pb2.ListJobsResponse(jobs=jobs, next_page=next_page)

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Context) -> jobs_pb2.Job:
        job_id = await self._find(request.id)
        card = await self._registry.run(self._registry.catalog.cards.get, "job", job_id)
        check_own(f"job {job_id}", card.user, CALLER.get())
        return await self._filled(await self._queue.cancel(job_id))

    async def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: Context) -> AsyncIterator[jobs_pb2.JobEvent]:
        job_id = await self._find(request.id)
        async for event in self._queue.watch(job_id, request.after_seq, may_stop=request.may_stop):
            yield event

    async def _find(self, name: str) -> str:
        return await self._registry.run(self._registry.jobs.find, name)

    async def _filled(self, job: jobs_pb2.Job) -> jobs_pb2.Job:
        """A job as clients see it; see `_fill`."""
        await self._registry.run(self._fill, [job])
        return job

    def _fill(self, jobs: list[jobs_pb2.Job]) -> None:
        """Write into jobs their cards, and those of what they made, and what of that has been deleted."""
        self._registry.catalog.cards.fill(jobs)
        for job in jobs:
            job.deleted[:] = self._registry.deletions.planner.deleted_products(job)
