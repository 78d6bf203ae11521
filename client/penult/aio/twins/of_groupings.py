"""`penult.calls.catalog.groupings.Groupings`, awaited. Made by ``python -m penult.aio.generate``."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import TYPE_CHECKING
from penult.aio.running import Twin, awaited
from penult.calls.catalog.groupings import Groupings as SyncGroupings
from penult.calls import storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence
    from numpy.typing import ArrayLike
    from numpy.typing import NDArray
    from penult.results.groupings.grouping import Grouping
    from penult.results.groupings.grouping import GroupingArrays
    from penult.results.lists.listing import Listing
    from penult.results.records import Dataset
    from penult.results.space.deletion import Deletion
    from penult.wire.encode import Since
    from penult.wire.encode_spectra import SourceLike
    from penult.wire.references import FeatureSetLike
    from penult.wire.references import GroupingLike
    from typing import Any
    import numpy as np


class Groupings(Twin[SyncGroupings]):
    """Stored groupings: values of rows that stand in for their attribute, from a column, from you, or discovered."""

    async def assign(self, grouping: GroupingLike, features: SourceLike, *, split: str | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=600.0, progress: bool | None=None) -> Grouping:
        """The rows of another set, assigned by the rule that a grouping was stored with; the same as `Grouping.on`.

        As `groupings.assign` of the synchronous client.
        """
        return await awaited(self.sync.assign, grouping, features, split=split, name=name, tags=tags, note=note, timeout=timeout, progress=progress)  # pyright: ignore

    async def delete(self, grouping: GroupingLike, *, dependents: bool=False, dry_run: bool=False, timeout: float=storage.DELETE_SECONDS) -> Deletion:
        """Delete a grouping: its values and its names.

        As `groupings.delete` of the synchronous client.
        """
        return await awaited(self.sync.delete, grouping, dependents=dependents, dry_run=dry_run, timeout=timeout)  # pyright: ignore

    async def describe(self, grouping: GroupingLike, *, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=30.0) -> Grouping:
        """Name a grouping, tag it, write a note; see `Runs.describe`. Returns it, with its notes.

        As `groupings.describe` of the synchronous client.
        """
        return await awaited(self.sync.describe, grouping, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def from_attribute(self, features: SourceLike, attribute: str | None=None, *, split: str | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=600.0, progress: bool | None=None) -> Grouping:
        """The groups that an attribute column of the data makes: as a grouping, what the stored groups are anyway.

        As `groupings.from_attribute` of the synchronous client.
        """
        return await awaited(self.sync.from_attribute, features, attribute, split=split, name=name, tags=tags, note=note, timeout=timeout, progress=progress)  # pyright: ignore

    async def get(self, grouping: GroupingLike, *, timeout: float=30.0) -> Grouping:
        """The grouping of a digest, of the start of one (at least 4 characters), or of a name. Raises `NotFound`.

        As `groupings.get` of the synchronous client.
        """
        return await awaited(self.sync.get, grouping, timeout=timeout)  # pyright: ignore

    async def list(self, *, features: FeatureSetLike | None=None, method: str | None=None, dataset: Dataset | str | None=None, tag: str | Sequence[str] | None=None, name: str | None=None, since: Since | None=None, user: str | None=None, limit: int | None=None, timeout: float=30.0) -> Listing[Grouping]:
        """Groupings, newest first, as a list that prints as a table; all of them by default.

        As `groupings.list` of the synchronous client.
        """
        return await awaited(self.sync.list, features=features, method=method, dataset=dataset, tag=tag, name=name, since=since, user=user, limit=limit, timeout=timeout)  # pyright: ignore

    async def read(self, grouping: GroupingLike, *, timeout: float=600.0) -> GroupingArrays:
        """Bring the value of every row here; ``grouping.values`` does so when it is first needed.

        As `groupings.read` of the synchronous client.
        """
        return await awaited(self.sync.read, grouping, timeout=timeout)  # pyright: ignore

    async def row_ids_of(self, features: FeatureSetLike, timeout: float) -> NDArray[np.uint64]:
        """(N,) ids of all rows of a set, in its order.

        As `groupings.row_ids_of` of the synchronous client.
        """
        return await awaited(self.sync.row_ids_of, features, timeout)  # pyright: ignore

    async def upload(self, features: FeatureSetLike, values: ArrayLike | Mapping[int, Any], *, row_id: ArrayLike | None=None, names: Sequence[str | int] | None=None, attribute: str | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=600.0, progress: bool | None=None) -> Grouping:
        """Store groups that you have: a value for every row, or for some.

        As `groupings.upload` of the synchronous client.
        """
        return await awaited(self.sync.upload, features, values, row_id=row_id, names=names, attribute=attribute, name=name, tags=tags, note=note, timeout=timeout, progress=progress)  # pyright: ignore
