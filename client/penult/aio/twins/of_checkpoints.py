"""`penult.calls.checkpoints.Checkpoints`, awaited. Made by ``python -m penult.aio.generate``."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import TYPE_CHECKING
from penult.aio.running import Twin, awaited
from penult.calls.checkpoints import Checkpoints as SyncCheckpoints
from penult.calls import storage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from penult.aio.twins.jobs import Job
    from penult.results.heads import Head
    from penult.results.lists.listing import Listing
    from penult.results.records import Checkpoint
    from penult.results.records import Dataset
    from penult.results.records import Run
    from penult.results.refits import Refit
    from penult.results.space.deletion import Deletion
    from penult.types import ExportFormat
    from penult.types import FileHead
    from penult.types import ForeignObjects
    from penult.types import PoolingName
    from penult.wire.encode import Since
    import os


class Checkpoints(Twin[SyncCheckpoints]):
    """Stored models with their heads."""

    async def delete(self, checkpoint: Checkpoint | str, *, dependents: bool=False, dry_run: bool=False, timeout: float=storage.DELETE_SECONDS) -> Deletion:
        """Delete one checkpoint. Runs that have it stay, with their metrics, and no longer list it.

        As `checkpoints.delete` of the synchronous client.
        """
        return await awaited(self.sync.delete, checkpoint, dependents=dependents, dry_run=dry_run, timeout=timeout)  # pyright: ignore

    async def describe(self, checkpoint: Checkpoint | str, *, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=30.0) -> Checkpoint:
        """Name a checkpoint, tag it, write a note; see `Runs.describe`. Returns it.

        As `checkpoints.describe` of the synchronous client.
        """
        return await awaited(self.sync.describe, checkpoint, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def export(self, checkpoint: Checkpoint | str, path: str | os.PathLike[str], *, format: ExportFormat | None=None, head: Refit | Head | str | None=None, overwrite: bool=False, timeout: float=3600.0, progress: bool | None=None) -> Path:
        """Write a checkpoint into a directory on this machine that its library loads; the directory's absolute path.

        As `checkpoints.export` of the synchronous client.
        """
        return await awaited(self.sync.export, checkpoint, path, format=format, head=head, overwrite=overwrite, timeout=timeout, progress=progress)  # pyright: ignore

    async def get(self, digest: Checkpoint | str, *, timeout: float=30.0) -> Checkpoint:
        """The checkpoint of a digest, of its start (at least 4 characters) or of a name. Raises `NotFound`.

        As `checkpoints.get` of the synchronous client.
        """
        return await awaited(self.sync.get, digest, timeout=timeout)  # pyright: ignore

    async def import_(self, source: str | Path, *, backbone: str | Path | None=None, dataset: Dataset | str | None=None, attribute: str | None=None, classes: Sequence[str] | None=None, head: FileHead='keep', on_server: bool=False, foreign_objects: ForeignObjects='refuse', image_size: int | None=None, image_resize: int | None=None, image_mean: Sequence[float] | None=None, image_std: Sequence[float] | None=None, interpolation: str | None=None, max_tokens: int | None=None, pooling: PoolingName | None=None, seed: int | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=3600.0) -> Job[Checkpoint]:
        """Import a model that was trained elsewhere, with its head; ``.wait()`` gives the `Checkpoint`.

        As `checkpoints.import_` of the synchronous client.
        """
        return await awaited(self.sync.import_, source, backbone=backbone, dataset=dataset, attribute=attribute, classes=classes, head=head, on_server=on_server, foreign_objects=foreign_objects, image_size=image_size, image_resize=image_resize, image_mean=image_mean, image_std=image_std, interpolation=interpolation, max_tokens=max_tokens, pooling=pooling, seed=seed, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def list(self, *, dataset: str | None=None, backbone: str | None=None, run: Run | str | None=None, tag: str | Sequence[str] | None=None, name: str | None=None, since: Since | None=None, user: str | None=None, limit: int | None=None, timeout: float=30.0) -> Listing[Checkpoint]:
        """Checkpoints, newest first, as a list that prints as a table; all of them by default.

        As `checkpoints.list` of the synchronous client.
        """
        return await awaited(self.sync.list, dataset=dataset, backbone=backbone, run=run, tag=tag, name=name, since=since, user=user, limit=limit, timeout=timeout)  # pyright: ignore
