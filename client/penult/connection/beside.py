"""Uploads to a server of the same machine and user: the arrays go straight to its worker, through a socket."""

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from penult_proto.pieces.sockets import BUFFER_BYTES, listening, send_piece


def uploaded_beside(root: Path, messages: Iterator[Any], begin: Callable[[Iterator[Any]], Any]) -> tuple[Any, bool]:
    """The call that `begin` starts with the first message of an upload, and whether the worker came for the others.

    Returns when all is sent, or the call has ended; whatever else ends the sending cancels the call.
    Raises OSError, with no message taken, where the store's file system has no sockets.
    """
    path = root / f".staging-{secrets.token_hex(16)}"
    with listening(path) as door:
        first = next(messages)
        first.header.beside = path.name
        call = begin(iter((first,)))
        try:
            return call, _is_fetched(door, messages, call)
        except BaseException:
            call.cancel()
            raise


def _is_fetched(door: socket.socket, messages: Iterator[Any], call: Any) -> bool:
    _shut_at_the_end(call, door)
    try:
        connection, _ = door.accept()
    except OSError:
        return False
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        _shut_at_the_end(call, connection)
        for message in messages:
            try:
                send_piece(connection, message.chunk)
            except OSError:  # the worker takes no more: why is in its answer
                break
    return True


def _shut_at_the_end(call: Any, one: socket.socket) -> None:
    """Let nobody wait at a socket once a call has ended."""

    def shut(_: object) -> None:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)

    call.add_done_callback(shut)
