"""`penult.calls.runs.Runs`, awaited. Made by ``python -m penult.aio.generate``."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import TYPE_CHECKING
from penult.aio.running import Twin, awaited
from penult.calls.runs import Runs as SyncRuns
from penult.calls import storage

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence
    from penult.results.lists.listing import Listing
    from penult.results.lists.run_table import RunTable
    from penult.results.records import Run
    from penult.results.records import RunManifest
    from penult.results.space.deletion import Deletion
    from penult.wire.encode import Since


class Runs(Twin[SyncRuns]):
    """Finished runs. One is given as a record, an id, the start of one (at least 4 characters) or a name."""

    async def delete(self, run: Run | str, *, dependents: bool=False, dry_run: bool=False, timeout: float=storage.DELETE_SECONDS) -> Deletion:
        """Delete a run: its record, its manifest, and its checkpoints, except those that another run has stored, too.

        As `runs.delete` of the synchronous client.
        """
        return await awaited(self.sync.delete, run, dependents=dependents, dry_run=dry_run, timeout=timeout)  # pyright: ignore

    async def describe(self, run: Run | str, *, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=30.0) -> Run:
        """Name a run, tag it, write a note; what is None stays as it is. Returns the run.

        As `runs.describe` of the synchronous client.
        """
        return await awaited(self.sync.describe, run, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def get(self, id: Run | str, *, timeout: float=30.0) -> Run:
        """The run of an id, of the start of one, or of a name. Raises `NotFound`, listing those that exist.

        As `runs.get` of the synchronous client.
        """
        return await awaited(self.sync.get, id, timeout=timeout)  # pyright: ignore

    async def list(self, *, dataset: str | None=None, backbone: str | None=None, tag: str | Sequence[str] | None=None, name: str | None=None, since: Since | None=None, user: str | None=None, limit: int | None=None, timeout: float=30.0) -> Listing[Run]:
        """Finished runs, newest first, as a list that prints as a table; all of them by default.

        As `runs.list` of the synchronous client.
        """
        return await awaited(self.sync.list, dataset=dataset, backbone=backbone, tag=tag, name=name, since=since, user=user, limit=limit, timeout=timeout)  # pyright: ignore

    async def manifest(self, run: Run | str, *, timeout: float=30.0) -> RunManifest:
        """What is needed to run a run again; also of one that has not ended.

        As `runs.manifest` of the synchronous client.
        """
        return await awaited(self.sync.manifest, run, timeout=timeout)  # pyright: ignore

    async def table(self, runs: Iterable[Run | str] | None=None, *, by: str | Sequence[str]=(), over: str | Sequence[str]='seed', split: str='test', metric: str | Sequence[str]=('worst_group_accuracy', 'average_accuracy'), epoch: float=-1, across: str | Sequence[str]=(), dataset: str | None=None, backbone: str | None=None, tag: str | Sequence[str] | None=None, name: str | None=None, since: Since | None=None, user: str | None=None, timeout: float=30.0) -> RunTable:
        """Mean, standard deviation (divisor n - 1) and number of runs, as papers report them.

        As `runs.table` of the synchronous client.
        """
        return await awaited(self.sync.table, runs, by=by, over=over, split=split, metric=metric, epoch=epoch, across=across, dataset=dataset, backbone=backbone, tag=tag, name=name, since=since, user=user, timeout=timeout)  # pyright: ignore
