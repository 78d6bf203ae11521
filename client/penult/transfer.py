"""Large arrays in both directions: checked before they leave, put together when they come."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penult import decode
from penult.arrays import AnyArray, from_bytes, little_endian, numpy_dtype, wire_dtype
from penult.errors import ServerBug, invalid
from penult.records import Features
from penult.refits import Head
from penult_proto.errors import ErrorKind
from penult_proto.v1 import arrays_pb2, features_pb2, groups_pb2


def upload_arrays(
    *,
    features: NDArray[Any],
    y: ArrayLike,
    a: ArrayLike | None,
    logits: NDArray[Any] | None,
    row_id: ArrayLike | None,
    head: Head | None,
    masks: Mapping[str, ArrayLike] | None = None,
) -> dict[str, AnyArray]:
    """The arrays of an upload in the order of the wire, each of a type that the wire has.

    Raises `InvalidRequest` for shapes that do not fit each other and types that would lose something.
    """
    x = _floats("features", features, ("float32", "float16"))
    if x.ndim != 2 or 0 in x.shape:
        raise invalid(f"features must have shape (N, D), neither 0; got {x.shape}", ErrorKind.WRONG_SHAPE)
    arrays: dict[str, AnyArray] = {"y": _indices("y", y, len(x), np.dtype("<i8"))}
    if a is not None:
        arrays["a"] = _indices("a", a, len(x), np.dtype("<i8"))
    if logits is not None:
        arrays["logits"] = _floats("logits", logits, ("float32",))
        if arrays["logits"].ndim != 2 or len(arrays["logits"]) != len(x):
            raise invalid(f"logits must have shape ({len(x)}, C); got {arrays['logits'].shape}", ErrorKind.WRONG_SHAPE)
    if row_id is not None:
        arrays["row_id"] = _indices("row_id", row_id, len(x), np.dtype("<u8"))
    if masks:
        arrays["masks"] = np.stack([_mask(name, mask, len(x)) for name, mask in masks.items()], axis=1)
    if head is not None:
        arrays |= _head_arrays(head, x.shape[1])
    # The server wants features last: it stores their rows, with their labels, as they come.
    return arrays | {"features": x}


def _mask(name: str, value: ArrayLike, n_examples: int) -> AnyArray:
    """(N,) bool: which rows belong to the set `name`."""
    array = np.asarray(value)
    if array.shape != (n_examples,):
        raise invalid(f"mask {name!r} must have shape ({n_examples},); got {array.shape}", ErrorKind.WRONG_SHAPE)
    if array.dtype != np.bool_:
        raise invalid(f"mask {name!r} must be bool; got {array.dtype.name}: convert it", ErrorKind.WRONG_DTYPE)
    return array


def _head_arrays(head: Head, n_features: int) -> dict[str, AnyArray]:
    weight, bias = np.asarray(head.weight), np.asarray(head.bias)
    if weight.ndim != 2 or weight.shape[1] != n_features or bias.shape != weight.shape[:1]:
        raise invalid(
            f"head must have weight (C, {n_features}) and bias (C,); got {weight.shape} and {bias.shape}",
            ErrorKind.WRONG_SHAPE,
        )
    allowed = ("float32", "float64")
    return {
        "head.weight": _floats("head.weight", weight, allowed),
        "head.bias": _floats("head.bias", bias, allowed),
    }


def _floats(name: str, value: NDArray[Any], allowed: tuple[str, ...]) -> AnyArray:
    """An array that is one of the allowed types already: rounding is the caller's decision."""
    array = np.asarray(value)
    if array.dtype.name not in allowed:
        raise invalid(
            f"{name} must be {' or '.join(allowed)}, stored exactly as given; got {array.dtype.name}: "
            f"convert it yourself, for example {name}.astype(np.{allowed[0]})",
            ErrorKind.WRONG_DTYPE,
            array=name,
        )
    return array


def _indices(name: str, value: ArrayLike, n_examples: int, dtype: np.dtype[Any]) -> AnyArray:
    """(N,) integers from 0, in `dtype`."""
    array = np.asarray(value)
    if array.shape != (n_examples,):
        raise invalid(
            f"{name} must have shape ({n_examples},), one entry per row of features; got {array.shape}",
            ErrorKind.WRONG_SHAPE,
            array=name,
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise invalid(
            f"{name} must be integers; got {array.dtype.name}: convert it, for example {name}.astype(np.int64)",
            ErrorKind.WRONG_DTYPE,
            array=name,
        )
    least, most = int(array.min()), int(array.max())
    if least < 0 or most > np.iinfo(dtype).max:
        raise invalid(
            f"{name} must lie in 0 .. {np.iinfo(dtype).max}; got {least} .. {most}",
            ErrorKind.LABEL_OUT_OF_RANGE,
            array=name,
        )
    return array.astype(dtype)


def upload_messages(
    arrays: Mapping[str, AnyArray],
    name: str,
    labels: groups_pb2.Labels | None,
    chunk_bytes: int,
    head_classes: Sequence[str] = (),
) -> Iterator[features_pb2.UploadFeaturesRequest]:
    """The header, then every array in pieces of at most `chunk_bytes`."""
    headers = [
        arrays_pb2.ArrayHeader(name=key, dtype=wire_dtype(array), shape=list(array.shape), total_bytes=array.nbytes)
        for key, array in arrays.items()
    ]
    header = features_pb2.UploadHeader(name=name, arrays=headers, labels=labels, head_classes=head_classes)
    yield features_pb2.UploadFeaturesRequest(header=header)
    for key, array in arrays.items():
        for offset, data in pieces(array, chunk_bytes):
            chunk = arrays_pb2.ArrayChunk(name=key, offset=offset, data=data)
            yield features_pb2.UploadFeaturesRequest(chunk=chunk)


def pieces(array: AnyArray, chunk_bytes: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of an array from its first byte to its last."""
    data = little_endian(array).reshape(-1).view(np.uint8)
    for offset in range(0, len(data), chunk_bytes):
        yield offset, data[offset : offset + chunk_bytes].tobytes()


class _Receiver:
    """One array being put together."""

    def __init__(self, header: arrays_pb2.ArrayHeader) -> None:
        self.name = header.name
        self._dtype = numpy_dtype(header.dtype)
        self._shape = tuple(header.shape)
        self._n_received = 0
        expected = math.prod(self._shape) * self._dtype.itemsize
        if header.total_bytes != expected:
            raise ServerBug(
                f"array {self.name!r} {self._shape} of {self._dtype.name} takes {expected} bytes; the server "
                f"announced {header.total_bytes}"
            )
        self._data = bytearray(expected)

    def add(self, chunk: arrays_pb2.ArrayChunk) -> None:
        """The next piece. Raises `ServerBug` on a gap, an overlap or too much."""
        end = chunk.offset + len(chunk.data)
        if chunk.offset != self._n_received or end > len(self._data):
            raise ServerBug(
                f"array {self.name!r}: the server sent bytes {chunk.offset} .. {end} where byte "
                f"{self._n_received} of {len(self._data)} was next"
            )
        self._data[chunk.offset : end] = chunk.data
        self._n_received = end

    def finish(self) -> AnyArray:
        """The array. Raises `ServerBug` when bytes are missing."""
        if self._n_received != len(self._data):
            raise ServerBug(
                f"array {self.name!r} is incomplete: {self._n_received} of {len(self._data)} bytes came; "
                "nothing is filled in, read it again"
            )
        return from_bytes(self._data, self._dtype, self._shape)


def receive_arrays(
    announced: Iterable[arrays_pb2.ArrayHeader], chunks: Iterable[arrays_pb2.ArrayChunk]
) -> dict[str, AnyArray]:
    """Arrays by name, put together from their pieces. Raises `ServerBug` when any is incomplete."""
    receivers = {header.name: _Receiver(header) for header in announced}
    for chunk in chunks:
        if chunk.name not in receivers:
            raise ServerBug(f"the server sent the array {chunk.name!r}, which it had not announced")
        receivers[chunk.name].add(chunk)
    return {name: receiver.finish() for name, receiver in receivers.items()}


def receive(messages: Iterable[features_pb2.ReadFeaturesResponse]) -> Features:
    """The arrays of a feature set from the messages of one read. Raises `ServerBug` when any is incomplete."""
    stream = iter(messages)
    first = next(stream, None)
    if first is None or first.WhichOneof("kind") != "header":
        raise ServerBug("the server sent no header before the arrays")
    arrays = receive_arrays(first.header.arrays, (message.chunk for message in stream))
    missing = {"features", "y", "a", "row_id"} - set(arrays)
    if missing:
        raise ServerBug(f"the server did not send {sorted(missing)}")
    return Features(
        feature_set=decode.feature_set(first.header.feature_set),
        features=arrays["features"],
        y=arrays["y"],
        a=arrays["a"],
        row_id=arrays["row_id"],
        logits=arrays.get("logits"),
        head_weight=arrays.get("head.weight"),
        head_bias=arrays.get("head.bias"),
        attributes=arrays.get("attributes"),
        masks=arrays.get("masks"),
    )
