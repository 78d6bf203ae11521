"""Messages between the front and its worker processes: protobuf over their pipes, each behind its length.

A worker reads `ToWorker` from its input and writes `FromWorker` to its output. A pipe that closes, also in the middle
of a message, is the end of the process that wrote to it.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from typing import IO, TypeVar

from google.protobuf.message import DecodeError, Message

M = TypeVar("M", bound=Message)

MOST_BYTES = 64 * 2**20
"""Bytes of one message, at most: a run's history can be long."""
_LENGTH = struct.Struct(">I")
_NUMBER = struct.Struct(">i")
_WITH_MODEL, _WITHOUT_MODEL = b"m", b"-"


def own_stdout() -> IO[bytes]:
    """A handle on this process's output for messages alone; what libraries print goes where errors go."""
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return messages


def framed(message: Message) -> bytes:
    """A message as it goes over a pipe. Raises ValueError for one of more than `MOST_BYTES`."""
    content = message.SerializeToString()
    return _LENGTH.pack(_checked(len(content))) + content


def send(pipe: IO[bytes], message: Message) -> None:
    """Write one message, whole."""
    pipe.write(framed(message))
    pipe.flush()


def receive(pipe: IO[bytes], kind: type[M]) -> M | None:
    """The next message; None when the pipe has closed. Raises ValueError for what is no message."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    length = _checked(_LENGTH.unpack(head)[0])
    content = pipe.read(length)
    return _parsed(content, kind) if len(content) == length else None


async def receive_from(pipe: asyncio.StreamReader, kind: type[M]) -> M | None:
    """`receive` in an event loop."""
    try:
        (length,) = _LENGTH.unpack(await pipe.readexactly(_LENGTH.size))
        return _parsed(await pipe.readexactly(_checked(length)), kind)
    except asyncio.IncompleteReadError:
        return None


def ask_for_fork(forker: socket.socket, ends: Sequence[socket.socket], *, needs_model: bool) -> None:
    """Ask for a worker with these as its input, its output, and as what tells its id and at last how it ended."""
    socket.send_fds(forker, [_WITH_MODEL if needs_model else _WITHOUT_MODEL], [end.fileno() for end in ends])


def asked_for_fork(front: socket.socket) -> tuple[list[socket.socket], bool] | None:
    """What the front asks for by `ask_for_fork`; None when it has gone."""
    said, descriptors, *_ = socket.recv_fds(front, 1, 3)
    return ([socket.socket(fileno=one) for one in descriptors], said == _WITH_MODEL) if said else None


def send_number(pipe: socket.socket, number: int) -> None:
    """Write a number, which another process reads by `number_from`."""
    pipe.sendall(_NUMBER.pack(number))


async def number_from(pipe: asyncio.StreamReader) -> int | None:
    """The next number; None when the pipe has closed."""
    try:
        return int(_NUMBER.unpack(await pipe.readexactly(_NUMBER.size))[0])
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def _checked(length: int) -> int:
    if length > MOST_BYTES:
        raise ValueError(f"a message between processes has at most {MOST_BYTES} bytes; got {length}")
    return length


def _parsed(content: bytes, kind: type[M]) -> M:
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise ValueError(f"what came over a pipe is no {kind.__name__}: {error}") from error
