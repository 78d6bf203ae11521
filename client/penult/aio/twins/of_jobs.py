"""`penult.calls.jobs.Jobs`, awaited. Made by ``python -m penult.aio.generate``."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import TYPE_CHECKING
from penult.aio.running import Twin, awaited
from penult.calls.jobs import Jobs as SyncJobs
from penult.calls import storage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from penult.aio.twins.jobs import Job
    from penult.calls.job import JobOutcome
    from penult.calls.jobs import JobKind
    from penult.results.lists.listing import Listing
    from penult.results.records import Dataset
    from penult.results.space.deletion import Deletion
    from penult.types import JobState
    from penult.wire.encode import Since
    from typing import Any


class Jobs(Twin[SyncJobs]):
    """The jobs of a server: ``client.jobs``."""

    async def delete(self, job: Job[Any] | str, *, dependents: bool=False, dry_run: bool=False, timeout: float=storage.DELETE_SECONDS) -> Deletion:
        """Delete the record and the log of a job that has ended. What it made stays.

        As `jobs.delete` of the synchronous client.
        """
        return await awaited(self.sync.delete, job, dependents=dependents, dry_run=dry_run, timeout=timeout)  # pyright: ignore

    async def describe(self, job: Job[Any] | str, *, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=30.0) -> Job[JobOutcome]:
        """Name a job, tag it, write a note; see `Runs.describe`. Returns it, with its notes.

        As `jobs.describe` of the synchronous client.
        """
        return await awaited(self.sync.describe, job, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def get(self, id: Job[Any] | str, *, timeout: float=30.0) -> Job[JobOutcome]:
        """The job of an id, of the start of one (at least 4 characters), or of a name. Raises `NotFound`.

        As `jobs.get` of the synchronous client.
        """
        return await awaited(self.sync.get, id, timeout=timeout)  # pyright: ignore

    async def list(self, *, states: Sequence[JobState]=(), kind: JobKind | None=None, dataset: Dataset | str | None=None, tag: str | Sequence[str] | None=None, name: str | None=None, since: Since | None=None, user: str | None=None, limit: int | None=100, timeout: float=30.0) -> Listing[Job[JobOutcome]]:
        """Jobs, newest first, as a list that prints as a table; the newest 100 by default.

        As `jobs.list` of the synchronous client.
        """
        return await awaited(self.sync.list, states=states, kind=kind, dataset=dataset, tag=tag, name=name, since=since, user=user, limit=limit, timeout=timeout)  # pyright: ignore

    async def log(self, job: Job[Any] | str, *, last: int | None=None, timeout: float=30.0) -> str:
        """What the work of a job has printed, with the log lines of its worker; of a large log the middle was cut out.

        As `jobs.log` of the synchronous client.
        """
        return await awaited(self.sync.log, job, last=last, timeout=timeout)  # pyright: ignore
