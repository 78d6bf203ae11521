"""Pieces of an upload through a Unix socket beside its call: between processes of one machine they need no gRPC.

Whoever has the pieces listens; whoever takes them connects, and says nothing. A piece is its `LEAD`, its name and its
bytes; the end of the stream is that of the upload, or of its sender.
"""

import os
import socket
import struct
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from penult_proto.arrays import ArrayError
from penult_proto.errors import ErrorKind
from penult_proto.limits import MESSAGE_BYTES
from penult_proto.pieces.framing import Chunk

LEAD = struct.Struct("<QII")
"""Offset of a piece in its array, its bytes, and those of the name that follows."""
MOST_SOCKET_BYTES = 107
"""Length of a socket's path, at most."""
BUFFER_BYTES = 2**20
"""Bytes that wait in a socket, where the system allows so many."""


@contextmanager
def listening(path: Path) -> Generator[socket.socket]:
    """A socket that takes one caller at a path of any length, which is free again afterwards.

    Raises OSError where the file system has no sockets.
    """
    with closing(socket.socket(socket.AF_UNIX)) as door:
        with _short(path) as address:
            door.bind(address)
        try:
            door.listen(1)
            yield door
        finally:
            path.unlink(missing_ok=True)


def connected(path: Path) -> socket.socket:
    """A socket to who listens. Raises OSError where nobody does."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        with _short(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def lead_of(chunk: Chunk, size: int) -> bytes:
    """What goes before the `size` bytes of a piece."""
    name = chunk.name.encode()
    return LEAD.pack(chunk.offset, size, len(name)) + name


def send_piece(connection: socket.socket, chunk: Chunk) -> None:
    """Send a piece, without a copy of it. Raises OSError when nobody takes it any more."""
    data = memoryview(chunk.data)
    lead = lead_of(chunk, len(data))
    n_sent = connection.sendmsg([lead, data])
    if n_sent < len(lead):
        connection.sendall(lead[n_sent:])
    connection.sendall(data[max(0, n_sent - len(lead)) :])


class ArrivingPiece:
    """A piece whose bytes are still to be read, once and in order."""

    def __init__(self, name: str, offset: int, size: int, connection: socket.socket) -> None:
        self.name = name
        self.offset = offset
        self.size = size
        self._connection = connection

    @property
    def data(self) -> bytearray:
        """All of its bytes."""
        content = bytearray(self.size)
        self.read_into(memoryview(content))
        return content

    def read_into(self, out: memoryview) -> None:
        """Read the next bytes into `out`. Raises ArrayError (INCOMPLETE_UPLOAD) where the stream ends before."""
        if not _fill(self._connection, out):
            raise _cut()


def arriving(connection: socket.socket) -> Iterator[ArrivingPiece]:
    """The pieces that come; each must be read before the next.

    Raises ArrayError (INCOMPLETE_UPLOAD) for bytes that are no piece.
    """
    lead = bytearray(LEAD.size)
    while _fill(connection, memoryview(lead)):
        offset, size, n_name = LEAD.unpack(lead)
        name = bytearray(n_name if max(size, n_name) <= MESSAGE_BYTES else 0)
        if len(name) < n_name or not _fill(connection, memoryview(name)):
            raise _cut()
        yield ArrivingPiece(name.decode(errors="replace"), offset, size, connection)


def _fill(connection: socket.socket, out: memoryview) -> bool:
    """Whether the bytes for `out` came before the end of the stream."""
    n_come = 0
    while n_come < len(out):
        try:
            n = connection.recv_into(out[n_come:], 0, socket.MSG_WAITALL)
        except ConnectionResetError:
            n = 0
        if not n:
            return False
        n_come += n
    return True


def _cut() -> ArrayError:
    return ArrayError(ErrorKind.INCOMPLETE_UPLOAD, "the stream ended within a piece of an array", "")


@contextmanager
def _short(path: Path) -> Generator[str]:
    """A path of the same place that a socket takes."""
    if len(os.fsencode(path)) <= MOST_SOCKET_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
