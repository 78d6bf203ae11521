"""Arrays on the wire: raw little-endian bytes in row-major order with their type and shape."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_proto.enums import names_of
from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_SIDES
from penult_proto.v1 import arrays_pb2

AnyArray = NDArray[Any]

DTYPES = names_of(arrays_pb2.DType)
"""Numbers of types on the wire by NumPy's names."""
_NAMES = {number: name for name, number in DTYPES.items()}


class ArrayError(ValueError):
    """Bytes, a type or a shape that came over the wire and are no array.

    `kind` is WRONG_DTYPE, WRONG_SHAPE or INCOMPLETE_UPLOAD; `array` names the array.
    """

    def __init__(self, kind: ErrorKind, message: str, array: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.array = array


def wire_dtype(dtype: np.dtype[Any]) -> arrays_pb2.DType.ValueType:
    """The number of a type on the wire. Raises TypeError for one that the wire does not have."""
    if dtype.name not in DTYPES:
        raise TypeError(f"the wire carries {', '.join(DTYPES)}, not {dtype.name}")
    return DTYPES[dtype.name]


def numpy_dtype(number: arrays_pb2.DType.ValueType, name: str) -> np.dtype[Any]:
    """The NumPy type of a number on the wire. Raises ArrayError (WRONG_DTYPE), listing the legal ones."""
    if number not in _NAMES:
        message = f"{name} has no known dtype ({number}); one of {', '.join(DTYPES)}"
        raise ArrayError(ErrorKind.WRONG_DTYPE, message, name)
    return np.dtype(_NAMES[number]).newbyteorder("<")


def little_endian(array: AnyArray) -> AnyArray:
    """The same values, contiguous in row-major order with the low byte first; no copy if they are so already."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def encode(array: AnyArray) -> arrays_pb2.Array:
    """A small array as a message."""
    return arrays_pb2.Array(dtype=wire_dtype(array.dtype), shape=array.shape, data=little_endian(array).tobytes())


def decode(message: arrays_pb2.Array, name: str) -> AnyArray:
    """The array in a message, read-only. Raises what `from_bytes` raises."""
    return from_bytes(message.data, message.dtype, message.shape, name)


def from_bytes(
    content: bytes | bytearray, dtype: arrays_pb2.DType.ValueType, shape: Sequence[int], name: str
) -> AnyArray:
    """An array over bytes that came, read-only.

    Raises ArrayError: WRONG_DTYPE for an unknown type and for booleans other than 0 and 1, WRONG_SHAPE for a shape
    that no array has or that takes other bytes.
    """
    kind = numpy_dtype(dtype, name)
    expected = bytes_of_shape(shape, kind.itemsize)
    if expected != len(content):
        needed = f"needs {expected} bytes" if expected is not None else "is that of no array"
        message = f"{name}: shape {shape_text(shape)} of {kind.name} {needed}, got {len(content)} bytes"
        raise ArrayError(ErrorKind.WRONG_SHAPE, message, name)
    if kind == np.bool_ and content.strip(b"\0\1"):
        raise ArrayError(ErrorKind.WRONG_DTYPE, f"{name} holds bytes other than 0 and 1", name)
    array = np.frombuffer(content, dtype=kind).reshape(tuple(shape))
    array.flags.writeable = False
    return array


def bytes_of_shape(shape: Sequence[int], itemsize: int) -> int | None:
    """Bytes of an array; None where no array has that shape."""
    longest = math.prod(max(side, 1) for side in shape) * itemsize
    if len(shape) > MOST_SIDES or min(shape, default=0) < 0 or longest >= 2**63:
        return None
    return math.prod(shape) * itemsize


def shape_text(shape: Sequence[int]) -> str:
    """A shape as it is said to people, who need no more than its beginning."""
    return str(tuple(shape)) if len(shape) <= MOST_SIDES else f"of {len(shape)} sides"
