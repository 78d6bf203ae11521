"""The groups or classes of a stored feature set, all of its rows or some, as queries look at them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.moments import pool
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.resident import Resident, ResidentFeatures
from penult_server.errors import ServiceError
from penult_server.messages import array_from_proto, classes_to_proto, groups_to_proto
from penult_server.stores.reading import StoredFeatures


class Parts:
    """One feature set cut into its groups or classes; moments and rows are loaded when first needed.

    Raises ServiceError on making and on loading: UNKNOWN_FEATURE_SET, STORE_CORRUPT, OUT_OF_MEMORY, and
    INVALID_ARGUMENT when rows are asked for that the set does not have.
    """

    def __init__(
        self,
        source: pb.FeatureSource,
        by: "pb.SpectraBy.ValueType",
        *,
        root: Path,
        residents: ResidentFeatures,
        backend: Backend,
        check: Callable[[], None],
    ) -> None:
        self._by_class = by == pb.SPECTRA_BY_CLASS
        self._stored = StoredFeatures(root, source.feature_set)
        self._residents = residents
        self._backend = backend
        self.check = check
        self._selected = _selected_rows(source, self._stored, root)
        self._m2: Any = None
        self._resident: Resident | None = None
        self.manifest = self._stored.manifest
        self.n_attributes = self.manifest.labels.n_attributes
        describe = classes_to_proto if self._by_class else groups_to_proto
        self.groups: list[groups_pb2.Group] = describe(self.manifest.labels, self._group_counts())

    @property
    def n_rows(self) -> int:
        """Rows looked at."""
        return sum(self.counts)

    @property
    def counts(self) -> list[int]:
        """Rows of each part."""
        return [group.count for group in self.groups]

    @property
    def has_moments(self) -> bool:
        """Whether moments of these rows were stored."""
        return self.manifest.has_moments and self._selected is None

    def second_moments(self, index: int) -> Any:
        """Centred second moment (D, D) of one part, on the device."""
        if self._m2 is None:
            moments = self._stored.moments()
            labels = self.manifest.labels
            if self._by_class:
                classes = [group // labels.n_attributes for group in range(labels.n_groups)]
                moments = pool(moments, classes, len(labels.classes))
            self._m2 = moments.m2
        return self._backend.to_device(self._m2[index])

    def rows(self, index: int) -> Any:
        """Features (N, D) of one part, on the device."""
        if self._resident is None:
            self._resident = self._residents.get(self.manifest.digest, self.check)
        labels = self._resident.y if self._by_class else self._resident.g
        members = labels == index
        if self._selected is not None:
            members &= self._selected
        return self._resident.features[self._backend.to_device(np.flatnonzero(members))]

    def _group_counts(self) -> tuple[int, ...]:
        if self._selected is None:
            return self.manifest.group_counts
        g = self._stored.read("y") * self.n_attributes + self._stored.read("a")
        counts = np.bincount(g[self._selected], minlength=self.manifest.labels.n_groups)
        return tuple(int(count) for count in counts)


def _selected_rows(source: pb.FeatureSource, stored: StoredFeatures, root: Path) -> NDArray[np.bool_] | None:
    """Which of the N rows are looked at; None for all."""
    match source.rows.WhichOneof("kind"):
        case "row_ids":
            wanted = array_from_proto(source.rows.row_ids, "rows").astype(np.uint64)
        case "run":
            kept = root / "runs" / source.rows.run / "kept_row_ids.json"
            if not kept.is_file():
                raise ServiceError(
                    ErrorKind.STORE_CORRUPT, f"the rows that run {source.rows.run} kept are missing: {kept}"
                )
            wanted = np.asarray(json.loads(kept.read_text(encoding="utf-8")), dtype=np.uint64)
        case None:
            return None
    row_id = stored.read("row_id")
    missing = np.setdiff1d(wanted, row_id)
    if missing.size:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"feature set {stored.manifest.digest[:12]} has no row with id {missing[0]} ({missing.size} of the "
            f"{wanted.size} ids asked for are not in it); client.features.read(...).row_id lists them",
            row_id=missing[0],
        )
    return np.isin(row_id, wanted)
