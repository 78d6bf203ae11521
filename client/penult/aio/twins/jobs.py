"""Jobs, and several of them. Made by ``python -m penult.aio.generate``."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import TYPE_CHECKING
from penult.aio.running import TWINS, Twin, awaited, waited
from penult.calls import job as sync
from penult.calls import job_group as group
from typing import TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from penult.errors import PenultError
    from penult.types import JobState
    from penult_proto.v1 import jobs_pb2
    import pandas as pd

T = TypeVar("T")


class Job(Twin[sync.Job[T]]):
    """A job on the server. It outlives this handle, this process and the connection."""

    @property
    def attempt(self) -> int:
        """How often the job was started, including after restarts of the server."""
        return self.sync.attempt

    async def cancel(self, *, timeout: float=30.0) -> Job[T]:
        """End it early; returns itself. May be called again.

        As `Job.cancel` of the synchronous client.
        """
        return await awaited(self.sync.cancel, timeout=timeout)  # pyright: ignore

    @property
    def created(self) -> datetime | None:
        """When it was asked for."""
        return self.sync.created

    @property
    def deleted(self) -> tuple[str, ...]:
        """What it made that has been deleted since, at the last `refresh` or `wait`: run, feature sets or dataset."""
        return self.sync.deleted

    @property
    def ended(self) -> bool:
        """Whether the job has succeeded, failed or been cancelled."""
        return self.sync.ended

    @property
    def error(self) -> PenultError | None:
        """Why it did not succeed, or None."""
        return self.sync.error

    @property
    def finished(self) -> datetime | None:
        """When it ended; None before that."""
        return self.sync.finished

    @property
    def fraction(self) -> float:
        """How much of it is done, 0 to 1, as far as it says so; 1 once it has succeeded."""
        return self.sync.fraction

    @property
    def id(self) -> str:
        """Identifies the job on its server."""
        return self.sync.id

    @property
    def kind(self) -> str:
        """What kind of work it is."""
        return self.sync.kind

    @property
    def last_seq(self) -> int:
        """Number of its newest event at the last `refresh`."""
        return self.sync.last_seq

    @property
    def may_stop(self) -> bool:
        """Whether its server stops with its last client though this job has not ended; see `penult.local`."""
        return self.sync.may_stop

    @property
    def name(self) -> str:
        """The name that was asked for; empty without one. Of a finetuning, its run gets it."""
        return self.sync.name

    @property
    def note(self) -> str:
        """The note that was asked for; what the job makes gets it."""
        return self.sync.note

    async def refresh(self, *, timeout: float=30.0) -> Job[T]:
        """Ask the server how it stands; returns itself.

        As `Job.refresh` of the synchronous client.
        """
        return await awaited(self.sync.refresh, timeout=timeout)  # pyright: ignore

    @property
    def result(self) -> T:
        """What a job that succeeded made. Raises the error of its kind when it has failed or not ended yet;"""
        return self.sync.result

    @property
    def spec(self) -> jobs_pb2.JobSpec:
        """The request as the server has it, every default filled in."""
        return self.sync.spec

    @property
    def stage(self) -> str:
        """What is being done and how far, such as "epoch 2 of 2: 30 of 126 steps"; empty before it starts."""
        return self.sync.stage

    @property
    def started(self) -> datetime | None:
        """When its last attempt was started; None before that."""
        return self.sync.started

    @property
    def state(self) -> JobState:
        """State of the job at the last `refresh` or `wait`; ``"cancelling"`` until its worker has stopped."""
        return self.sync.state

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags that were asked for; what the job makes gets them."""
        return self.sync.tags

    @property
    def title(self) -> str:
        """What it does, in a line."""
        return self.sync.title

    @property
    def user(self) -> str:
        """Who asked first, as the client said; empty when not known."""
        return self.sync.user

    async def wait(self, *, progress: bool | None=None, timeout: float | None=None) -> T:
        """Wait until it has ended and return what it made.

        As `Job.wait` of the synchronous client.
        """
        return await waited(self.sync.wait, progress=progress, timeout=timeout)  # pyright: ignore

class JobGroup(Twin[group.JobGroup[T]]):
    """Several jobs that were asked for together, in order; a sequence of `Job`."""

    async def cancel(self, *, timeout: float=30.0) -> JobGroup[T]:
        """End all of them early, the last first; returns itself. Those that have ended stay as they are.

        As `JobGroup.cancel` of the synchronous client.
        """
        return await awaited(self.sync.cancel, timeout=timeout)  # pyright: ignore

    def to_frame(self) -> pd.DataFrame:
        """One row per job, as they stood at their last `refresh` or `wait`. Raises ImportError when pandas is missing.

        As `JobGroup.to_frame` of the synchronous client.
        """
        return self.sync.to_frame()

    async def wait(self, *, progress: bool | None=None, timeout: float | None=None) -> list[T]:
        """Wait until all have ended and return what they made, in order.

        As `JobGroup.wait` of the synchronous client.
        """
        return await waited(self.sync.wait, progress=progress, timeout=timeout)  # pyright: ignore

    def __iter__(self) -> Iterator[Job[T]]:
        return (Job(one) for one in self.sync)

    def __len__(self) -> int:
        return len(self.sync)

    def __getitem__(self, index: int) -> Job[T]:
        return Job(self.sync[index])


TWINS.update({sync.Job: Job, group.JobGroup: JobGroup})
