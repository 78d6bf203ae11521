"""Pieces of uploads, written and read without protobuf, which copies what a piece holds several times.

On the wire a piece is what protobuf makes of `UploadFeaturesRequest(chunk=ArrayChunk(...))`: any client may send it and
any server read it. A piece in another form, which protobuf would read as well, is left to protobuf.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from penult_proto.arrays import AnyArray
from penult_proto.limits import CHUNK_BYTES
from penult_proto.pieces.framing import cuts
from penult_proto.v1 import arrays_pb2, features_pb2

_CHUNK, _NAME, _OFFSET, _DATA = b"\x12"[0], b"\x0a"[0], b"\x10"[0], b"\x1a"[0]
"""Number and kind of `UploadFeaturesRequest.chunk`, and of the fields of `ArrayChunk`, as they stand before each."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of an array, as a message and as its `chunk`."""

    name: str
    offset: int
    data: memoryview
    lead: bytes = b""
    """The message up to `data`, of a piece that is written."""
    come: bytes = b""
    """The whole message, of one that was read."""

    @property
    def content(self) -> bytes:
        """The whole message."""
        return self.come or b"".join((self.lead, self.data))

    @property
    def chunk(self) -> "Piece":
        """What is in the message."""
        return self

    def HasField(self, name: str) -> bool:  # noqa: N802 - as protobuf's messages have it
        """Whether the message holds a field of that name."""
        return name == "chunk"

    def SerializeToString(self) -> bytes:  # noqa: N802 - as protobuf's messages have it
        """The message."""
        return self.content


UploadMessage: TypeAlias = "features_pb2.UploadFeaturesRequest | Piece"


def upload_pieces(name: str, array: AnyArray, *, offset: int = 0, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Piece]:
    """An array in pieces, as `framing.pieces`."""
    for start, data in cuts(array, chunk_bytes):
        yield _piece(name, offset + start, data)


def read_piece(content: bytes) -> Piece | None:
    """The piece in the bytes of a message; None for one that is none, or in another form."""
    try:
        return _read(content)
    except (IndexError, UnicodeDecodeError):
        return None


def upload_call(channel: Any) -> Any:
    """`FeatureService.UploadFeatures` of a channel of gRPC, to which pieces may be given as well as messages."""
    return channel.stream_unary(
        "/penult.v1.FeatureService/UploadFeatures",
        request_serializer=_serialized,
        response_deserializer=features_pb2.FeatureSet.FromString,
    )


def _serialized(message: UploadMessage) -> bytes:
    return message.SerializeToString()


def _piece(name: str, offset: int, data: memoryview) -> Piece:
    head = arrays_pb2.ArrayChunk(name=name, offset=offset).SerializeToString()
    head += bytes([_DATA]) + _varint(len(data))
    return Piece(name, offset, data, lead=b"".join((bytes([_CHUNK]), _varint(len(head) + len(data)), head)))


def _read(content: bytes) -> Piece | None:
    """Raises IndexError for bytes that end too early."""
    length, at = _field(content, 0, _CHUNK)
    if at + length != len(content):
        return None
    n_name, at = _field(content, at, _NAME)
    name, at = content[at : at + n_name].decode(), at + n_name
    offset = 0
    if content[at] == _OFFSET:
        offset, at = _field(content, at, _OFFSET)
    n_data, at = _field(content, at, _DATA)
    if at + n_data != len(content) or offset >= 2**64:
        return None
    return Piece(name, offset, memoryview(content)[at:], come=content)


def _field(content: bytes, at: int, tag: int) -> tuple[int, int]:
    """The number that follows `tag`, and where it ends. Raises IndexError where there is another tag, or no number."""
    if content[at] != tag:
        raise IndexError
    value = shift = 0
    while True:
        at += 1
        byte = content[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at + 1
        if shift >= 70:
            raise IndexError


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
