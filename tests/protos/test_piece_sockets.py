"""Pieces through a Unix socket come as they were sent, whatever they are; what is none ends the upload."""

import socket
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penult_proto.arrays import ArrayError
from penult_proto.errors import ErrorKind
from penult_proto.pieces.sockets import LEAD, arriving, connected, listening, send_piece
from penult_proto.pieces.uploads import Piece, upload_pieces


def through(pieces: list[Piece]) -> list[tuple[str, int, bytes]]:
    ours, theirs = socket.socketpair()

    def send() -> None:
        with ours:
            for piece in pieces:
                send_piece(ours, piece)

    sender = threading.Thread(target=send)
    sender.start()
    with theirs:
        found = [(piece.name, piece.offset, bytes(piece.data)) for piece in arriving(theirs)]
    sender.join()
    return found


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.integers(0, 2**64 - 1), st.binary(max_size=200)), max_size=4))
def test_pieces_come_as_they_were_sent(sent):
    assert through([Piece(name, offset, memoryview(data)) for name, offset, data in sent]) == sent


def test_pieces_longer_than_what_a_socket_holds():
    array = np.random.default_rng(0).integers(0, 256, 3 * 2**20 + 7, dtype=np.uint8)
    found = through(list(upload_pieces("features", array)))
    assert [offset for _, offset, _ in found] == [0, 2**20, 2 * 2**20, 3 * 2**20]
    assert b"".join(data for _, _, data in found) == array.tobytes()


@pytest.mark.parametrize(
    "content", [LEAD.pack(0, 8, 1) + b"y" + b"\0" * 7, LEAD.pack(0, 1, 9), LEAD.pack(0, 2**32 - 1, 1) + b"y", b"\0"]
)
def test_what_is_no_piece_ends_the_upload(content):
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(content)
        if len(content) < LEAD.size:
            assert list(arriving(theirs)) == []  # as an end: whoever counts bytes misses some
            return
        with pytest.raises(ArrayError) as raised:
            [piece.data for piece in arriving(theirs)]
    assert raised.value.kind is ErrorKind.INCOMPLETE_UPLOAD


def test_a_path_of_any_length_is_free_again(tmp_path):
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    with listening(folder / "door") as door, connected(folder / "door") as caller:
        taken, _ = door.accept()
        with taken:
            taken.sendall(b"hello")
            assert caller.recv(5) == b"hello"
    assert not list(folder.iterdir())
    with pytest.raises(OSError):
        connected(folder / "door")
