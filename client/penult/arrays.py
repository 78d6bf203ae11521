"""Arrays on the wire: raw little-endian bytes in row-major order with their type and shape."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult.errors import ServerBug
from penult_proto.v1 import arrays_pb2

AnyArray = NDArray[Any]

DTYPES: dict[arrays_pb2.DType.ValueType, np.dtype[Any]] = {
    arrays_pb2.DTYPE_FLOAT16: np.dtype("<f2"),
    arrays_pb2.DTYPE_FLOAT32: np.dtype("<f4"),
    arrays_pb2.DTYPE_FLOAT64: np.dtype("<f8"),
    arrays_pb2.DTYPE_INT64: np.dtype("<i8"),
    arrays_pb2.DTYPE_UINT64: np.dtype("<u8"),
    arrays_pb2.DTYPE_BOOL: np.dtype(np.bool_),
}


def wire_dtype(array: AnyArray) -> arrays_pb2.DType.ValueType:
    """The number of an array's type on the wire. Raises TypeError for one that the wire does not have."""
    for number, dtype in DTYPES.items():
        if dtype == array.dtype.newbyteorder("<"):
            return number
    raise TypeError(f"the wire carries {[dtype.name for dtype in DTYPES.values()]}, not {array.dtype.name}")


def numpy_dtype(number: arrays_pb2.DType.ValueType) -> np.dtype[Any]:
    """The NumPy type of a number on the wire. Raises `ServerBug` for an unknown one."""
    if number not in DTYPES:
        raise ServerBug(f"the server sent an array of the unknown type {number}")
    return DTYPES[number]


def little_endian(array: AnyArray) -> AnyArray:
    """The same values, contiguous in row-major order with the low byte first; no copy if they are so already."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def encode(array: AnyArray) -> arrays_pb2.Array:
    """A small array as a message."""
    return arrays_pb2.Array(dtype=wire_dtype(array), shape=list(array.shape), data=little_endian(array).tobytes())


def decode(message: arrays_pb2.Array) -> AnyArray:
    """The array in a message, read-only. Raises `ServerBug` when the bytes do not fill its shape."""
    return from_bytes(message.data, numpy_dtype(message.dtype), list(message.shape))


def from_bytes(data: bytes | bytearray, dtype: np.dtype[Any], shape: Sequence[int]) -> AnyArray:
    """An array over `data`, read-only. Raises `ServerBug` when there are too few or too many bytes."""
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise ServerBug(f"an array {tuple(shape)} of {dtype.name} takes {expected} bytes; the server sent {len(data)}")
    array = np.frombuffer(data, dtype=dtype).reshape(tuple(shape))
    array.flags.writeable = False
    return array
