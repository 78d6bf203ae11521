"""The files of the rows of a feature set, or of a range of them: several processes may write ranges of one attempt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.durable import LARGE_FILE
from penult_server.stores.feature_chunks import Chunk, Chunks
from penult_server.stores.places.store import Attempt, Written
from penult_server.stores.writing.header import (
    FeatureHeader,
    check_finite,
    check_labels,
    chunk_shapes,
    group_index,
    row_shapes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRows:
    """Consecutive rows whose files are written. All of it is numbers and texts, so that it goes through JSON."""

    first: int
    """Number of the first row in the set: that of a chunk."""
    n_rows: int
    files: Mapping[str, Written]
    """Every file, by its name in the set."""
    group_counts: tuple[int, ...]
    """(G,) rows of each group."""


class ChunkWriter:
    """Takes the rows of a range in order, any number at a time, and writes the files of whole chunks.

    A context manager that ends its threads; what it has put stays with the attempt. Chunks are rows as they are in
    memory, little-endian and not compressed, so that no Zarr is needed; its metadata come with the commit.
    """

    def __init__(
        self,
        attempt: Attempt,
        header: FeatureHeader,
        *,
        first: int = 0,
        n_rows: int | None = None,
        works: Sequence[Callable[[Chunk], object]] = (),
    ) -> None:
        """`first`: number of the first row, that of a chunk; `n_rows`: all that follow, where it is None.

        `works` see every chunk, in threads of their own, as `Chunks` says.
        """
        shapes = chunk_shapes(header)
        in_chunk = shapes["features"][0][0]
        self._n_rows = header.n_examples - first if n_rows is None else n_rows
        last = first + self._n_rows
        if first % in_chunk or not 0 <= first <= last <= header.n_examples:
            raise ValueError(f"a range begins with a chunk of {in_chunk} rows and ends within the set: {first}..{last}")
        if last % in_chunk and last != header.n_examples:
            raise ValueError(f"a range ends with a chunk of {in_chunk} rows or with the set, not at {last}")
        self._attempt = attempt
        self._header = header
        self._first = first
        self._files: dict[str, Written] = {}
        self._counts = np.zeros(header.labels.n_groups, dtype=np.int64)
        self._chunks = Chunks(shapes, [self._write, *works], first_index=first // in_chunk)

    def __enter__(self) -> "ChunkWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._chunks.close()

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
        """Add rows: features (n, D), y, a and row_id (n,), and where the header names them logits (n, n_logits),
        attributes (n, number of attributes), masks (n, M).

        Raises ServiceError: WRONG_SHAPE, LABEL_OUT_OF_RANGE, NOT_FINITE (naming row and column).
        """
        # What is checked and folded is what is stored: a value too large for float16 is infinite there.
        with np.errstate(over="ignore"):
            features = np.asarray(features, dtype=self._header.dtype)
        rows: dict[str, NDArray[np.generic]] = {"features": features, "y": y, "a": a, "row_id": row_id}
        optional = {"logits": logits, "attributes": attributes, "masks": masks}
        rows |= {name: values for name, values in optional.items() if values is not None}
        self._check(rows)
        self._chunks.add(rows)

    def place(self, n_rows: int) -> dict[str, NDArray[Any]]:
        """Memory to be filled with up to `n_rows` of the next rows, at least one, of every array; then `take` them."""
        return self._chunks.place(n_rows)

    def take(self, place: Mapping[str, NDArray[Any]]) -> None:
        """Take the rows that were put into a `place`, all of it. Raises ServiceError as `append` does."""
        self._check(place)
        self._chunks.take(len(place["features"]))

    def finish(self) -> WrittenRows:
        """Write the rest. Raises ServiceError (INCOMPLETE_UPLOAD) when rows are missing, or too many."""
        if self._chunks.n_rows != self._n_rows:
            raise ServiceError(
                ErrorKind.INCOMPLETE_UPLOAD,
                f"expected {self._n_rows} rows, got {self._chunks.n_rows}; nothing was stored, send all of them",
                expected=self._n_rows,
                got=self._chunks.n_rows,
            )
        self._chunks.finish()
        counts = tuple(int(count) for count in self._counts)
        return WrittenRows(first=self._first, n_rows=self._n_rows, files=self._files, group_counts=counts)

    def _check(self, rows: Mapping[str, NDArray[Any]]) -> None:
        header, n = self._header, len(rows["features"])
        expected = {name: (n, *shape) for name, shape in row_shapes(header).items()}
        for name in {*expected, *rows}:
            got = rows[name].shape if name in rows else None
            if got != expected.get(name):
                raise ServiceError(
                    ErrorKind.WRONG_SHAPE, f"{name} of {n} rows must be {expected.get(name)}, got {got}", array=name
                )
        first = self._first + self._chunks.n_rows
        check_labels(rows["y"], len(header.labels.classes), "y", first)
        check_labels(rows["a"], header.labels.n_attributes, "a", first)
        for column, attribute in enumerate(header.attributes):
            check_labels(rows["attributes"][:, column], len(attribute.values), attribute.name, first)
        for name in ("features", "logits"):
            if name in rows:
                check_finite(rows[name], name, first)

    def _write(self, chunk: Chunk) -> None:
        for name, values in chunk.memory.items():
            key = chunk_key(name, chunk.index, values.ndim)
            # Small files wait for the commit, which flushes many at a time.
            self._files[key] = self._attempt.put(key, values, flush=values.nbytes >= LARGE_FILE)
        g = group_index(chunk.rows["y"], chunk.rows["a"], self._header.labels)
        self._counts += np.bincount(g, minlength=len(self._counts))


def chunk_key(name: str, index: int, n_axes: int) -> str:
    """The file of a chunk of an array that is cut along its first axis alone: Zarr's default names."""
    return "/".join([name, "c", str(index), *("0" for _ in range(n_axes - 1))])


def joined(ranges: Sequence[WrittenRows], n_examples: int) -> WrittenRows:
    """Ranges, in any order, as one. Raises ValueError where they do not make up all rows, each once."""
    files: dict[str, Written] = {}
    counts: NDArray[Any] = np.zeros(len(ranges[0].group_counts) if ranges else 0, dtype=np.int64)
    n_rows = 0
    for one in sorted(ranges, key=lambda one: (one.first, one.n_rows)):
        if one.first != n_rows:
            raise ValueError(f"the ranges of a set must follow each other: one begins at {one.first}, not {n_rows}")
        n_rows += one.n_rows
        files |= one.files
        counts = counts + np.asarray(one.group_counts)
    if n_rows != n_examples:
        raise ValueError(f"the ranges of a set must make up its {n_examples} rows, got {n_rows}")
    return WrittenRows(first=0, n_rows=n_rows, files=files, group_counts=tuple(int(count) for count in counts))
