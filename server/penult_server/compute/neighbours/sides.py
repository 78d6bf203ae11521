"""The rows that a question about neighbours asks about, and those among which it looks."""

from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penult_kernels.rows import ArrayRows, RowSource
from penult_proto.v1 import neighbours_pb2 as pb
from penult_proto.v1 import spectra_pb2
from penult_server.compute.backend import Backend
from penult_server.compute.neighbours.known import KnownGraphs
from penult_server.compute.reporting import Reporter
from penult_server.compute.rows.grouped import open_features
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.rows.selected import selected_rows
from penult_server.compute.rows.stored_rows import StoredRows
from penult_server.questions.neighbours import OF_ATTRIBUTE, OF_CLASS
from penult_server.stores.manifest import FeatureManifest

Integers = NDArray[np.int64]


class Resources(Protocol):
    """What a question is answered from; the worker's own has more."""

    @property
    def root(self) -> Path:
        """The store."""
        ...

    @property
    def residents(self) -> ResidentFeatures:
        """Sets in memory."""
        ...

    @property
    def backend(self) -> Backend:
        """The device."""
        ...

    @property
    def graphs(self) -> KnownGraphs:
        """Neighbours that were read last."""
        ...

    @property
    def progress(self) -> Reporter:
        """Told how far the question is."""
        ...

    def check(self) -> None:
        """Called between steps; raises when nobody waits for the answer any more."""
        ...


class Side:
    """Rows of one stored set: all of them, or those selected that are in a group of the grouping.

    Raises ServiceError on opening and on reading, as `open_features` and `selected_rows` do.
    """

    def __init__(self, source: spectra_pb2.FeatureSource, resources: Resources) -> None:
        self._resources = resources
        self._stored = open_features(resources.root, source.feature_set, source.grouping)
        self.manifest: FeatureManifest = self._stored.manifest
        selected = selected_rows(source, self._stored, resources.root)
        if source.grouping:
            in_a_group = self._stored.read("a") >= 0
            selected = in_a_group if selected is None else selected & in_a_group
        self.positions: Integers = np.arange(self.manifest.n_examples) if selected is None else np.flatnonzero(selected)
        """(n,) of the rows in their set, ascending."""
        self.is_whole = self.positions.size == self.manifest.n_examples

    @property
    def n_rows(self) -> int:
        """Rows asked about."""
        return self.positions.size

    def is_own(self, other: "Side") -> bool:
        """Whether both are of one set, so that a row may meet itself, which is no neighbour."""
        return self.manifest.digest == other.manifest.digest

    @cached_property
    def row_id(self) -> NDArray[np.uint64]:
        """(N,) ids of all rows of the set."""
        return self._stored.read("row_id")

    def codes(self, within: "pb.NeighbourWithin.ValueType") -> Integers:
        """(n,) what rows must share, or must not, by their numbers on this side."""
        y = self._stored.read("y")[self.positions]
        if within in OF_CLASS:
            return y
        a = self._stored.read("a")[self.positions]
        return a if within in OF_ATTRIBUTE else y * self.manifest.labels.n_attributes + a

    @cached_property
    def is_in_memory(self) -> bool:
        """Whether the set is small enough to be kept in memory."""
        return self._resources.residents.fits(self.manifest)

    def rows(self, places: Integers | None = None) -> RowSource:
        """The rows, or those at ascending `places` on this side."""
        positions = self.positions if places is None else self.positions[places]
        chosen = None if positions.size == self.manifest.n_examples else positions
        if not self.is_in_memory:
            return StoredRows(self._stored, chosen, self._resources.backend)
        resident = self._resources.residents.get(self.manifest.digest, self._resources.check, self._resources.progress)
        return ArrayRows(resident.features, chosen)
