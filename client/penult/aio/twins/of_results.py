"""`penult.calls.catalog.results.Results`, awaited. Made by ``python -m penult.aio.generate``."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import TYPE_CHECKING
from penult.aio.running import Twin, awaited
from penult.calls.catalog.results import Results as SyncResults
from penult.calls import storage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from penult.results.lists.listing import Listing
    from penult.results.lists.stored import ResultSummary
    from penult.results.space.deletion import Deletion
    from penult.types import ResultKind
    from penult.wire.encode import Since
    from penult.wire.references import Answer
    from penult.wire.references import FeatureSetLike
    from penult.wire.references import ResultLike


class Results(Twin[SyncResults]):
    """Stored answers: refits, spectra, descriptors, principal angles. A query that is asked again finds its own."""

    async def delete(self, result: ResultLike, *, dependents: bool=False, dry_run: bool=False, timeout: float=storage.DELETE_SECONDS) -> Deletion:
        """Delete a stored answer, given as `get` takes it.

        As `results.delete` of the synchronous client.
        """
        return await awaited(self.sync.delete, result, dependents=dependents, dry_run=dry_run, timeout=timeout)  # pyright: ignore

    async def describe(self, result: ResultLike, *, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=30.0) -> Answer:
        """Name an answer, tag it, write a note; see `Runs.describe`. Returns it, with its notes.

        As `results.describe` of the synchronous client.
        """
        return await awaited(self.sync.describe, result, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def get(self, result: ResultLike, *, timeout: float=60.0) -> Answer:
        """The whole answer of a digest, of the start of one (at least 4 characters), of a name, or of a summary.

        As `results.get` of the synchronous client.
        """
        return await awaited(self.sync.get, result, timeout=timeout)  # pyright: ignore

    async def list(self, *, kind: ResultKind | None=None, feature_set: FeatureSetLike | None=None, tag: str | Sequence[str] | None=None, name: str | None=None, since: Since | None=None, user: str | None=None, limit: int | None=None, timeout: float=30.0) -> Listing[ResultSummary]:
        """Stored answers in a line each, newest first; all of them by default.

        As `results.list` of the synchronous client.
        """
        return await awaited(self.sync.list, kind=kind, feature_set=feature_set, tag=tag, name=name, since=since, user=user, limit=limit, timeout=timeout)  # pyright: ignore
