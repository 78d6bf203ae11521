"""What jobs make: registered, found again, and deleted where a run does not keep it."""

import asyncio
import logging
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.front.registry_thread import Registry
from penult_server.registry.cards import Given
from penult_server.stores.manifest import missing_files, read_manifest
from penult_server.stores.removal import remove
from penult_server.stores.runs import write_run_record

log = logging.getLogger("penult.jobs")


class Products:
    """Checkpoints, runs, feature sets and datasets of jobs."""

    def __init__(self, registry: Registry, root: Path, damaged: set[str]) -> None:
        """`damaged`: digests of feature sets that a read has found damaged; mended ones are taken out."""
        self._registry = registry
        self._root = root
        self._damaged = damaged

    async def register(self, job_id: str, result: pb.JobResult) -> None:
        """Register what a job has stored, with what its card says, before the job counts as done."""
        catalog, run = self._registry.catalog, self._registry.run
        given = await run(catalog.cards.given_to, "job", job_id)
        match result.WhichOneof("kind"):
            case "run":
                record = MessageToDict(result.run)
                await asyncio.to_thread(write_run_record, self._root, result.run.id, record)
                await run(catalog.add_run, result.run, given)
            case "extract":
                for feature_set in result.extract.feature_sets:
                    await run(catalog.add_feature_set, feature_set, given)
                    self._damaged.discard(feature_set.digest)
            case "dataset":
                await run(catalog.add_dataset, result.dataset, given)
            case "checkpoint":
                await run(catalog.add_checkpoint, result.checkpoint, given)
            case "merge_curve" | "merge_report":
                pass  # the answer is kept with the job
            case None:
                raise ServiceError(ErrorKind.INTERNAL, "a worker sent an empty result")

    async def asked_by(self, job_id: str) -> Given:
        """Who asked for a job, for what is found on the way."""
        card = await self._registry.run(self._registry.catalog.cards.get, "job", job_id)
        return Given(user=card.user)

    async def drop_unneeded(self, job_id: str, needed: set[str]) -> None:
        """Delete what a run has stored and does not keep, where nothing else has it."""
        try:
            left = await self._registry.run(self._registry.deletions.drop_unneeded, job_id, needed)
        except (RegistryUnavailable, OSError):
            # They belong to the run, and go with it or with the next that it is done with.
            log.exception("job %s: checkpoints that it no longer needs could not be deleted", job_id)
        else:
            await asyncio.to_thread(remove, left)

    async def are_there(self, job: pb.Job) -> bool:
        """Whether what a finished job made is still stored; what a read has found damaged is not."""
        if job.state != pb.JOB_STATE_SUCCEEDED:
            return True
        if await self._registry.run(self._registry.deletions.planner.deleted_products, job):
            return False
        digests = [one.digest for one in job.result.extract.feature_sets]
        if self._damaged.intersection(digests):
            return False
        return await asyncio.to_thread(is_whole, self._root, job.result)


def is_whole(root: Path, result: pb.JobResult) -> bool:
    """Whether every file of the feature sets, and every checkpoint, that a job made are in place."""
    for feature_set in result.extract.feature_sets:
        directory = root / "features" / feature_set.digest
        try:
            if missing_files(directory, read_manifest(directory)):
                return False
        except ServiceError:
            return False
    imported = [result.checkpoint] if result.HasField("checkpoint") else []
    return all(
        (root / "checkpoints" / checkpoint.digest / "manifest.json").is_file()
        for checkpoint in (*result.run.checkpoints, *imported)
    )
