"""The fleet of one machine: what a job needs runs in its own worker, or in processes that this one starts."""

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.compute_environment import BLAS_THREADS, usable_cores
from penult_server.errors import ServiceError
from penult_server.jobs.channel import Reports
from penult_server.jobs.fleets.entries import TABLE, find
from penult_server.jobs.fleets.fleet import CANCEL_GRACE, MOST_DEATHS, Capacity, Json, Outcome, TaskEntry, Told
from penult_server.jobs.fleets.task_process import TaskProcess
from penult_server.machine.gpus import VISIBLE, leave_if_lost, visible_gpus
from penult_server.status import translate


class LocalFleet:
    """Satisfies `Fleet`. The first process of a gang is the job's worker itself, as is that of tasks one at a time."""

    does_one_here = True

    def __init__(self, device: str = "auto", *, table: str = TABLE, grace: float = CANCEL_GRACE) -> None:
        """`device` is the job's: "auto", "cpu" or "cuda"; `table` the module with the list of entries."""
        self._device = device
        self._table = table
        self._grace = grace
        self._cancelled = threading.Event()
        self._reports: Reports | None = None
        """Reports of the gang, which looks there whether it is cancelled."""
        self._at_once = 1
        self._processes: set[TaskProcess] = set()
        """Processes that may not have ended."""
        self._idle: list[TaskProcess] = []
        """Processes without a task: they have loaded what one needs."""
        self._changing = threading.Lock()

    def usual_at_once(self) -> int:
        return 1  # others of this machine may be another job's

    def capacity(self) -> Capacity:
        return Capacity(cpus=usable_cores(), gpus=len(self._gpus()))

    def gang(self, order: JobOrder, size: int, reports: Reports) -> pb.JobResult:
        # Imported here: a job that trains nothing needs no framework.
        from penult_server.jobs.ranks import shared_by

        reports.when_cancelled(self.cancel)
        self._reports = reports
        together = shared_by(order, size, reports.error, self._table)
        result: pb.JobResult = find(self._table, "rank")(order, reports, together)
        return result

    def tasks(
        self, entry: TaskEntry, orders: Iterable[Json], *, at_once: int, told: Told | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        if at_once == 1:
            return self._here(entry, orders, told or _ignore)
        return self._elsewhere(entry, orders, at_once)

    def cancel(self) -> None:
        if self._cancelled.is_set():
            return
        self._cancelled.set()
        if self._reports:
            self._reports.cancel()
        with self._changing:
            processes = list(self._processes)
        for process in processes:
            process.cancel()
        if processes:
            ending = threading.Timer(self._grace, self.close)
            ending.daemon = True
            ending.start()

    def close(self) -> None:
        with self._changing:
            processes = list(self._processes)
        for process in processes:
            self._end(process)

    def _gpus(self) -> tuple[str, ...]:
        return visible_gpus(os.environ) if self._device != "cpu" else ()

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise ServiceError(ErrorKind.CANCELLED, "the job was cancelled")

    def _here(self, name: TaskEntry, orders: Iterable[Json], told: Told) -> Generator[tuple[int, Outcome]]:
        """One after another in this process, whose death is the job's."""
        work: Callable[[Json, InDriver], Json] = find(self._table, name)
        for index, order in enumerate(orders):
            self._check_cancelled()
            try:
                outcome = Outcome(result=work(order, InDriver(self._check_cancelled, partial(told, index))))
            except Exception as error:
                leave_if_lost(error)
                outcome = Outcome(error=translate(error))
            self._check_cancelled()
            yield index, outcome

    def _elsewhere(self, name: TaskEntry, orders: Iterable[Json], at_once: int) -> Generator[tuple[int, Outcome]]:
        """In processes of their own, each driven by a thread of this one."""
        if at_once != self._at_once:  # others would have another share of the machine
            self.close()
            self._at_once = at_once
        wanted = threading.Event()
        wanted.set()
        pending: dict[Future[Outcome], int] = {}
        with ThreadPoolExecutor(at_once, thread_name_prefix="task") as pool:
            try:
                for index, order in enumerate(orders):
                    while len(pending) == at_once:
                        yield from self._ended(pending)
                    self._check_cancelled()
                    pending[pool.submit(self._outcome, name, order, wanted)] = index
                while pending:
                    yield from self._ended(pending)
            finally:
                wanted.clear()
                if pending and not self._cancelled.is_set():  # nobody waits for them any more
                    self.close()

    def _ended(self, pending: dict[Future[Outcome], int]) -> Generator[tuple[int, Outcome]]:
        """Tasks that have ended; waits for one."""
        done = wait(pending, return_when=FIRST_COMPLETED).done
        self._check_cancelled()
        for future in done:
            yield pending.pop(future), future.result()

    def _outcome(self, name: TaskEntry, order: Json, wanted: threading.Event) -> Outcome:
        """How a task ended, done again when its process has died."""
        outcome = Outcome(died="not started")
        for _ in range(MOST_DEATHS):
            if self._cancelled.is_set() or not wanted.is_set():
                break
            process = self._taken()
            outcome = process.do(name, order)
            if outcome.died:
                self._end(process)
            else:
                with self._changing:
                    self._idle.append(process)
                break
        return outcome

    def _taken(self) -> TaskProcess:
        """A process without a task: one that has done others, or a new one."""
        with self._changing:
            if self._idle:
                return self._idle.pop()
            slot = min(set(range(self._at_once)) - {one.slot for one in self._processes})
            threads = max(1, usable_cores() // self._at_once)
            process = TaskProcess(slot, self._table, threads, self._variables(slot, threads))
            self._processes.add(process)
        if self._cancelled.is_set():
            process.cancel()
        return process

    def _variables(self, slot: int, threads: int) -> dict[str, str]:
        """A GPU and a share of the cores for each."""
        gpus = self._gpus()
        device = {VISIBLE: gpus[slot % len(gpus)]} if gpus else {}
        return dict.fromkeys(BLAS_THREADS, str(threads)) | device

    def _end(self, process: TaskProcess) -> None:
        process.kill()
        with self._changing:
            self._processes.discard(process)
            if process in self._idle:
                self._idle.remove(process)


class InDriver:
    """The `TaskContext` of a task in the job's own worker."""

    threads = 0

    def __init__(self, check_cancelled: Callable[[], None], progress: Callable[[float], None]) -> None:
        self.check_cancelled = check_cancelled
        self.progress = progress


def _ignore(index: int, done: float) -> None:
    """Nobody asked."""
