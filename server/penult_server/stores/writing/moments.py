"""The moments of a feature set, summed by range while its rows are written, and merged in the order of ranges."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penult_kernels.moments.accumulation import MomentAccumulator
from penult_kernels.moments.partials import Partial, clear_unused, empty_partial, merge_into
from penult_server.stores.feature_chunks import Chunk
from penult_server.stores.places.store import Attempt, Written
from penult_server.stores.ranges import Range, ranges_of
from penult_server.stores.writing.header import FeatureHeader, chunk_shapes, group_index, keeps_moments
from penult_server.stores.writing.kinds import Kind, kind_here


def set_ranges(header: FeatureHeader) -> tuple[Range, ...]:
    """The ranges of a set."""
    n_groups = header.labels.n_groups if keeps_moments(header) else 0
    return ranges_of(header.n_examples, chunk_shapes(header)["features"][0][0], n_groups)


class RangeMoments:
    """Sums chunks, which come in order from the first of a range on; hands over the moments of every whole range."""

    def __init__(self, header: FeatureHeader, keep: Callable[[Range, Partial], object]) -> None:
        """`keep` takes the moments of a range, whose memory is used again afterwards."""
        labels = header.labels
        self._labels = labels
        self._last = {one.chunks[-1]: one for one in set_ranges(header)}
        self._keep = keep
        self._sums = MomentAccumulator(
            labels.n_groups,
            header.n_features,
            dtype=np.dtype(header.dtype),
        )

    def fold(self, chunk: Chunk) -> None:
        """A work of `Chunks`. Raises NotFiniteError."""
        rows = chunk.rows
        self._sums.add(rows["features"], group_index(rows["y"], rows["a"], self._labels))
        if chunk.index in self._last:
            self._keep(self._last[chunk.index], self._sums.part())
            self._sums.restart()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialWritten:
    """Moments of consecutive ranges that lie with an attempt. All numbers and texts, so that it goes through JSON."""

    first: int
    """Index of the first range; more than one only from the beginning of the set on, where they are merged already."""
    stop: int
    means: Written
    m2: Written
    kind: Kind

    @classmethod
    def told(cls, values: Mapping[str, Any]) -> "PartialWritten":
        """From its fields in JSON."""
        written = {name: Written(**values[name]) for name in ("means", "m2")}
        return cls(first=values["first"], stop=values["stop"], kind=Kind(**values["kind"]), **written)

    @property
    def names(self) -> tuple[str, str]:
        """Its files: count, weight and mean of every group; and the triangles."""
        return _names(self.first, self.stop)


class PartialFiles:
    """Puts the moments of ranges to an attempt. Those from the set's beginning on are merged, into one file."""

    def __init__(self, attempt: Attempt, header: FeatureHeader) -> None:
        self._attempt = attempt
        self._header = header
        self._total: Partial | None = None
        self._n_merged = 0
        self._written: list[PartialWritten] = []

    def keep(self, one: Range, part: Partial) -> None:
        """Take the next range's."""
        if one.index == self._n_merged:
            if self._total is None:
                self._total = empty_partial(self._header.labels.n_groups, self._header.n_features)
            merge_into(self._total, part)
            self._n_merged += 1
        else:
            self._put(one.index, one.index + 1, part)

    def finish(self) -> list[PartialWritten]:
        """All that was put."""
        if self._total is not None:
            self._put(0, self._n_merged, self._total)
        return self._written

    def _put(self, first: int, stop: int, part: Partial) -> None:
        clear_unused(part)
        means = np.concatenate([part.count[:, None], part.weight[:, None], part.mean], axis=1, dtype=np.float64)
        put = [self._attempt.put(name, one) for name, one in zip(_names(first, stop), (means, part.m2), strict=True)]
        self._written.append(PartialWritten(first=first, stop=stop, means=put[0], m2=put[1], kind=kind_here()))


def merged(attempt: Attempt, header: FeatureHeader, partials: Sequence[PartialWritten]) -> Partial:
    """The moments of the set, merged in the order of ranges, whoever made them and in whatever order; drops the files.

    Raises ValueError where the ranges do not make up the set, or a file is not what was written.
    """
    total, done = empty_partial(header.labels.n_groups, header.n_features), 0
    part = empty_partial(header.labels.n_groups, header.n_features)
    means = np.empty((len(part.count), 2 + header.n_features))
    for one in sorted(partials, key=lambda one: one.first):
        if one.first != done:
            raise ValueError(f"moments of ranges must follow each other: some begin at {one.first}, not {done}")
        done = one.stop
        for name, out, written in zip(one.names, (means, part.m2), (one.means, one.m2), strict=True):
            attempt.fill(name, out)
            if hashlib.sha256(out.data).hexdigest() != written.sha256:
                raise ValueError(f"{name} is not what was written")
            attempt.drop(name)
        part.count[:], part.weight[:], part.mean[...] = means[:, 0].astype(np.int64), means[:, 1], means[:, 2:]
        merge_into(total, part)
    if done != len(set_ranges(header)):
        raise ValueError(f"moments of {len(set_ranges(header))} ranges make up the set, got {done}")
    return total


def _names(first: int, stop: int) -> tuple[str, str]:
    return f"partial/{first}-{stop}.means", f"partial/{first}-{stop}.m2"
