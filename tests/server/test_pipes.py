"""Messages between processes arrive whole, or not at all."""

import asyncio
import io

import pytest

from penult_proto.v1.jobs_pb2 import Progress
from penult_proto.v1.pipes_pb2 import FromWorker
from penult_server import pipes

SENT = [FromWorker(progress=Progress(stage="epoch 1", done=1, total=float("nan"))), FromWorker(), FromWorker()]


def received(content: bytes, one_by_one: bool) -> list[FromWorker]:
    """Everything that comes over a pipe before it closes, in this thread or in an event loop."""

    async def in_a_loop() -> list[FromWorker]:
        pipe = asyncio.StreamReader()
        pipe.feed_data(content)
        pipe.feed_eof()
        found = []
        while (message := await pipes.receive_from(pipe, FromWorker)) is not None:
            found.append(message)
        return found

    if not one_by_one:
        return asyncio.run(in_a_loop())
    pipe = io.BytesIO(content)
    return list(iter(lambda: pipes.receive(pipe, FromWorker), None))


def written(messages: list[FromWorker]) -> bytes:
    pipe = io.BytesIO()
    for message in messages:
        pipes.send(pipe, message)
    return pipe.getvalue()


@pytest.mark.parametrize("one_by_one", [True, False])
def test_messages_arrive_whole_wherever_the_pipe_is_cut(one_by_one):
    content = written(SENT)
    whole = received(content, one_by_one)
    assert [one.SerializeToString() for one in whole] == [one.SerializeToString() for one in SENT]
    # The empty ones are four bytes each.
    for length in range(len(content)):
        assert len(received(content[:length], one_by_one)) == max(0, (length - (len(content) - 12)) // 4)


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize("garbage", [b"printed by a library\n", b"\0\0\0\x02\xff\xff"])
def test_what_is_no_message_is_refused(garbage, one_by_one):
    with pytest.raises(ValueError, match=r"a message between processes has at most|is no FromWorker"):
        received(garbage, one_by_one)


def test_a_message_that_is_too_long_is_refused_by_its_sender(monkeypatch):
    monkeypatch.setattr(pipes, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="has at most 10 bytes; got"):
        written(SENT)
