"""Which GPU is whose: one job has one to itself, a run of k processes k, and each compute worker another where it can.

Devices are called as in CUDA_VISIBLE_DEVICES. Where none can be told apart, jobs are not told which to use.
"""

from collections.abc import Mapping
from dataclasses import replace

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.machine.gpus import visible_gpus
from penult_server.settings import Settings

JOBS_ON_CLUSTER = 8
"""Jobs that run, or wait for a cluster to have space, at once: it shares out its devices itself."""


def placed(settings: Settings, variables: Mapping[str, str]) -> Settings:
    """The same settings with the devices of jobs, those and the number of compute workers, and of jobs filled in.

    Compute workers that are asked for take the first GPUs, jobs the others. Where only those of jobs are named, each
    other GPU gets a compute worker. Where nothing is, the first GPU answers queries. With a cluster, compute workers
    that are asked for run there.

    Raises ServiceError (INVALID_ARGUMENT) for devices that there are not.
    """
    visible = visible_gpus(variables) if settings.device != "cpu" else ()
    if unknown := [one for one in settings.job_devices if visible and one not in visible]:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"--job-devices names {', '.join(unknown)}; this machine has the GPUs {', '.join(visible)}",
        )
    asked, is_local = settings.compute_workers, settings.engine == "local"
    if asked and not is_local:
        visible = ()
    if visible and asked > len(visible):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"--compute-workers must be at most the number of GPUs, {len(visible)}; got {settings.compute_workers}",
        )
    jobs = (settings.job_devices or visible[asked or 1 :] or visible) if is_local else ()
    apart = tuple(one for one in visible if one not in jobs)
    workers = asked or (len(apart) if settings.job_devices or not is_local else 0) or 1
    taken = (apart + tuple(one for one in visible if one in jobs))[:workers]
    return replace(
        settings,
        job_devices=jobs,
        compute_workers=workers,
        compute_devices=taken if len(visible) > 1 else (),
        compute_on_cluster=bool(asked) and not is_local,
        max_running_jobs=settings.max_running_jobs or (max(1, len(jobs)) if is_local else JOBS_ON_CLUSTER),
    )


class DeviceSlots:
    """The devices of jobs: which are free, and who has the others."""

    def __init__(self, devices: tuple[str, ...], extract_workers: int = 0) -> None:
        self._n = len(devices)
        self._extract_workers = extract_workers
        self._free = list(devices)
        self._taken: dict[str, list[str]] = {}

    def fits(self, job: pb.Job) -> bool:
        """Whether there are devices for a job now."""
        return self._wanted(job) <= len(self._free)

    def take(self, job: pb.Job) -> list[str]:
        """The devices of a job that fits, its own until `give_back`."""
        wanted = self._wanted(job)
        self._taken[job.id], self._free = self._free[:wanted], self._free[wanted:]
        return self._taken[job.id]

    def of(self, job_id: str) -> list[str]:
        """The devices that a job has."""
        return self._taken.get(job_id, [])

    def give_back(self, job_id: str) -> None:
        """The job has ended."""
        self._free += self._taken.pop(job_id, [])

    def _wanted(self, job: pb.Job) -> int:
        """As many as it has processes, but never more than there are: its worker then says that they are too few."""
        if job.spec.HasField("register_dataset"):
            return 0
        if job.spec.HasField("extract"):
            return min(self._extract_workers or 1, self._n)
        return min(max(1, job.spec.finetune.processes), self._n)
