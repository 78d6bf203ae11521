"""Processes on a Ray cluster that do tasks: actors, each for many tasks, replaced when they die.

Not Core tasks: cancelling one whose end arrives at the same time makes Ray 2.60 abort the driver.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false, reportAttributeAccessIssue=false
# Ray is annotated in part.

import json
import threading
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.jobs.fleets import on_nodes
from penult_server.jobs.fleets.answers import outcome_of
from penult_server.jobs.fleets.fleet import MOST_DEATHS, Json, Outcome, WorkerDiedError

POLL_SECONDS = 0.5
"""How often a cancellation is looked for while nothing happens."""


@dataclass(slots=True)
class Task:
    """One order, as JSON, and how often its process has died."""

    index: int
    order: str
    deaths: int = 0


class Pool:
    """Actors with one share of the cluster each. Used by one thread; `end` by any."""

    def __init__(self, table: str, share: tuple[int, int], cancelled: threading.Event) -> None:
        """`share`: cores and GPUs of each."""
        self.share = share
        self._table = table
        self._cancelled = cancelled
        cores, gpus = share
        self._made: Any = ray.remote(on_nodes.Tasks).options(
            num_cpus=cores, num_gpus=gpus, max_restarts=0, max_concurrency=3
        )
        self._starting: dict[Any, Any] = {}
        """Actors that may wait for space, by what says that they are there."""
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Task]] = {}
        """Actors and their tasks, by what says that a task has ended."""
        self._failed_starts = 0

    def answers(self, name: str, orders: Iterable[Json], at_once: int) -> Generator[tuple[int, Outcome]]:
        """Do the orders as `Fleet.tasks` says."""
        waiting: deque[Task] = deque()
        coming = enumerate(orders)
        try:
            while True:
                while len(waiting) + len(self._busy) < at_once and (more := next(coming, None)) is not None:
                    waiting.append(Task(more[0], json.dumps(more[1])))
                if not waiting and not self._busy:
                    return
                self._check_cancelled()
                self._start(name, waiting)
                for task, outcome in self._ended():
                    if outcome.died and task.deaths + 1 < MOST_DEATHS:
                        task.deaths += 1
                        waiting.appendleft(task)
                    else:
                        yield task.index, outcome
        finally:
            if self._busy:  # nobody waits for them any more
                self.end(True)

    def end(self, now: bool) -> None:
        """Tell the tasks to end; `now` end the actors."""
        busy = [actor for actor, _ in list(self._busy.values())]
        if not now:
            for actor in busy:
                actor.cancel.remote()
            return
        for actor in (*busy, *self._idle, *list(self._starting.values())):
            ray.kill(actor)
        self._busy.clear()
        self._idle.clear()
        self._starting.clear()

    def _start(self, name: str, waiting: deque[Task]) -> None:
        """Give the tasks that wait to actors without one, and have as many more started as there are too few."""
        while waiting and self._idle:
            actor, task = self._idle.pop(), waiting.popleft()
            self._busy[actor.do.remote(name, task.order)] = (actor, task)
        for _ in range(len(waiting) - len(self._starting)):
            actor = self._made.remote(self._table, self.share[0])
            self._starting[actor.pid.remote()] = actor

    def _ended(self) -> list[tuple[Task, Outcome]]:
        """Tasks that have ended since the last call; waits a little for something to happen."""
        ready, _ = ray.wait([*self._starting, *self._busy], timeout=POLL_SECONDS)
        if self._cancelled.is_set():
            self._wait_for_end()
        found: list[tuple[Task, Outcome]] = []
        for ref in ready:
            if ref in self._starting:
                self._has_started(ref)
                continue
            actor, task = self._busy.pop(ref)
            try:
                outcome = outcome_of(json.loads(ray.get(ref)))
                self._idle.append(actor)
            except RayError as error:
                ray.kill(actor)  # where it is only out of reach
                outcome = Outcome(died=f"{type(error).__name__}: {error}"[:500])
            found.append((task, outcome))
        return found

    def _has_started(self, ref: Any) -> None:
        """Raises WorkerDiedError when actors die as soon as they are made."""
        actor = self._starting.pop(ref)
        try:
            ray.get(ref)
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts == MOST_DEATHS:
                raise WorkerDiedError(f"no process for tasks could be started: {error}") from error
            return
        self._failed_starts = 0
        self._idle.append(actor)

    def _wait_for_end(self) -> None:
        """After a cancellation: until every task has ended, by itself or killed. Raises ServiceError (CANCELLED)."""
        if refs := list(self._busy):
            ray.wait(refs, num_returns=len(refs))
        self._check_cancelled()

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise ServiceError(ErrorKind.CANCELLED, "the job was cancelled")
