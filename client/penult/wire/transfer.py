"""Large arrays in both directions: sent in pieces, and put together when they come."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from penult.arguments.coerce import build
from penult.errors import ServerBug
from penult.results.records import Features
from penult.wire import decode
from penult.wire.arrays import AnyArray, sent_by_server
from penult.wire.uploads import Upload
from penult_proto.framing import announce, expect_end, gather, pieces
from penult_proto.v1 import cards_pb2, features_pb2, spectra_pb2

Response = TypeVar("Response", features_pb2.ReadFeaturesResponse, spectra_pb2.ReadEigenvectorsResponse)


def upload_messages(
    upload: Upload, card: cards_pb2.Card, chunk_bytes: int
) -> Iterator[features_pb2.UploadFeaturesRequest]:
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
        for chunk in pieces(key, array, chunk_bytes=chunk_bytes):
            yield features_pb2.UploadFeaturesRequest(chunk=chunk)


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
