"""Large arrays in both directions: sent in pieces, and put together when they come."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from penult.arguments.coerce import build
from penult.errors import ServerBug
from penult.files.rows import Rows
from penult.results.records import Features, FeatureSet
from penult.wire import decode
from penult.wire.arrays import AnyArray, sent_by_server
from penult.wire.uploads import Upload
from penult_proto.pieces.framing import Arrival, announce, expect_end, gather
from penult_proto.pieces.uploads import UploadMessage, upload_pieces
from penult_proto.v1 import arrays_pb2, cards_pb2, features_pb2, groupings_pb2, neighbours_pb2, spectra_pb2

Response = TypeVar(
    "Response",
    features_pb2.ReadFeaturesResponse,
    groupings_pb2.ReadGroupingResponse,
    neighbours_pb2.ReadNeighboursResponse,
    spectra_pb2.ReadCoordinatesResponse,
    spectra_pb2.ReadEigenvectorsResponse,
)


def upload_messages(upload: Upload, card: cards_pb2.Card, chunk_bytes: int) -> Iterator[UploadMessage]:
    """The header, then every array in pieces of at most `chunk_bytes`."""
    header = build(
        features_pb2.UploadHeader,
        name=card.name,
        tags=card.tags,
        note=card.note,
        arrays=[announce(key, array.dtype, array.shape) for key, array in upload.arrays.items()],
        labels=upload.labels,
        train_counts=upload.train_counts,
        head_classes=upload.head_classes,
    )
    yield features_pb2.UploadFeaturesRequest(header=header)
    for key, array in upload.arrays.items():
        offset = 0
        for block in array.blocks() if isinstance(array, Rows) else (array,):
            yield from upload_pieces(key, block, offset=offset, chunk_bytes=chunk_bytes)
            offset += block.nbytes


@sent_by_server()
def receive_arrays(messages: Iterable[Response]) -> tuple[Response, dict[str, AnyArray]]:
    """The first message of a read, which holds the header, and the arrays by name.

    Raises `ServerBug` when there is no header or any array is incomplete.
    """
    stream = iter(messages)
    first = next(stream, None)
    if first is None or first.WhichOneof("kind") != "header":
        raise ServerBug("the server sent no header before the arrays")
    chunks = (message.chunk for message in stream)
    arrays = gather(first.header.arrays, chunks)
    expect_end(chunks)
    return first, arrays


def receive(messages: Iterable[features_pb2.ReadFeaturesResponse]) -> Features:
    """The arrays of a feature set from the messages of one read. Raises `ServerBug` when any is incomplete."""
    first, arrays = receive_arrays(messages)
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


class ArrayStream:
    """The arrays of one read, taken piece by piece in the order of `arrivals`.

    Every method raises `ServerBug` for messages that are not what was announced.
    """

    def __init__(self, messages: Iterable[features_pb2.ReadFeaturesResponse]) -> None:
        stream = iter(messages)
        first = next(stream, None)
        if first is None or first.WhichOneof("kind") != "header":
            raise ServerBug("the server sent no header before the arrays")
        self.feature_set: FeatureSet = decode.feature_set(first.header.feature_set)
        with sent_by_server():
            self.arrivals = [Arrival(header) for header in first.header.arrays]
        self._chunks: Iterator[arrays_pb2.ArrayChunk] = (message.chunk for message in stream)

    def pieces(self, arrival: Arrival) -> Iterator[bytes]:
        """The bytes of the next array."""
        with sent_by_server():
            while not arrival.is_complete:
                yield bytes(arrival.take(next(self._chunks, None)))

    def rows(self, arrival: Arrival, at_once: int) -> Iterator[AnyArray]:
        """The next array in blocks of `at_once` rows, the last one shorter."""
        shape = tuple(arrival.header.shape)
        row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * arrival.dtype.itemsize
        wanted, rest = at_once * row_bytes, bytearray()
        for piece in self.pieces(arrival):
            rest += piece
            while len(rest) >= wanted or (arrival.is_complete and rest):
                yield _block(bytes(rest[:wanted]), arrival.dtype, shape)
                del rest[:wanted]

    def end(self) -> None:
        """Check that nothing more comes."""
        with sent_by_server():
            expect_end(self._chunks)


def _block(content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> AnyArray:
    return np.frombuffer(content, dtype).reshape(-1, *shape[1:])
