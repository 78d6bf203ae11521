"""`penult.calls.features.FeatureSets`, awaited. Made by ``python -m penult.aio.generate``."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import TYPE_CHECKING
from penult.aio.running import Twin, awaited
from penult.calls.features import FeatureSets as SyncFeatureSets
from penult.calls import storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence
    from numpy.typing import ArrayLike
    from pathlib import Path
    from penult.calls.arrays.exporting import FileFormat
    from penult.files.group_codes import GroupCoding
    from penult.results.heads import Head
    from penult.results.heads import HeadArrays
    from penult.results.lists.listing import Listing
    from penult.results.records import Checkpoint
    from penult.results.records import Dataset
    from penult.results.records import FeatureSet
    from penult.results.records import Features
    from penult.results.refits import Refit
    from penult.results.space.deletion import Deletion
    from penult.wire.encode import Since
    from penult.wire.references import FeatureSetLike
    from typing import Any
    from typing import Literal


class FeatureSets(Twin[SyncFeatureSets]):
    """Stored features. They stay on the server; only `read` and `export` bring them here."""

    async def delete(self, features: FeatureSetLike, *, dependents: bool=False, dry_run: bool=False, timeout: float=storage.DELETE_SECONDS) -> Deletion:
        """Delete a feature set: its arrays and its names. Named by one of several names, only that name goes.

        As `features.delete` of the synchronous client.
        """
        return await awaited(self.sync.delete, features, dependents=dependents, dry_run=dry_run, timeout=timeout)  # pyright: ignore

    async def describe(self, features: FeatureSetLike, *, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=30.0) -> FeatureSet:
        """Name a feature set, tag it, write a note; see `Runs.describe`. Returns it, with its notes.

        As `features.describe` of the synchronous client.
        """
        return await awaited(self.sync.describe, features, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def export(self, features: FeatureSetLike, path: str | Path, format: FileFormat='npz', *, timeout: float=3600.0, progress: bool | None=None) -> Path:
        """Write the arrays of a feature set to a file on this machine, bit for bit as they are stored.

        As `features.export` of the synchronous client.
        """
        return await awaited(self.sync.export, features, path, format, timeout=timeout, progress=progress)  # pyright: ignore

    async def get(self, features: FeatureSetLike, *, timeout: float=30.0) -> FeatureSet:
        """The feature set of a digest, of the start of one (at least 4 characters), of a name, or of "dataset/split".

        As `features.get` of the synchronous client.
        """
        return await awaited(self.sync.get, features, timeout=timeout)  # pyright: ignore

    async def list(self, *, dataset: Dataset | str | None=None, split: str | None=None, checkpoint: Checkpoint | str | None=None, backbone: str | None=None, tag: str | Sequence[str] | None=None, name: str | None=None, since: Since | None=None, user: str | None=None, limit: int | None=None, timeout: float=30.0) -> Listing[FeatureSet]:
        """Feature sets, newest first, as a list that prints as a table; all of them by default.

        As `features.list` of the synchronous client.
        """
        return await awaited(self.sync.list, dataset=dataset, split=split, checkpoint=checkpoint, backbone=backbone, tag=tag, name=name, since=since, user=user, limit=limit, timeout=timeout)  # pyright: ignore

    async def load(self, path: str | Path, *, columns: Mapping[str, str] | None=None, metadata: str | Path | None=None, split: str | int | None=None, y: ArrayLike | None=None, a: ArrayLike | None=None, n_attributes: int | None=None, group_coding: GroupCoding | None=None, dtype: Literal['float32', 'float16'] | None=None, head: Head | Refit | HeadArrays | str | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, classes: Sequence[str | int] | None=None, attribute: str | None=None, attribute_values: Sequence[str | int] | None=None, train_counts: Mapping[Any, int] | None=None, timeout: float=3600.0, progress: bool | None=None) -> FeatureSet:
        """Store features that you have in files on this machine, as `upload` does.

        As `features.load` of the synchronous client.
        """
        return await awaited(self.sync.load, path, columns=columns, metadata=metadata, split=split, y=y, a=a, n_attributes=n_attributes, group_coding=group_coding, dtype=dtype, head=head, name=name, tags=tags, note=note, classes=classes, attribute=attribute, attribute_values=attribute_values, train_counts=train_counts, timeout=timeout, progress=progress)  # pyright: ignore

    async def read(self, features: FeatureSetLike, *, timeout: float=3600.0, progress: bool | None=None) -> Features:
        """Bring the arrays of a feature set here, exactly as they are stored.

        As `features.read` of the synchronous client.
        """
        return await awaited(self.sync.read, features, timeout=timeout, progress=progress)  # pyright: ignore

    async def upload(self, features: ArrayLike, y: ArrayLike, a: ArrayLike | None=None, *, logits: ArrayLike | None=None, row_id: ArrayLike | None=None, head: Head | Refit | HeadArrays | str | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, classes: Sequence[str | int] | None=None, attribute: str | None=None, attribute_values: Sequence[str | int] | None=None, masks: Mapping[str, ArrayLike] | None=None, train_counts: Mapping[Any, int] | None=None, timeout: float=3600.0, progress: bool | None=None) -> FeatureSet:
        """Store your own features; nothing is converted that could lose a bit.

        As `features.upload` of the synchronous client.
        """
        return await awaited(self.sync.upload, features, y, a, logits=logits, row_id=row_id, head=head, name=name, tags=tags, note=note, classes=classes, attribute=attribute, attribute_values=attribute_values, masks=masks, train_counts=train_counts, timeout=timeout, progress=progress)  # pyright: ignore
