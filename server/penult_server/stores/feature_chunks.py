"""Rows put together into the chunks of a feature set, on which several threads work while the next rows come.

What is done with a chunk are works: a work sees the chunks in order, one at a time, and two works may see the same
chunk at the same time. There is memory for two chunks, so that rows are waited for only while a chunk is worked on.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLACES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Rows that are stored together. Its memory is written over once all works are through with it."""

    index: int
    first: int
    """Number of its first row in the set."""
    n_rows: int
    memory: Mapping[str, NDArray[Any]]
    """Arrays by name, as a chunk's file has them; the last one's rows beyond `n_rows` are zero."""

    @property
    def rows(self) -> dict[str, NDArray[Any]]:
        """Its rows of every array."""
        return {name: values[: self.n_rows] for name, values in self.memory.items()}


class Chunks:
    """Takes rows in order, any number at a time, and gives full chunks to the works."""

    def __init__(
        self,
        shapes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
        works: Sequence[Callable[[Chunk], object]],
        *,
        first_index: int = 0,
    ) -> None:
        """`shapes`: shape of a chunk and type of every array; all chunks have as many rows.

        `first_index`: number of the first chunk in the set.
        """
        self._shapes = shapes
        self._capacity = next(iter(shapes.values()))[0][0]
        self._works = [(work, ThreadPoolExecutor(1, "chunks")) for work in works]
        self._places = [dict[str, NDArray[Any]]() for _ in range(PLACES)]
        self._busy = [list[Future[object]]() for _ in range(PLACES)]
        self._first_index = self._index = first_index
        self._n_waiting = 0

    @property
    def n_rows(self) -> int:
        """Rows taken so far."""
        return (self._index - self._first_index) * self._capacity + self._n_waiting

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take rows of every array, which are copied. Raises what a work raised of rows that came before."""
        n, taken = len(next(iter(rows.values()))), 0
        while taken < n:
            place = self.place(n - taken)
            now = len(next(iter(place.values())))
            for name, values in rows.items():
                place[name][...] = values[taken : taken + now]
            taken += now
            self.take(now)

    def place(self, n_rows: int) -> dict[str, NDArray[Any]]:
        """Memory for up to `n_rows` of the next rows, at least one, of every array; `take` says that they are there.

        Raises what a work raised of rows that came before.
        """
        first = self._n_waiting
        return {name: values[first : first + n_rows] for name, values in self._memory().items()}

    def take(self, n_rows: int) -> None:
        """Take rows whose arrays were put where `place` said."""
        self._n_waiting += n_rows
        if self._n_waiting == self._capacity:
            self._hand_over()

    def finish(self) -> None:
        """Hand over the rows that wait, and return when all works are through. Raises what a work raised."""
        if self._n_waiting:
            for values in self._memory().values():
                values[self._n_waiting :] = 0
            self._hand_over()
        for place in range(PLACES):
            self._wait_for(place)

    def close(self) -> None:
        """End the threads, without the chunks that no work has started on, and give up what is in memory.

        Works are methods of whoever holds this: with them gone, memory does not wait for a collection of circles.
        """
        for _, thread in self._works:
            thread.shutdown(cancel_futures=True)
        self._works = []
        self._busy = [list[Future[object]]() for _ in range(PLACES)]
        self._places = [dict[str, NDArray[Any]]() for _ in range(PLACES)]

    def _memory(self) -> dict[str, NDArray[Any]]:
        """Where rows go now."""
        place = self._index % PLACES
        self._wait_for(place)
        if not self._places[place]:
            self._places[place] = {name: np.empty(shape, dtype) for name, (shape, dtype) in self._shapes.items()}
        return self._places[place]

    def _hand_over(self) -> None:
        place = self._index % PLACES
        first = self._index * self._capacity
        chunk = Chunk(index=self._index, first=first, n_rows=self._n_waiting, memory=self._places[place])
        self._busy[place] = [thread.submit(work, chunk) for work, thread in self._works]
        self._index += 1
        self._n_waiting = 0

    def _wait_for(self, place: int) -> None:
        for one in self._busy[place]:
            one.result()
        self._busy[place] = []
