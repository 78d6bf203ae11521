"""The training states of jobs: removed, kept, or handed on to the next job that does the same.

A job that is tried again resumes from its own state. The state is removed when the job has succeeded, was cancelled, or
failed for a reason that lies in the run itself, which would fail in the same way again.
"""

import asyncio
import contextlib
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.front.registry_thread import Registry
from penult_server.registry.jobs import ENDED
from penult_server.stores.training_states import (
    adopt_training_state,
    discard_training_state,
    has_state,
    runs_with_state,
)

OUTER_REASONS = frozenset(
    {
        ErrorKind.WORKER_DIED,
        ErrorKind.OUT_OF_MEMORY,
        ErrorKind.DISK_FULL,
        ErrorKind.DISK_FAILED,
        ErrorKind.TOO_LARGE,
        ErrorKind.BUSY,
    }
)
"""Failures for which a run is not to blame: its training state is kept."""
IS_KEPT = "(its training state is kept: asking for the same again resumes from it, cancelling this job removes it)"


class TrainingStates:
    """What finetunings that did not come to their end have left."""

    def __init__(self, registry: Registry, root: Path) -> None:
        self._registry = registry
        self._root = root

    async def explained(self, job_id: str, error: ServiceError) -> ServiceError:
        """The error of a job that fails, which also says so where its state is kept."""
        if error.kind not in OUTER_REASONS or not await self._has_state(job_id):
            return error
        return ServiceError(error.kind, f"{error.message} {IS_KEPT}", **error.metadata)

    async def _has_state(self, job_id: str) -> bool:
        try:
            return await asyncio.to_thread(has_state, self._root, job_id)
        except ServiceError:  # the bucket does not answer, which may be why the job fails
            return False

    async def settle(self, job: pb.Job) -> None:
        """Remove the state of a job that has ended, unless the same work may resume from it."""
        is_kept = job.state == pb.JOB_STATE_FAILED and job.error.kind in OUTER_REASONS
        if job.state in ENDED and not is_kept:
            await self.forget(job.id)

    async def forget(self, job_id: str) -> None:
        """Remove what this job, and every other of the same work, has left; none that goes on is touched."""
        for one in await self._registry.run(self._registry.jobs.same_work, job_id, ENDED):
            await asyncio.to_thread(discard_training_state, self._root, one)

    async def adopt(self, job_id: str) -> None:
        """Give a job what a failed one of the same work has left, if it has nothing of its own."""
        failed = await self._registry.run(self._registry.jobs.same_work, job_id, [pb.JOB_STATE_FAILED])
        await asyncio.to_thread(adopt_training_state, self._root, job_id, failed)

    async def sweep(self) -> None:
        """Settle the jobs that ended just before the last server did."""
        for run_id in await asyncio.to_thread(runs_with_state, self._root):
            with contextlib.suppress(ServiceError):  # of no job that is known: somebody put it there
                await self.settle(await self._registry.run(self._registry.jobs.get, run_id))
