"""Pieces of uploads that are written and read by hand are those of protobuf, byte for byte."""

import numpy as np
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from penult_proto.pieces.uploads import read_piece, upload_pieces
from penult_proto.v1.features_pb2 import UploadFeaturesRequest

NAMES = st.text(max_size=200).filter(lambda text: text.isprintable())
OFFSETS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 127, 128, 2**21, 2**63])


def made(name: str, offset: int, data: bytes) -> bytes:
    return UploadFeaturesRequest(chunk={"name": name, "offset": offset, "data": data}).SerializeToString()


@settings(max_examples=100, deadline=None)
@given(name=NAMES.filter(bool), offset=OFFSETS, data=st.binary(min_size=1, max_size=300))
def test_a_piece_is_the_message_of_protobuf(name, offset, data):
    array = np.frombuffer(data, np.uint8)
    (piece,) = upload_pieces(name, array, offset=offset)
    assert piece.SerializeToString() == made(name, offset, data)
    found = read_piece(piece.content)
    assert (found.chunk.name, found.chunk.offset, bytes(found.chunk.data)) == (name, offset, data)


@settings(max_examples=300, deadline=None)
@given(
    content=st.builds(made, NAMES, OFFSETS, st.binary(max_size=200)) | st.binary(max_size=60),
    changes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=2),
    cut=st.none() | st.integers(0, 60),
)
def test_nothing_is_read_that_protobuf_reads_otherwise(content, changes, cut):
    altered = bytearray(content[:cut])
    for place, value in changes:
        if place < len(altered):
            altered[place] = value
    piece = read_piece(bytes(altered))
    try:
        message = UploadFeaturesRequest.FromString(bytes(altered))
    except DecodeError:
        assert piece is None
    else:
        assert piece is None or (piece.name, piece.offset, bytes(piece.data)) == (
            message.chunk.name,
            message.chunk.offset,
            message.chunk.data,
        )


def test_what_is_no_piece_is_left_to_protobuf():
    assert read_piece(UploadFeaturesRequest(header={"name": "mine"}).SerializeToString()) is None
    assert read_piece(b"") is None
    assert read_piece(made("", 0, b"")) is None
