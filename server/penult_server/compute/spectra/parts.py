"""The groups or classes of a stored feature set, all of its rows or some, as queries look at them."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import blocks
from penult_kernels.linear.problem import Head
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_kernels.moments.accumulation import accumulator_bytes
from penult_kernels.moments.moments import Moments, pool, unions
from penult_kernels.rows import ArrayRows, RowSource
from penult_kernels.sampling.weights import cross_entropies
from penult_kernels.spectra.streamed import Passes
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.memory import COPIES_OF_A_PRODUCT
from penult_server.compute.neighbours.known import KnownGraphs
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.compute.rows.grouped import Grouped, GroupedFeatures, open_features
from penult_server.compute.rows.reading import read_ahead
from penult_server.compute.rows.resident import Resident, ResidentFeatures
from penult_server.compute.rows.selected import selected_rows
from penult_server.compute.rows.stored_rows import StoredRows
from penult_server.compute.spectra.inference_cache import InferenceCache
from penult_server.compute.spectra.streaming import (
    passes_over,
    stream_bytes,
    stream_moments,
)
from penult_server.errors import ServiceError
from penult_server.messages import classes_to_proto, groups_to_proto


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Stores, resident features, device and cached inferences, from which a query is answered."""

    root: Path
    residents: ResidentFeatures
    backend: Backend
    check: Callable[[], None]
    """Called between steps; raises when nobody waits for the answer any more."""
    progress: Reporter = SILENT
    """Told how far the query is."""
    inferences: InferenceCache = field(default_factory=InferenceCache)
    graphs: KnownGraphs = field(default_factory=KnownGraphs)

    def parts(self, source: pb.FeatureSource, by: "pb.SpectraBy.ValueType") -> "Parts":
        """The groups or classes of a feature set. Raises what `Parts` raises."""
        return Parts(source, by, self)


class Parts:
    """One feature set cut into its groups or classes; moments and rows are loaded when first needed.

    With a grouping its values stand in for the attribute: rows in no group are left out, as rows not selected are.

    Raises ServiceError on making and on loading: UNKNOWN_FEATURE_SET, STORE_CORRUPT, OUT_OF_MEMORY, and
    INVALID_ARGUMENT when rows are asked for that the set does not have; with a grouping what `grouped` raises.
    """

    def __init__(self, source: pb.FeatureSource, by: "pb.SpectraBy.ValueType", resources: Resources) -> None:
        self._by_class = by == pb.SPECTRA_BY_CLASS
        self._stored = open_features(resources.root, source.feature_set, source.grouping)
        self.grouped: Grouped | None = self._stored.grouped if isinstance(self._stored, GroupedFeatures) else None
        self._resources = resources
        self._selected = _in_a_group(self.grouped, selected_rows(source, self._stored, resources.root))
        self._resident: Resident | None = None
        self._streamed: Moments | None = None
        self._summed: Moments | None = None
        self._summing = threading.Lock()
        self.check = resources.check
        self.progress = resources.progress
        self.manifest = self._stored.manifest
        self.n_attributes = self.manifest.labels.n_attributes
        describe = classes_to_proto if self._by_class else groups_to_proto
        self.groups: list[groups_pb2.Group] = describe(self.manifest.labels, self._group_counts())

    @property
    def n_rows(self) -> int:
        """Rows of all parts."""
        return sum(self.counts)

    @cached_property
    def counts(self) -> list[int]:
        """Rows of each part."""
        return [group.count for group in self.groups]

    @property
    def has_stored_moments(self) -> bool:
        """Whether moments of these rows were stored."""
        return self.manifest.has_moments and self._selected is None

    @property
    def has_moments(self) -> bool:
        """Whether moments of these rows are stored, or can be made in one pass over a set too large for memory."""
        return self.has_stored_moments or (not self.is_resident and self._stream_bytes <= self.memory)

    def moments(self, index: int) -> Moments:
        """Moments of one part, with a leading axis of 1, on the host; only when `has_moments`."""
        if not self.has_stored_moments:
            return self._streamed_moments(index)
        if self.grouped is not None and not self.grouped.is_stored:
            return self._summed_moments(index, self.grouped)
        if not self._by_class:
            return self._stored.moments([index])
        groups = range(index * self.n_attributes, (index + 1) * self.n_attributes)
        return pool(self._stored.moments(groups), [0] * len(groups), 1)

    def index_of(self, part: str) -> int:
        """Index of the group or class of that name, or with that number. Raises ServiceError (INVALID_ARGUMENT)."""
        names = [group.name for group in self.groups]
        if part in names:
            return names.index(part)
        # Compared as text, which has no largest number.
        numbers = [str(index) for index in range(len(names))]
        if part in numbers:
            return numbers.index(part)
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"feature set {self.manifest.digest[:12]} has no group or class {part!r}; it has "
            + ", ".join(f"{index} ({name!r})" for index, name in enumerate(names)),
            part=part,
        )

    @property
    def nothing(self) -> Any:
        """An empty array on the device."""
        return self._resources.backend.xp.empty(0)

    @property
    def is_resident(self) -> bool:
        """Whether the rows are small enough to be kept in memory; those of a larger set are read in passes."""
        return self._resources.residents.fits(self.manifest)

    @property
    def summed_bytes(self) -> int:
        """Bytes of the moments of all groups of a grouping, which are summed together when the first is needed."""
        if self.grouped is None or self.grouped.is_stored or not self.has_stored_moments:
            return 0
        itemsize = np.dtype(self.manifest.dtype).itemsize
        return accumulator_bytes(len(self.groups), self.manifest.n_features, itemsize)

    @property
    def used_grouping(self) -> groups_pb2.UsedGrouping | None:
        """What an answer says of the grouping; None for the stored groups."""
        return None if self.grouped is None else self.grouped.to_proto()

    @property
    def memory(self) -> int:
        """Bytes that passes over the rows of a set too large for memory may use."""
        return self._resources.residents.budget

    def rows(self, index: int | None) -> ArrayRows:
        """Features (n, D) of one part, or of all parts, on the device; none are gathered yet."""
        return ArrayRows(self._in_memory().features, self.places(index))

    def release(self) -> None:
        """Let the set in memory go: whoever needs it next reads it again."""
        self._resident = None
        self._resources.residents.drop(self.manifest.digest)

    def row_source(self, index: int) -> RowSource:
        """The same rows for few passes over them: from memory where the set is there, else from the store."""
        if self._resident is not None or self._resources.residents.has(self.manifest.digest):
            return self.rows(index)
        places = np.flatnonzero(self._members(index, *self._y_and_groups()))
        return StoredRows(self._stored, places, self._resources.backend)

    def places(self, index: int | None) -> NDArray[np.int64] | None:
        """(n,) positions of the rows of one part, or of all parts, in memory; None where these are all rows."""
        resident = self._in_memory()
        members = self._selected if index is None else self._members(index, resident.y, resident.g)
        return None if members is None or members.all() else np.flatnonzero(members)

    def errors(self) -> NDArray[np.float64]:
        """(N,) 1 - p_i[y_i] of every row of the set under the logits that are stored, or its head.

        Raises ServiceError (INVALID_ARGUMENT) when there is neither.
        """
        labels = self.manifest.labels
        if self.manifest.n_logits == len(labels.classes):
            logits = self._stored.read("logits").astype(np.float64)
        elif self.manifest.has_head:
            head = Head(
                weight=self._stored.read("head_weight").astype(np.float64),
                bias=self._stored.read("head_bias").astype(np.float64),
            )
            logits = self._resources.backend.to_host(logits_of_heads(self._in_memory().features, [head])[0])
        else:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"feature set {self.manifest.digest[:12]} has neither logits nor a head, so that nothing errs: extract "
                "it from a checkpoint, or upload it with logits=... or head=...",
                field="weights",
            )
        return 1.0 - np.exp(-cross_entropies(logits, self._stored.read("y")))

    def _in_memory(self) -> Resident:
        if self._resident is None:
            resident = self._resources.residents.get(self.manifest.digest, self.check, self.progress)
            self._resident = resident if self.grouped is None else self.grouped.seen(resident)
        return self._resident

    def all_moments(self) -> Moments:
        """Moments of all rows of all parts together, as `moments` gives those of one."""
        each = [self.moments(index) for index in range(len(self.groups)) if self.counts[index]]
        together = Moments(
            count=np.concatenate([one.count for one in each]),
            weight=np.concatenate([one.weight for one in each]),
            mean=np.concatenate([one.mean for one in each]),
            m2=np.concatenate([one.m2 for one in each]),
        )
        return unions(together, [range(len(each))])

    def row_labels(self) -> dict[str, NDArray[Any]]:
        """By name, (n,) each, of all rows of all parts in the order of the set: `row_id`, `y`, `a`, and `right`.

        `right` is 1 where the stored logits have the row's class, 0 where another, -1 without logits.
        """
        y, a, row_id = self._stored.read("y"), self._stored.read("a"), self._stored.read("row_id")
        right = np.full(len(y), -1, dtype=np.int64)
        if self.manifest.n_logits == len(self.manifest.labels.classes):
            right = (np.argmax(self._stored.read("logits"), axis=1) == y).astype(np.int64)
        rows = np.arange(len(y)) if self._selected is None else np.flatnonzero(self._selected)
        return {"row_id": row_id[rows], "y": y[rows], "a": a[rows], "right": right[rows]}

    def row_blocks(self, n: int) -> Iterator[Any]:
        """Features of the same rows in the same order: on the device, in blocks of `n` if the set is resident."""
        backend = self._resources.backend
        if self.is_resident:
            rows = self.rows(None)
            yield from map(rows.block, blocks(rows.shape[0], n))
            return
        at = 0
        for block in self._stored.blocks("features"):
            self.check()
            chosen = block if self._selected is None else block[self._selected[at : at + len(block)]]
            at += len(block)
            if len(chosen):
                yield backend.to_device(chosen)

    def labelled_blocks(self) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """All rows of the set and the part (n',) of each, -1 for none, a chunk of the store at a time.

        Features are on the device, the indices of the parts on the host. One pass does not take a set into memory.
        """
        y = self._stored.read("y")
        part = y if self._by_class else y * self.n_attributes + self._stored.read("a")
        if self._selected is not None:
            part = np.where(self._selected, part, -1)
        if self._resident is not None or self._resources.residents.has(self.manifest.digest):
            features, n = self._in_memory().features, self._stored.array("features").chunks[0]
            for first in range(0, len(part), n):
                yield features[first : first + n], part[first : first + n]
            return
        at = 0
        for block in read_ahead(self._stored.blocks("features")):
            yield self._resources.backend.to_device(block), part[at : at + len(block)]
            at += len(block)

    def passes(self, index: int) -> Passes:
        """Passes over the rows of one part, from the store."""
        members = self._members(index, *self._y_and_groups())
        return passes_over(self._stored, members, self._resources.backend, self.check, self.progress)

    @property
    def _stream_bytes(self) -> int:
        matrix = self.manifest.n_features**2 * 8
        chunk_rows = self._stored.array("features").chunks[0]
        return stream_bytes(self.manifest, len(self.groups), chunk_rows) + COPIES_OF_A_PRODUCT * matrix

    def _streamed_moments(self, index: int) -> Moments:
        if self._streamed is None:
            y = self._stored.read("y")
            part = y if self._by_class else y * self.n_attributes + self._stored.read("a")
            if self._selected is not None:
                part = np.where(self._selected, part, -1)
            self._streamed = stream_moments(
                self._stored, part, len(self.groups), self._resources.backend, check=self.check, progress=self.progress
            )
        one, to_host = unions(self._streamed, [[index]]), self._resources.backend.to_host
        return Moments(count=to_host(one.count), weight=to_host(one.weight), mean=to_host(one.mean), m2=to_host(one.m2))

    def _summed_moments(self, index: int, grouped: Grouped) -> Moments:
        """Moments of one group of a grouping, which would be stored if it were the attribute."""
        with self._summing:  # parts are asked for by several threads
            if self._summed is None:
                g, n_groups, backend = grouped.groups(self._stored.read("y")), len(self.groups), self._resources.backend
                self._summed = stream_moments(
                    self._stored, g, n_groups, backend, check=self.check, progress=self.progress
                )
        one, to_host = slice(index, index + 1), self._resources.backend.to_host
        found = self._summed
        return Moments(
            count=to_host(found.count[one]),
            weight=to_host(found.weight[one]),
            mean=to_host(found.mean[one]),
            m2=to_host(found.m2[one]),
        )

    def _y_and_groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Classes and groups of all rows of the set, from the store."""
        y = self._stored.read("y")
        return y, y * self.n_attributes + self._stored.read("a")

    def _members(self, index: int, y: NDArray[np.int64], g: NDArray[np.int64]) -> NDArray[np.bool_]:
        members = (y if self._by_class else g) == index
        return members if self._selected is None else members & self._selected

    def _group_counts(self) -> tuple[int, ...]:
        if self._selected is None:
            return self.manifest.group_counts
        g = self._stored.read("y") * self.n_attributes + self._stored.read("a")
        counts = np.bincount(g[self._selected], minlength=self.manifest.labels.n_groups)
        return tuple(int(count) for count in counts)


def _in_a_group(grouped: Grouped | None, selected: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """(N,) whether each row is selected and, under a grouping, in a group; None if all are."""
    if grouped is None or not grouped.n_left_out:
        return selected
    return grouped.a >= 0 if selected is None else selected & (grouped.a >= 0)
