"""Large arrays on the wire: announced, cut in pieces, and put together when the pieces come."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from penult_proto.arrays import (
    AnyArray,
    ArrayError,
    bytes_of_shape,
    from_bytes,
    little_endian,
    numpy_dtype,
    shape_text,
    wire_dtype,
)
from penult_proto.errors import ErrorKind
from penult_proto.limits import CHUNK_BYTES
from penult_proto.v1 import arrays_pb2


class Chunk(Protocol):
    """A piece of an array, as protobuf's `ArrayChunk` or read without it."""

    @property
    def name(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def data(self) -> bytes | bytearray | memoryview: ...


def announce(name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> arrays_pb2.ArrayHeader:
    """What is said of an array before its pieces. Raises TypeError for a type that the wire does not have."""
    total = math.prod(shape) * dtype.itemsize
    return arrays_pb2.ArrayHeader(name=name, dtype=wire_dtype(dtype), shape=shape, total_bytes=total)


def pieces(
    name: str, array: AnyArray, *, offset: int = 0, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[arrays_pb2.ArrayChunk]:
    """An array in pieces, from its first byte to its last; `offset` is the place of the first in a larger array."""
    for start, data in cuts(array, chunk_bytes):
        yield arrays_pb2.ArrayChunk(name=name, offset=offset + start, data=data.tobytes())


def cuts(array: AnyArray, chunk_bytes: int) -> Iterator[tuple[int, memoryview]]:
    """The bytes of an array in pieces of at most `chunk_bytes`, each with its offset.

    Pieces hold whole rows where a row is not longer than one: whoever takes them then need not put rows together.
    """
    content = little_endian(array).reshape(-1).view(np.uint8)
    row_bytes = len(content) // len(array) if array.ndim and len(array) else 1
    chunk_bytes -= chunk_bytes % row_bytes if 0 < row_bytes <= chunk_bytes else 0
    for start in range(0, len(content), chunk_bytes):
        yield start, content[start : start + chunk_bytes].data


class Arrival:
    """How much has come of an array that was announced.

    Raises ArrayError (WRONG_DTYPE, WRONG_SHAPE) for an announcement whose type, shape and size do not fit together.
    """

    def __init__(self, header: arrays_pb2.ArrayHeader) -> None:
        self.header = header
        self.dtype = numpy_dtype(header.dtype, header.name)
        self._n_received = 0
        size = bytes_of_shape(header.shape, self.dtype.itemsize)
        if size != header.total_bytes:
            said = "is no array" if size is None else f"has {size} bytes, the header announces {header.total_bytes}"
            message = f"{header.name} of shape {shape_text(header.shape)} {said}"
            raise ArrayError(ErrorKind.WRONG_SHAPE, message, header.name)

    @property
    def is_complete(self) -> bool:
        """Whether every byte has come."""
        return self._n_received == self.header.total_bytes

    def take(self, chunk: "Chunk | None") -> bytes | bytearray | memoryview:
        """The bytes of the next piece, None for the end of the stream.

        Raises ArrayError (INCOMPLETE_UPLOAD) for the end, a gap, an overlap, too much, or a piece of another array.
        """
        if chunk is None:
            raise self.cut()
        # Every look at a field of bytes makes a copy of it.
        content = chunk.data
        self.expect(chunk.name, chunk.offset, len(content))
        return content

    def expect(self, name: str, offset: int, size: int) -> None:
        """Count a piece whose bytes are still to be read. Raises ArrayError as `take` does."""
        wanted, total, end = self.header.name, self.header.total_bytes, offset + size
        if name != wanted or offset != self._n_received or end > total:
            message = (
                f"bytes {offset} .. {end} of array {name!r} came where byte {self._n_received} of the {total} of "
                f"{wanted!r} was next"
            )
            raise ArrayError(ErrorKind.INCOMPLETE_UPLOAD, message, wanted)
        self._n_received = end

    def cut(self) -> ArrayError:
        """The error for a stream that ends before everything has come."""
        name = self.header.name
        message = f"array {name!r} is incomplete: {self._n_received} of {self.header.total_bytes} bytes came"
        return ArrayError(ErrorKind.INCOMPLETE_UPLOAD, message, name)


def gather(headers: Iterable[arrays_pb2.ArrayHeader], chunks: "Iterator[Chunk]") -> dict[str, AnyArray]:
    """Arrays by name, put together from their pieces, of which those of several arrays may alternate.

    Takes no more pieces than complete them. Raises ArrayError when any is broken, incomplete or was not announced.
    """
    arrivals = {header.name: Arrival(header) for header in headers}
    contents = {name: bytearray() for name in arrivals}
    for name, arrival in arrivals.items():
        while not arrival.is_complete:
            chunk = next(chunks, None)
            found = name if chunk is None else chunk.name
            if found not in arrivals:
                raise unannounced(found)
            contents[found] += arrivals[found].take(chunk)
    return {
        name: from_bytes(contents[name], one.header.dtype, one.header.shape, name) for name, one in arrivals.items()
    }


def expect_end(chunks: "Iterator[Chunk]") -> None:
    """Raise ArrayError (INCOMPLETE_UPLOAD) when more comes than was announced."""
    chunk = next(chunks, None)
    if chunk is not None:
        raise unannounced(chunk.name)


def unannounced(name: str) -> ArrayError:
    """The error for pieces of an array that no header named."""
    return ArrayError(ErrorKind.INCOMPLETE_UPLOAD, f"array {name!r} came, which was not announced", name)
