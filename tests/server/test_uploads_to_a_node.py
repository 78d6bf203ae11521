"""A worker that cannot read the front's sockets gets the arrays of an upload in the stream of its call."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

import penult
import penult.wire.transfer
from penult_proto.errors import ErrorKind
from penult_proto.v1 import cards_pb2
from penult_server.errors import ServiceError
from penult_server.front.uploads import own_socket, upload_streamed, upload_through
from penult_server.front.workers.compute_process import ComputeProcess
from penult_server.settings import Settings


async def nothing(is_healthy: bool) -> None:
    return


def messages_of(features: np.ndarray) -> list:
    labels = {"y": np.repeat([0, 1], 150), "a": np.tile([0, 1], 150)}
    upload = penult.wire.uploads.prepare(features=features, **labels)
    return list(penult.wire.transfer.upload_messages(upload, cards_pb2.Card(name="sent"), 1000))


async def one_by_one(messages: list, seen: list) -> AsyncIterator:
    for message in messages:
        seen.append(message)
        yield message
        await asyncio.sleep(0)


def test_an_upload_in_the_stream_is_that_through_a_socket_and_is_refused_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((300, 300)).astype(np.float32)
    header, *pieces = messages_of(features)
    damaged = features.copy()
    damaged[3, 3] = np.nan
    _, *not_finite = messages_of(damaged)
    assert len(pieces) > 300

    async def run() -> None:
        compute = ComputeProcess(Settings(root=tmp_path, device="cpu"), nothing)
        compute.start()
        try:

            async def streamed(messages: list, seen: list):
                stream = one_by_one(messages, seen)
                return await compute.pass_on(lambda channel: upload_streamed(channel, header.header, stream))

            socket = compute.new_socket()
            assert socket is not None
            through = one_by_one(pieces, [])
            first = await compute.pass_on(
                lambda channel: upload_through(channel, header.header, through, socket, idle_seconds=60)
            )
            again = await streamed(pieces, [])
            assert again.digest == first.digest
            for wrong, kind in ((pieces[:-1], "incomplete_upload"), (not_finite, "not_finite")):
                with pytest.raises(ServiceError) as raised:
                    await streamed(wrong, [])
                assert raised.value.kind == kind
            assert [path.name for path in (tmp_path / "features").iterdir()] == [first.digest]
        finally:
            await compute.stop()

    asyncio.run(run())


def test_a_client_s_socket_is_not_for_a_worker_elsewhere(tmp_path):
    with pytest.raises(ServiceError, match="leave it out to send") as raised:
        own_socket(tmp_path, ".staging-" + "0" * 32, is_near=False)
    assert raised.value.kind == ErrorKind.INVALID_ARGUMENT
    assert raised.value.metadata == {"field": "beside"}
