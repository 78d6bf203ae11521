"""The arrays of an upload on their way to the compute worker: past the front, or through it as the bytes that came."""

import asyncio
import contextlib
import re
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from penult_proto.errors import ErrorKind
from penult_proto.pieces.sockets import BUFFER_BYTES, lead_of, listening
from penult_proto.pieces.uploads import UploadMessage, upload_call
from penult_proto.services import IDLE_KEY
from penult_proto.v1 import features_pb2 as pb
from penult_proto.v1 import features_pb2_grpc
from penult_server.errors import ServiceError

_NAME = re.compile(r"\.staging-[0-9a-f]{32}")


def own_socket(root: Path, name: str, *, is_near: bool) -> Path:
    """Where a client of this machine listens. Raises ServiceError (INVALID_ARGUMENT) where there is no such socket,
    or the worker is on another machine.

    Only who may write to the store can have made it: no other client can send the worker anywhere by a name.
    """
    path = root / name
    with contextlib.suppress(OSError):
        if is_near and _NAME.fullmatch(name) and stat.S_ISSOCK(path.lstat().st_mode):
            return path
    raise ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"beside must name a socket in the folder of the store, got {name[:80]!r}; leave it out to send "
        "the arrays in the stream",
        field="beside",
    )


async def upload_beside(
    channel: grpc.aio.Channel, header: pb.UploadHeader, path: Path, idle_seconds: float
) -> pb.FeatureSet:
    """Have a worker fetch the arrays of an upload from whoever listens at a path."""
    request = pb.UploadFeaturesRequest(header=header)
    request.header.beside = str(path)
    call: Any = features_pb2_grpc.FeatureServiceStub(channel).UploadFeatures(
        iter([request]), metadata=((IDLE_KEY, f"{idle_seconds:g}"),)
    )
    return await call


async def upload_through(
    channel: grpc.aio.Channel,
    header: pb.UploadHeader,
    pieces: AsyncIterator[UploadMessage],
    path: Path,
    idle_seconds: float,
) -> pb.FeatureSet:
    """Have a worker fetch the arrays of an upload from here, where they come in pieces; `path` is free for a socket.

    Raises what `pieces` raises, if that is why the worker got no more.
    """
    with listening(path) as door:
        stored = asyncio.ensure_future(upload_beside(channel, header, path, idle_seconds))
        sent = asyncio.ensure_future(_send(door, pieces))
        try:
            # A worker that refuses says so in its answer, and takes no more of the pieces.
            await asyncio.wait({stored, sent}, return_when=asyncio.FIRST_COMPLETED)
            return await stored
        finally:
            stored.cancel()
            sent.cancel()
            await asyncio.wait({stored, sent})
            if not sent.cancelled() and (error := sent.exception()) is not None:
                raise error


async def upload_streamed(
    channel: grpc.aio.Channel, header: pb.UploadHeader, pieces: AsyncIterator[UploadMessage]
) -> pb.FeatureSet:
    """Send a worker on another machine the arrays of an upload in the stream of its call.

    Raises what `pieces` raises.
    """
    refused: list[ServiceError] = []
    is_told = asyncio.Event()

    async def messages() -> AsyncIterator[UploadMessage]:
        yield pb.UploadFeaturesRequest(header=header)
        try:
            async for message in _until(is_told, pieces):
                yield message
        except ServiceError as error:
            # The worker is told that the stream ends: for one that fails, gRPC would wait until the deadline.
            refused.append(error)

    call: Any = upload_call(channel)(messages())
    telling = asyncio.ensure_future(_told(call, is_told))
    try:
        return await call
    finally:
        telling.cancel()
        if refused:
            raise refused[0]


async def _told(call: Any, is_told: asyncio.Event) -> None:
    """Set the event once the worker has said anything of a call."""
    try:
        await call.initial_metadata()
    finally:
        is_told.set()


async def _until(is_over: asyncio.Event, messages: AsyncIterator[UploadMessage]) -> AsyncIterator[UploadMessage]:
    """The same messages, up to the event, also while the next one does not come."""
    iterator, over = aiter(messages), asyncio.ensure_future(is_over.wait())
    following: asyncio.Future[UploadMessage | None] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(iterator, None))
            await asyncio.wait({following, over}, return_when=asyncio.FIRST_COMPLETED)
            if over.done() or (message := following.result()) is None:
                return
            yield message
    finally:
        over.cancel()
        if following is not None:
            following.cancel()


async def _send(door: socket.socket, pieces: AsyncIterator[UploadMessage]) -> None:
    """Hand the pieces to the worker that asks for them."""
    loop = asyncio.get_running_loop()
    door.setblocking(False)
    connection, _ = await loop.sock_accept(door)
    with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        async for message in pieces:
            data = message.chunk.data
            await loop.sock_sendall(connection, lead_of(message.chunk, len(data)))
            await loop.sock_sendall(connection, data)
