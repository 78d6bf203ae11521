"""What the work of a job asks for more processes, on this machine or on others.

Only JSON and files in the store cross a fleet: an order, the name of one of our own entries, a small answer. Code is
never sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.errors import ServiceError
from penult_server.jobs.channel import Reports

Json: TypeAlias = Mapping[str, Any]
"""What `json.dumps` takes."""
TaskEntry: TypeAlias = Literal["extract_range"]
"""Names of the entries that do one task each; `entries` says where they are."""
Told: TypeAlias = Callable[[int, float], None]
"""Takes the index of a task and how far it says it is."""

MOST_DEATHS = 3
"""How often the process of one task may die before the task is given up."""
CANCEL_GRACE = 8.0
"""Seconds that gangs and tasks have to notice a cancellation; the front ends the whole job a little later."""


class WorkerDiedError(Exception):
    """Processes of a job have died. Its worker ends without a word, as if it had died itself: the queue counts that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a gang may have now."""

    cpus: int
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task ended."""

    result: Json = field(default_factory=dict[str, Any])
    """What its entry returned."""
    error: ServiceError | None = None
    """Its own error, which another attempt would meet again: there was none."""
    died: str = ""
    """How its process ended, every time; empty when it did not die."""

    def value(self) -> Json:
        """The result. Raises the task's ServiceError, and WorkerDiedError."""
        if self.error:
            raise self.error
        if self.died:
            raise WorkerDiedError(self.died)
        return self.result


class TaskContext(Protocol):
    """What a task may say and ask while it runs."""

    threads: int
    """Threads that it may compute with; 0 for as many as the process has."""

    def check_cancelled(self) -> None:
        """Raise ServiceError (CANCELLED) when the job was cancelled. Cheap: to be called for every batch."""
        ...

    def progress(self, done: float) -> None:
        """Say how far this task is, in a unit of its own. Cheap; counts where the task runs in the job's worker."""
        ...


class Fleet(Protocol):
    """Processes for one job. May be used by one thread; `cancel` by any."""

    does_one_here: bool
    """Whether tasks one at a time are done in this process, which is then told how far each is."""

    def usual_at_once(self) -> int:
        """How many tasks at a time are a good use of it, where nobody has said. Raises ServiceError."""
        ...

    def capacity(self) -> Capacity:
        """What a gang may have. Raises ServiceError."""
        ...

    def gang(self, order: JobOrder, size: int, reports: Reports) -> pb.JobResult:
        """Have `size` processes do the entry `rank` of the order together; what the first one says goes to `reports`.

        Raises ServiceError: the first one's, a later one's when it failed first, INVALID_ARGUMENT for more processes
        than there may be, CANCELLED; WorkerDiedError when one has died, unless the caller ends by it at once.
        All have ended when this returns.
        """
        ...

    def tasks(
        self, entry: TaskEntry, orders: Iterable[Json], *, at_once: int, told: Told | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Do each order, at most `at_once` under way; yields its index and how it ended, in any order.

        Each order is done at least once and answered once. One whose process dies is done again, `MOST_DEATHS` times at
        most; one that fails is not. An order is taken from `orders` when there is space for it, so that who asks
        for no more answers gets no more work done.

        Raises ServiceError (CANCELLED) after `cancel`.
        """
        ...

    def cancel(self) -> None:
        """End every gang and task at its next step or batch; after `CANCEL_GRACE` seconds at once."""
        ...

    def close(self) -> None:
        """Leave nothing of this job's running."""
        ...
