"""Gangs and tasks of one job on a Ray cluster; `on_nodes` is what runs there.

Ray tries nothing again: whether to is said once, by the pool for tasks and by the job's queue for gangs. Why not Ray
Train, and what was measured: NOTES.md of the server.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# Ray is annotated in part.

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import ray

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.errors import ServiceError
from penult_server.jobs.channel import Reports
from penult_server.jobs.fleets.entries import TABLE
from penult_server.jobs.fleets.fleet import CANCEL_GRACE, Capacity, Json, Outcome, TaskEntry, Told
from penult_server.jobs.fleets.ray_fleet.cluster import check_nodes, connect, nodes, share, usual_at_once
from penult_server.jobs.fleets.ray_fleet.gang import Gang
from penult_server.jobs.fleets.ray_fleet.pool import Pool
from penult_server.machine.ray_cluster import check_ray_cluster


class RayFleet:
    """Satisfies `Fleet`. Made in the worker of a job, which is Ray's driver: what it runs ends with it."""

    does_one_here = False

    def __init__(self, root: Path, device: str = "auto", *, table: str = TABLE, grace: float = CANCEL_GRACE) -> None:
        """Raises ServiceError: those of `check_ray_cluster`; VERSION_MISMATCH and FILES_MISSING, naming a node.

        `root`: the server's, which every node that works must have.
        """
        address = check_ray_cluster()
        self._device = device
        self._table = table
        self._grace = grace
        self._cancelled = threading.Event()
        self._end: Callable[[bool], None] = _nothing
        """Ends what is under way: in order, or, when true, at once."""
        self._pool: Pool | None = None
        """Processes of tasks, kept from one call to the next: they have loaded what a task needs."""
        connect(address)
        try:
            check_nodes(root)
        except BaseException:
            self.close()
            raise

    def usual_at_once(self) -> int:
        return usual_at_once(nodes(), with_gpu=self.capacity().gpus > 0)

    def capacity(self) -> Capacity:
        found = nodes()
        gpus = 0 if self._device == "cpu" else sum(gpus for _, gpus in found)
        return Capacity(cpus=sum(cores for cores, _ in found), gpus=gpus)

    def gang(self, order: JobOrder, size: int, reports: Reports) -> pb.JobResult:
        capacity = self.capacity()
        has = capacity.gpus or capacity.cpus
        if size > has:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"processes is {size}, each takes a {'GPU' if capacity.gpus else 'core'}, and the cluster has {has}; "
                f"ask for at most {has}",
                field="processes",
            )
        with Gang(self._table, size, self._share(size), self._cancelled) as gang:
            self._end = gang.end
            try:
                return gang.run(order, reports)
            finally:
                self._end = _nothing

    def tasks(
        self, entry: TaskEntry, orders: Iterable[Json], *, at_once: int, told: Told | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        one = self._share(at_once)
        if self._pool is None or self._pool.share != one:
            self._close_pool()
            self._pool = Pool(self._table, one, self._cancelled)
        self._end = self._pool.end
        return self._pool.answers(entry, orders, at_once)

    def cancel(self) -> None:
        if self._cancelled.is_set():
            return
        self._cancelled.set()
        self._end(False)
        later = threading.Timer(self._grace, lambda: self._end(True))
        later.daemon = True
        later.start()

    def close(self) -> None:
        end, self._end = self._end, _nothing
        end(True)
        self._close_pool()
        ray.shutdown()

    def _share(self, n: int) -> tuple[int, int]:
        """Cores and GPUs of each of `n` processes."""
        gpus = min(1, self.capacity().gpus)
        return share(nodes(), n, with_gpu=gpus > 0), gpus

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.end(True)
            self._pool = None


def _nothing(now: bool) -> None:
    """Nothing is under way."""
