"""Chunks: every work sees every row once and in order, in the memory of two chunks; what fails is told, once."""

import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penult_server.stores.feature_chunks import Chunk, Chunks

SHAPES = {"x": ((4, 2), np.dtype("<f4")), "y": ((4,), np.dtype("<i8"))}


def rows(n: int) -> dict[str, np.ndarray]:
    return {"x": np.arange(2.0 * n).reshape(n, 2), "y": np.arange(n)}


class Seen:
    """A work that remembers what it saw."""

    def __init__(self) -> None:
        self.chunks: list[tuple[int, int, dict[str, np.ndarray]]] = []
        self.padding = 0.0
        self.places: set[int] = set()

    def __call__(self, chunk: Chunk) -> None:
        self.chunks.append((chunk.index, chunk.first, {name: one.copy() for name, one in chunk.rows.items()}))
        self.padding += sum(float(np.abs(one[chunk.n_rows :]).sum()) for one in chunk.memory.values())
        self.places.add(chunk.memory["x"].ctypes.data)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), cuts=st.lists(st.integers(0, 30), max_size=5))
def test_every_work_sees_every_row_in_order(n: int, cuts: list[int]) -> None:
    one, two, whole = Seen(), Seen(), rows(n)
    chunks = Chunks(SHAPES, [one, two])
    ends = sorted(min(cut, n) for cut in cuts)
    for first, last in zip([0, *ends], [*ends, n], strict=True):
        chunks.add({name: values[first:last] for name, values in whole.items()})
    assert chunks.n_rows == n
    chunks.finish()
    chunks.close()
    for seen in (one, two):
        assert [(index, first) for index, first, _ in seen.chunks] == [(i, 4 * i) for i in range(-(-n // 4))]
        for name, values in whole.items():
            np.testing.assert_array_equal(np.concatenate([chunk[name] for _, _, chunk in seen.chunks]), values)
        assert seen.padding == 0
        assert len(seen.places) <= 2


def test_works_go_on_side_by_side() -> None:
    both = threading.Barrier(2)
    chunks = Chunks(SHAPES, [lambda _: both.wait(20), lambda _: both.wait(20)])
    chunks.add(rows(8))
    chunks.finish()
    chunks.close()
    assert not both.broken


def test_what_a_work_raises_is_raised_before_its_memory_is_used_again() -> None:
    def fail(chunk: Chunk) -> None:
        if chunk.index == 1:
            raise OSError("disk full")

    seen = Seen()
    chunks = Chunks(SHAPES, [fail, seen])
    with pytest.raises(OSError, match="disk full"):
        chunks.add(rows(40))
    chunks.close()
    # What this work has not begun by then is left. The fourth chunk, in the memory of the second, was not handed over.
    assert [index for index, _, _ in seen.chunks] in ([0], [0, 1], [0, 1, 2])


class Holder:
    """Has chunks whose work is its own method, as the writer of a feature set has."""

    def __init__(self) -> None:
        self.chunks = Chunks(SHAPES, [self.see])

    def see(self, chunk: Chunk) -> None:
        self.seen = chunk.n_rows


def test_what_is_in_memory_goes_at_the_end_and_waits_for_no_collection() -> None:
    gc.disable()
    try:
        holder = Holder()
        holder.chunks.add(rows(9))
        holder.chunks.finish()
        holder.chunks.close()
        left = weakref.ref(holder)
        del holder
        assert left() is None
    finally:
        gc.enable()
