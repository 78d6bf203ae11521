"""The bytes of an upload as they come through a socket, put where they are wanted without a copy of their own."""

import socket
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from penult_proto.arrays import AnyArray
from penult_proto.errors import ErrorKind
from penult_proto.pieces.framing import Arrival, Chunk
from penult_proto.pieces.sockets import ArrivingPiece, arriving, connected
from penult_proto.v1 import arrays_pb2
from penult_server.errors import ServiceError, idle_upload

AnyPiece: TypeAlias = "ArrivingPiece | SentPiece"


@contextmanager
def pieces_beside(path: Path, idle_seconds: float) -> Generator[Iterator[ArrivingPiece]]:
    """The pieces from whoever listens at a path.

    Raises ServiceError: INCOMPLETE_UPLOAD where nobody does, DEADLINE_EXCEEDED where nothing comes for so long.
    """
    try:
        connection = connected(path)
    except (FileNotFoundError, ConnectionRefusedError, PermissionError) as error:
        raise ServiceError(
            ErrorKind.INCOMPLETE_UPLOAD,
            f"the arrays of an upload were to come through the socket {path}, where nobody listens ({error.strerror}); "
            "nothing was stored, upload again",
            beside=path.name,
        ) from None
    with connection:
        # Unlike a timeout of Python's it lets the system put together what is waited for.
        whole, rest = divmod(idle_seconds, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(whole), int(rest * 1e6)))
        try:
            yield arriving(connection)
        except BlockingIOError:
            raise idle_upload(idle_seconds) from None


class SentPiece:
    """A piece that came in a message, whose bytes are read once and in order as those of `ArrivingPiece`."""

    def __init__(self, chunk: Chunk) -> None:
        self.name = chunk.name
        self.offset = chunk.offset
        self.data = chunk.data
        self.size = len(chunk.data)
        self._rest = memoryview(chunk.data)

    def read_into(self, out: memoryview) -> None:
        """Put the next bytes into `out`, which has at most as many."""
        out[:] = self._rest[: len(out)]
        self._rest = self._rest[len(out) :]


class ArrayFill:
    """An array that is put, as its bytes come, into memory of any sizes one after the other.

    Raises ArrayError (INCOMPLETE_UPLOAD) where its pieces do not follow each other up to its end.
    """

    def __init__(self, header: arrays_pb2.ArrayHeader, pieces: Iterator[AnyPiece]) -> None:
        self._arrival = Arrival(header)
        self._pieces = pieces
        self._piece: AnyPiece | None = None
        self._n_left = 0

    def fill(self, out: AnyArray) -> None:
        """Put the next bytes into a contiguous array."""
        wanted = out.reshape(-1).view(np.uint8).data
        while len(wanted):
            piece = self._piece if self._piece is not None and self._n_left else self._next()
            now = min(self._n_left, len(wanted))
            piece.read_into(wanted[:now])
            self._n_left -= now
            wanted = wanted[now:]

    def _next(self) -> AnyPiece:
        piece = self._piece = next(self._pieces, None)
        if piece is None:
            raise self._arrival.cut()
        self._arrival.expect(piece.name, piece.offset, piece.size)
        self._n_left = piece.size
        return piece
