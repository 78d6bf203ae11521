"""Groupings on disk: `groupings/<digest>/manifest.json` and `arrays.npz`, whole or not there.

Arrays: `row_id` (N,) uint64; `y` (N,) int64, the classes of the rows; `value` (N,) int64 in -1 .. V-1; where there is
one, `soft` (N, V) float32; and `rule.NAME` for each array of the rule by which other rows are assigned.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.row_ids import places_of
from penult_server.stores.disk.sealed import read_sealed, sealed_text, unsealed
from penult_server.stores.places.opening import files_of, store_of
from penult_server.stores.places.store import AlteredError, Files

FOLDER = "groupings"
ARRAYS = "arrays.npz"
RULE = "rule."
"""How the names of a rule's arrays begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupingManifest:
    """What is known of a grouping besides its rows."""

    digest: str
    feature_set: str
    classes: tuple[str, ...]
    values: tuple[str, ...]
    """Names of the V values."""
    attribute: str
    """What the values are called together, such as "kmeans"."""
    record: dict[str, Any]
    """The grouping's message as JSON, from which the registry can be rebuilt."""
    dataset: str = ""
    dataset_digest: str = ""
    split: str = ""
    rule: str = ""
    """Name of the kind of rule; empty without one."""
    checkpoint: str = ""
    """Digest of the checkpoint whose features the rule is about; empty where that is not known."""
    n_features: int = 0
    """Features that the rule is about."""
    arrays_sha256: str = ""
    arrays: tuple[str, ...] = field(default=())

    @property
    def n_values(self) -> int:
        """V."""
        return len(self.values)


def write_grouping(root: Path, manifest: GroupingManifest, arrays: Mapping[str, NDArray[Any]]) -> GroupingManifest:
    """Store a grouping unless it is there, whole; returns the manifest that is there, with the digest of the arrays."""
    content = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
    np.savez(content, **named)
    whole = content.getvalue()
    values = asdict(manifest) | {"arrays_sha256": hashlib.sha256(whole).hexdigest(), "arrays": sorted(arrays)}
    attempt = store_of(root).attempt(FOLDER)
    try:
        files = {ARRAYS: attempt.put(ARRAYS, whole)}
        attempt.commit(manifest.digest, sealed_text(values), files, partial(_is_whole, manifest.digest))
    finally:
        attempt.discard()
    return read_grouping_manifest(root, manifest.digest)


def _is_whole(digest: str, stored: Files) -> bool:
    """Whether what is there, and perhaps registered by nobody yet, is what was written."""
    try:
        stored.read(ARRAYS, _parsed(unsealed(json.loads(stored.manifest())), digest).arrays_sha256)
    except (FileNotFoundError, KeyError, ValueError, TypeError):
        return False
    return True


def read_grouping_manifest(root: Path, digest: str) -> GroupingManifest:
    """The manifest of a grouping. Raises ServiceError: UNKNOWN_GROUPING, STORE_CORRUPT."""
    path = root / FOLDER / digest / "manifest.json"
    try:
        return _parsed(read_sealed(path), digest)
    except FileNotFoundError as error:
        raise ServiceError(
            ErrorKind.UNKNOWN_GROUPING,
            f"there are no files of a grouping {digest[:12]}: it was deleted; list the groupings",
            digest=digest,
        ) from error
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(digest, path, f"its manifest cannot be read: {error}") from error


def _parsed(values: dict[str, Any], digest: str) -> GroupingManifest:
    """The manifest of its JSON. Raises KeyError, ValueError, TypeError for a damaged one, or another's."""
    for name in ("classes", "values", "arrays"):
        values[name] = tuple(values[name])
    manifest = GroupingManifest(**values)
    if manifest.digest != digest:
        raise ValueError(f"it is that of grouping {manifest.digest}")
    return manifest


class StoredGrouping:
    """A stored grouping, opened for reading.

    Raises ServiceError on opening and on reading: UNKNOWN_GROUPING, STORE_CORRUPT.
    """

    def __init__(self, root: Path, digest: str) -> None:
        self._root = root
        self.manifest = read_grouping_manifest(root, digest)

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of its arrays, compared with the digest they were stored with."""
        digest = self.manifest.digest
        directory = self._root / FOLDER / digest
        try:
            whole = files_of(directory).read(ARRAYS, self.manifest.arrays_sha256)
        except FileNotFoundError as error:
            raise _damaged(digest, directory / ARRAYS, "its arrays are missing") from error
        except AlteredError as error:
            raise _damaged(digest, directory / ARRAYS, "its arrays were altered") from error
        with np.load(io.BytesIO(whole), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    @property
    def rule(self) -> dict[str, NDArray[Any]]:
        """Arrays of the rule by which other rows are assigned, by their names."""
        return {name.removeprefix(RULE): array for name, array in self.arrays.items() if name.startswith(RULE)}

    def values_of(self, row_id: NDArray[np.uint64], y: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) values of rows by their ids; -1 for those in no group.

        `y` are their classes. Raises ServiceError (OTHER_ROWS) where a row is not in the grouping, or in another class.
        """
        at, missing = places_of(self.arrays["row_id"], row_id)
        if missing.size:
            raise ServiceError(
                ErrorKind.OTHER_ROWS,
                f"grouping {self.manifest.digest[:12]} says nothing of {missing.size} of {row_id.size} rows, such as "
                f"row {missing[0]}: it was made for other rows; assign these by its rule first: grouping.on(...)",
                grouping=self.manifest.digest,
                row=missing[0],
            )
        moved = row_id[self.arrays["y"][at] != y]
        if moved.size:
            raise ServiceError(
                ErrorKind.OTHER_ROWS,
                f"grouping {self.manifest.digest[:12]} has {moved.size} of {row_id.size} rows in another class, such "
                f"as row {moved[0]}: these are other examples with the same ids",
                grouping=self.manifest.digest,
                row=moved[0],
            )
        return self.arrays["value"][at]


def called(grouping: GroupingManifest) -> str:
    """A grouping as errors and notes name it."""
    return f"grouping {grouping.digest[:12]} ({grouping.attribute})"


def values_among(
    grouping: StoredGrouping, row_id: NDArray[np.uint64], y: NDArray[np.int64], classes: tuple[str, ...]
) -> NDArray[np.int64]:
    """(n,) values of rows by their ids, whose classes `y` may be numbered in another order than the grouping's.

    Raises what `StoredGrouping.values_of` does; ServiceError: OTHER_CLASSES where the names differ, EMPTY_GROUP where
    it leaves out every row.
    """
    manifest = grouping.manifest
    if classes != manifest.classes:
        if sorted(classes) != sorted(manifest.classes):
            raise ServiceError(
                ErrorKind.OTHER_CLASSES,
                f"{called(manifest)} is of the classes {', '.join(manifest.classes[:20])}; these rows are of "
                f"{', '.join(classes[:20])}: use a grouping of these",
                grouping=manifest.digest,
            )
        y = np.asarray([manifest.classes.index(name) for name in classes], dtype=np.int64)[y]
    found = grouping.values_of(row_id, y)
    if found.size and found.max() < 0:
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"{called(manifest)} has no group for any of the {found.size} rows, so nothing is left: choose another",
            grouping=manifest.digest,
        )
    return found


def _damaged(digest: str, path: Path, why: str) -> ServiceError:
    return ServiceError(
        ErrorKind.STORE_CORRUPT,
        f"grouping {digest[:12]} is damaged: {why}; delete it and make it again",
        digest=digest,
        file=path,
    )
