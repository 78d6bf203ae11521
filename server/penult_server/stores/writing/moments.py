"""The moments of a feature set, summed by range while its rows are written."""

from collections.abc import Callable

import numpy as np

from penult_kernels.moments.accumulation import MomentAccumulator
from penult_kernels.moments.partials import Partial
from penult_server.stores.feature_chunks import Chunk
from penult_server.stores.ranges import Range, ranges_of
from penult_server.stores.writing.header import FeatureHeader, chunk_shapes, group_index, keeps_moments


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
        self._sums = MomentAccumulator(labels.n_groups, header.n_features, dtype=np.dtype(header.dtype))

    def fold(self, chunk: Chunk) -> None:
        """A work of `Chunks`. Raises NotFiniteError."""
        rows = chunk.rows
        self._sums.add(rows["features"], group_index(rows["y"], rows["a"], self._labels))
        if chunk.index in self._last:
            self._keep(self._last[chunk.index], self._sums.part())
            self._sums.restart()
