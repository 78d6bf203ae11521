"""Stored features seen through a grouping: its values stand in for the attribute, so that they are the groups."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_proto.notes import NoteId
from penult_proto.v1 import groups_pb2
from penult_server.compute.rows.resident import Labelled
from penult_server.notes import Note
from penult_server.stores.features import keeps_moments
from penult_server.stores.groupings import GroupingManifest, StoredGrouping, called, values_among
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.reading import StoredFeatures

L = TypeVar("L", bound=Labelled)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grouped:
    """The rows of one feature set under one grouping."""

    grouping: GroupingManifest
    manifest: FeatureManifest
    """The manifest of the set, with the labels and the counts of the grouping."""
    a: NDArray[np.int64]
    """(N,) the grouping's values; -1 for rows in no group."""
    is_stored: bool
    """Whether these are the values of the stored attribute: what was stored for its groups is then true of these."""

    @property
    def kept(self) -> NDArray[np.int64] | None:
        """Positions of the rows that are in a group; None where all are."""
        return np.flatnonzero(self.a >= 0) if self.n_left_out else None

    @property
    def n_left_out(self) -> int:
        """Rows in no group."""
        return int(np.count_nonzero(self.a < 0))

    def groups(self, y: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) groups of rows of classes `y`; -1 for rows in none."""
        return np.where(self.a < 0, -1, y * self.manifest.labels.n_attributes + self.a)

    def seen(self, found: L) -> L:
        """The same labels, and features in memory, with the groups of the grouping; -1 for rows in none."""
        return replace(found, manifest=self.manifest, g=self.groups(found.y))

    @property
    def called(self) -> str:
        """The grouping as errors and notes name it."""
        return called(self.grouping)

    def left_out(self) -> tuple[Note, ...]:
        """A note if rows are in no group."""
        if not self.n_left_out:
            return ()
        text = f"{self.n_left_out} of {self.a.size} rows are in no group of {self.called} and were left out"
        return (Note(NoteId.ROWS_WITHOUT_GROUP, text),)

    def to_proto(self) -> groups_pb2.UsedGrouping:
        """What answers say of it."""
        return groups_pb2.UsedGrouping(
            digest=self.grouping.digest, attribute=self.grouping.attribute, n_left_out=self.n_left_out
        )


def grouped(root: Path, stored: StoredFeatures, digest: str) -> Grouped:
    """The rows of a set under the grouping of that digest.

    Raises ServiceError: UNKNOWN_GROUPING, STORE_CORRUPT; OTHER_CLASSES and OTHER_ROWS where it was made for others;
    EMPTY_GROUP where it leaves out every row.
    """
    grouping, labels, y = StoredGrouping(root, digest), stored.manifest.labels, stored.read("y")
    a = values_among(grouping, stored.read("row_id"), y, labels.classes)
    values = grouping.manifest.values
    named = replace(labels, attribute=grouping.manifest.attribute, attribute_values=values)
    is_stored = labels.n_attributes == len(values) and np.array_equal(a, stored.read("a"))
    if is_stored:
        manifest = replace(stored.manifest, labels=named)
    else:
        g = (y * named.n_attributes + a)[a >= 0]
        counts = tuple(int(count) for count in np.bincount(g, minlength=named.n_groups))
        described = replace(stored.manifest, labels=named, group_counts=counts, train_shares=(), absent_groups=())
        manifest = replace(described, has_moments=keeps_moments(described))
    return Grouped(grouping=grouping.manifest, manifest=manifest, a=a, is_stored=is_stored)


def open_features(root: Path, digest: str, grouping: str = "") -> StoredFeatures:
    """A stored set, seen through a grouping where one is named. Raises what opening and `grouped` raise."""
    stored = StoredFeatures(root, digest)
    return GroupedFeatures(root, stored, grouping) if grouping else stored


class GroupedFeatures(StoredFeatures):
    """A stored set seen through a grouping: its labels and the array `a` are those of the grouping."""

    def __init__(self, root: Path, stored: StoredFeatures, grouping: str) -> None:
        super().__init__(root, stored.manifest.digest)
        self.grouped = grouped(root, stored, grouping)
        self.manifest = self.grouped.manifest

    def read(self, name: str) -> NDArray[Any]:
        """All of the array `name`; of `a` the grouping's values, -1 for rows in no group."""
        return self.grouped.a if name == "a" else super().read(name)
