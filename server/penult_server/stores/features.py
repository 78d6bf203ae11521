"""Writing feature sets: row chunks of a Zarr v3 group, with the group moments folded in on the way.

One thing a set, named by its digest: arrays `features`, `y`, `a`, `row_id`, `logits`, `head_weight`,
`head_bias`, the moments, and `manifest.json` with a digest of every file. Chunks hold whole rows and are
not compressed: float features gain little and reading them is the service's hot path.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.moments.partials import empty_partial, merge_into
from penult_server.stores.feature_chunks import Chunk
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.places.opening import store_of
from penult_server.stores.writing.commit import commit_features
from penult_server.stores.writing.header import (
    FeatureHeader,
    check_finite,
    check_labels,
    chunk_rows,
    keeps_moments,
)
from penult_server.stores.writing.kinds import kind_here
from penult_server.stores.writing.moments import RangeMoments, set_ranges
from penult_server.stores.writing.rows import ChunkWriter

__all__ = ["FeatureHeader", "FeatureWriter", "check_finite", "check_labels", "chunk_rows", "keeps_moments"]


class FeatureWriter:
    """Takes rows in order, any number at a time, and leaves a whole feature set or nothing.

    A context manager. `finish` makes the set visible; leaving the block without it, or by an error,
    removes what was written.
    """

    def __init__(self, root: Path, header: FeatureHeader) -> None:
        self._header = header
        self._attempt = store_of(root).attempt("features")
        self._content = hashlib.sha256()
        works: list[Callable[[Chunk], object]] = [self._identify]
        try:
            self._moments = empty_partial(header.labels.n_groups, header.n_features) if keeps_moments(header) else None
            if (total := self._moments) is not None:
                works.append(RangeMoments(header, lambda _, part: merge_into(total, part)).fold)
            self._rows = ChunkWriter(self._attempt, header, works=works)
        except BaseException:  # nobody enters the block that would remove it
            self._attempt.discard()
            raise

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._rows.__exit__(kind, error, traceback)
        self._attempt.discard()

    def append(
        self,
        *,
        features: NDArray[np.floating],
        y: NDArray[np.int64],
        a: NDArray[np.int64],
        row_id: NDArray[np.uint64],
        logits: NDArray[np.floating] | None = None,
        attributes: NDArray[np.int64] | None = None,
        masks: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add rows, as `ChunkWriter.append` does. Raises ServiceError as it does."""
        self._rows.append(features=features, y=y, a=a, row_id=row_id, logits=logits, attributes=attributes, masks=masks)

    def place(self, n_rows: int) -> dict[str, NDArray[Any]]:
        """Memory to be filled with up to `n_rows` of the next rows, at least one, of every array; then `take` them."""
        return self._rows.place(n_rows)

    def take(self, place: Mapping[str, NDArray[Any]]) -> None:
        """Take the rows that were put into a `place`, all of it. Raises ServiceError as `append` does."""
        self._rows.take(place)

    def finish(self, *, extract_rate: float = 0.0) -> FeatureManifest:
        """Write the rest, flush everything to the disk and give the set its place.

        A set of the same digest that is already there and undamaged is kept.
        Raises ServiceError (INCOMPLETE_UPLOAD) when rows are missing.
        """
        rows = self._rows.finish()
        return commit_features(
            self._attempt,
            self._header,
            [rows],
            digest=self._header.digest or self._content_digest(),
            moments=self._moments,
            kinds=[(0, len(set_ranges(self._header)), kind_here())] if self._moments else (),
            extract_rate=extract_rate,
        )

    def _identify(self, chunk: Chunk) -> None:
        for name, values in chunk.rows.items():
            self._content.update(name.encode() + chunk.first.to_bytes(8, "little"))
            self._content.update(values.data)

    def _content_digest(self) -> str:
        """Identity of uploaded arrays: what was stored, what the labels are called, and `train_shares`.

        `train_shares` change no array, but the metrics that are stored under this digest.
        """
        labels = self._header.labels
        named = (labels.classes, labels.attribute, labels.attribute_values, labels.masks, self._header.attributes)
        unnamed = ("classes by index",) if labels.classes_by_index else ()
        names = repr((*named, self._header.dtype, *unnamed))
        self._content.update(names.encode())
        if self._header.train_shares:
            self._content.update(repr(self._header.train_shares).encode())
        for part in self._header.head or ():
            self._content.update(np.ascontiguousarray(part, dtype=np.float64).data)
        return self._content.hexdigest()
