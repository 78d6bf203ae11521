"""Batches of a split's examples, prepared one batch ahead of the model in another thread."""

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.backbones.images.preprocessing import Prepared, Preprocessing
from penult_server.datasets.model import Dataset, Example, Modality
from penult_server.errors import ServiceError

T = TypeVar("T")

CACHE_BYTES = 2 * 10**9
"""Prepared examples of one split are kept in memory if they take at most so many bytes."""


class SplitInputs:
    """Prepared examples of one split, decoded when first asked for and kept if the split is small enough."""

    def __init__(self, examples: Sequence[Example], preprocessing: Preprocessing) -> None:
        self._examples = examples
        self._preprocessing = preprocessing
        fits = len(examples) * preprocessing.item_bytes <= CACHE_BYTES
        self._kept: list[Prepared | None] | None = None
        if fits:
            self._kept = [None for _ in range(len(examples))]

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def is_kept(self) -> bool:
        """Whether examples stay in memory once they are prepared."""
        return self._kept is not None

    @property
    def modality(self) -> Modality:
        return self._preprocessing.modality

    def keep(self, items: Sequence[Prepared]) -> None:
        """Keep all examples, prepared elsewhere. Raises ValueError when the split is not kept, or not as many."""
        if self._kept is None or len(items) != len(self._examples):
            raise ValueError(f"{len(items)} prepared examples for {len(self._examples)}, kept: {self.is_kept}")
        self._kept = list(items)

    def take(self, rows: NDArray[np.int64]) -> list[Prepared]:
        """The prepared examples at these positions. Raises what opening an example raises."""
        return [self._one(int(row)) for row in rows]

    def _one(self, row: int) -> Prepared:
        if self._kept is None:
            return self._preprocessing.prepare(self._examples[row])
        item = self._kept[row]
        if item is None:
            item = self._preprocessing.prepare(self._examples[row])
            self._kept[row] = item
        return item


def open_inputs(dataset: Dataset, split: str, preprocessing: Preprocessing) -> SplitInputs:
    """The inputs of a split.

    Raises ServiceError: UNKNOWN_SPLIT; INVALID_ARGUMENT when the model reads another kind of example.
    """
    dataset.info.split(split)
    if dataset.info.modality != preprocessing.modality:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the backbone reads {preprocessing.modality}s, the dataset {dataset.info.name!r} holds "
            f"{dataset.info.modality}s; choose a backbone or dataset of the same kind",
            dataset=dataset.info.name,
        )
    return SplitInputs(dataset.examples(split), preprocessing)


def batches_in_order(n_rows: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Positions 0 .. n_rows-1 in order, `batch_size` at a time."""
    return [np.arange(first, min(first + batch_size, n_rows)) for first in range(0, n_rows, batch_size)]


def batches_by_chunk(rows: range, chunk_rows: int, batch_size: int) -> list[NDArray[np.int64]]:
    """The positions `rows` in order, `batch_size` at a time, in batches that cross no multiple of `chunk_rows`."""
    starts = range(rows.start, rows.stop, chunk_rows) if rows else range(0)
    chunks = [(start, min(start + chunk_rows, rows.stop)) for start in starts]
    return [start + batch for start, stop in chunks for batch in batches_in_order(stop - start, batch_size)]


def one_ahead(tasks: Iterable[Callable[[], T]]) -> Generator[T]:
    """Results of the tasks in order; the next one is worked on while the caller uses the last.

    An error of a task is raised where its result would have come.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="inputs") as pool:
        pending: Future[T] | None = None
        for task in tasks:
            following = pool.submit(task)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
