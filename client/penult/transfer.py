"""Large arrays in both directions: cut in pieces, and put together when they come."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from penult import decode
from penult.arrays import AnyArray, from_bytes, little_endian, numpy_dtype, wire_dtype
from penult.coerce import build
from penult.errors import ServerBug
from penult.records import Features
from penult.uploads import Upload
from penult_proto.v1 import arrays_pb2, features_pb2


def upload_messages(upload: Upload, name: str, chunk_bytes: int) -> Iterator[features_pb2.UploadFeaturesRequest]:
    """The header, then every array in pieces of at most `chunk_bytes`."""
    headers = [
        arrays_pb2.ArrayHeader(name=key, dtype=wire_dtype(array), shape=list(array.shape), total_bytes=array.nbytes)
        for key, array in upload.arrays.items()
    ]
    header = build(
        features_pb2.UploadHeader,
        name=name,
        arrays=headers,
        labels=upload.labels,
        train_counts=upload.train_counts,
        head_classes=upload.head_classes,
    )
    yield features_pb2.UploadFeaturesRequest(header=header)
    for key, array in upload.arrays.items():
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
