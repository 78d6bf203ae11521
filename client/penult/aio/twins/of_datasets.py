"""`penult.calls.datasets.Datasets`, awaited. Made by ``python -m penult.aio.generate``."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import TYPE_CHECKING
from penult.aio.running import Twin, awaited
from penult.calls.datasets import Datasets as SyncDatasets
from penult.calls import storage
from typing import overload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence
    from pathlib import Path
    from penult.aio.twins.jobs import Job
    from penult.calls.datasets import SplitValue
    from penult.calls.datasets import TableColumns
    from penult.results.lists.listing import Listing
    from penult.results.records import Dataset
    from penult.results.space.deletion import Deletion
    from penult.types import Layout
    from penult.wire.encode import Since
    from typing import Literal


class Datasets(Twin[SyncDatasets]):
    """The datasets that can be finetuned on."""

    async def delete(self, dataset: Dataset | str, *, dependents: bool=False, dry_run: bool=False, timeout: float=storage.DELETE_SECONDS) -> Deletion:
        """Delete a registered dataset: its labels and texts. Images are where they were before; they are never touched.

        As `datasets.delete` of the synchronous client.
        """
        return await awaited(self.sync.delete, dataset, dependents=dependents, dry_run=dry_run, timeout=timeout)  # pyright: ignore

    async def describe(self, dataset: Dataset | str, *, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=30.0) -> Dataset:
        """Tag a registered dataset, write a note; see `Runs.describe`. It keeps its name. Returns it.

        As `datasets.describe` of the synchronous client.
        """
        return await awaited(self.sync.describe, dataset, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def get(self, name: Dataset | str, *, timeout: float=30.0) -> Dataset:
        """The dataset of that name. Raises `NotFound`, listing those that exist.

        As `datasets.get` of the synchronous client.
        """
        return await awaited(self.sync.get, name, timeout=timeout)  # pyright: ignore

    async def list(self, *, tag: str | Sequence[str] | None=None, name: str | None=None, since: Since | None=None, user: str | None=None, limit: int | None=None, timeout: float=30.0) -> Listing[Dataset]:
        """Packaged datasets, then registered ones, newest first, as a list that prints as a table.

        As `datasets.list` of the synchronous client.
        """
        return await awaited(self.sync.list, tag=tag, name=name, since=since, user=user, limit=limit, timeout=timeout)  # pyright: ignore

    @overload
    async def register(self, name: str, source: str | Path, description: str='', *, layout: Layout='table', columns: TableColumns | None=None, splits: Mapping[str, SplitValue | Sequence[SplitValue]] | None=None, tags: Sequence[str] | None=None, note: str | None=None, wait: Literal[True]=True, timeout: float=30.0) -> Dataset: ...

    @overload
    async def register(self, name: str, source: str | Path, description: str='', *, layout: Layout='table', columns: TableColumns | None=None, splits: Mapping[str, SplitValue | Sequence[SplitValue]] | None=None, tags: Sequence[str] | None=None, note: str | None=None, wait: Literal[False], timeout: float=30.0) -> Job[Dataset]: ...

    async def register(self, name: str, source: str | Path, description: str='', *, layout: Layout='table', columns: TableColumns | None=None, splits: Mapping[str, SplitValue | Sequence[SplitValue]] | None=None, tags: Sequence[str] | None=None, note: str | None=None, wait: bool=True, timeout: float=30.0) -> Dataset | Job[Dataset]:
        """Register images, texts or pairs of texts under a name.

        As `datasets.register` of the synchronous client.
        """
        return await awaited(self.sync.register, name, source, description, layout=layout, columns=columns, splits=splits, tags=tags, note=note, wait=wait, timeout=timeout)  # pyright: ignore
