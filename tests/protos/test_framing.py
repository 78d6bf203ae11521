"""Arrays in pieces come back as they were, whatever the pieces; anything else is refused by its own kind."""

from itertools import chain, zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penult_proto.arrays import DTYPES, ArrayError, bytes_of_shape
from penult_proto.errors import ErrorKind
from penult_proto.pieces.framing import announce, expect_end, gather, pieces
from penult_proto.v1 import arrays_pb2

VALUES = np.arange(6.0).reshape(2, 3)


def refused(kind: ErrorKind, said: str):
    return pytest.raises(ArrayError, match=said, check=lambda error: error.kind is kind)


def chunk(name: str, offset: int, data: bytes) -> arrays_pb2.ArrayChunk:
    return arrays_pb2.ArrayChunk(name=name, offset=offset, data=data)


@given(
    dtype=st.sampled_from(list(DTYPES)),
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    chunk_bytes=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_pieces_of_two_arrays_may_alternate(dtype: str, shape: list[int], chunk_bytes: int) -> None:
    array = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(dtype)
    sent = {"one": array, "two": array[::-1].T}
    headers = [announce(name, one.dtype, one.shape) for name, one in sent.items()]
    both = zip_longest(*(pieces(name, one, chunk_bytes=chunk_bytes) for name, one in sent.items()))
    chunks = (one for one in chain.from_iterable(both) if one is not None)
    found = gather(headers, chunks)
    expect_end(chunks)
    assert {name: one.dtype for name, one in found.items()} == {name: np.dtype(dtype) for name in sent}
    for name, one in sent.items():
        np.testing.assert_array_equal(found[name], one)


def test_a_part_is_placed_by_its_offset() -> None:
    chunks = chain(*(pieces("it", row, offset=24 * i, chunk_bytes=10) for i, row in enumerate(VALUES)))
    np.testing.assert_array_equal(gather([announce("it", VALUES.dtype, VALUES.shape)], chunks)["it"], VALUES)


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ([], "incomplete: 0 of 48"),
        ([chunk("it", 8, b"\0" * 8)], "byte 0 of the 48 of 'it' was next"),
        ([chunk("it", 0, b"\0" * 49)], r"bytes 0 \.\. 49"),
        ([chunk("other", 0, b"\0" * 48)], "'other' came, which was not announced"),
    ],
)
def test_what_is_not_the_array_is_refused(chunks: list[arrays_pb2.ArrayChunk], said: str) -> None:
    with refused(ErrorKind.INCOMPLETE_UPLOAD, said):
        gather([announce("it", VALUES.dtype, VALUES.shape)], iter(chunks))


def test_announcements_that_contradict_themselves_are_refused() -> None:
    header = announce("it", VALUES.dtype, VALUES.shape)
    header.total_bytes += 1
    with refused(ErrorKind.WRONG_SHAPE, "has 48 bytes, the header announces 49"):
        gather([header], iter([]))
    header.shape[:] = [-1]
    with refused(ErrorKind.WRONG_SHAPE, "is no array"):
        gather([header], iter([]))
    header.dtype = arrays_pb2.DTYPE_UNSPECIFIED
    with refused(ErrorKind.WRONG_DTYPE, "one of float16, float32"):
        gather([header], iter([]))
    with pytest.raises(TypeError, match="not complex128"):
        announce("it", np.dtype(np.complex128), (1,))
    assert bytes_of_shape([1] * 33, 1) is None
