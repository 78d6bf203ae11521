"""A worker that another process of ours has forked; that one says how it ended."""

import asyncio
import contextlib
import os
import signal
import socket

from penult_server import pipes


class ForkedWorker:
    """A `Worker`, though no child of this process."""

    def __init__(
        self,
        pid: int,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        news: asyncio.StreamReader,
        opened: contextlib.ExitStack,
    ) -> None:
        """`opened` closes all three pipes."""
        self.pid = pid
        self.returncode: int | None = None
        self.stdin = stdin
        self.stdout = stdout
        self._opened = opened
        self._end = asyncio.create_task(self._until_its_end(news))

    @property
    def is_read(self) -> bool:
        """Whether all that it wrote has come, which may be after its end."""
        return self.returncode is not None and (self.stdout.at_eof() or self.stdout.exception() is not None)

    def close(self) -> None:
        """Close the pipes to it: nothing is read of it any more."""
        self._opened.close()

    async def wait(self) -> int:
        """Its exit status, or minus the signal that ended it, once it has ended."""
        return await asyncio.shield(self._end)

    def kill(self) -> None:
        """End it at once. Raises ProcessLookupError when it has ended already."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    async def _until_its_end(self, news: asyncio.StreamReader) -> int:
        self.returncode = await pipes.number_from(news)
        if self.returncode is None:  # the forker died; nobody would tell of this one's end
            with contextlib.suppress(ProcessLookupError):
                self.kill()
            self.returncode = -signal.SIGKILL
        self.stdin.close()
        return self.returncode


async def fork_worker(requests: socket.socket, *, needs_model: bool) -> ForkedWorker:
    """Have the forker make a worker; `requests` leads to it. Raises ChildProcessError when it has died."""
    (stdin, its_input), (stdout, its_output), (news, its_news) = (socket.socketpair() for _ in range(3))
    with its_input, its_output, its_news, contextlib.suppress(BrokenPipeError):  # then the news ends, too
        pipes.ask_for_fork(requests, (its_input, its_output, its_news), needs_model=needs_model)
    with contextlib.ExitStack() as opened:
        _, writer = await asyncio.open_unix_connection(sock=stdin)
        opened.callback(writer.close)  # a worker that is forked nevertheless ends
        output, said = await _reading(stdout, opened), await _reading(news, opened)
        pid = await pipes.number_from(said)
        if pid is None:
            raise ChildProcessError("the process that forks job workers has died, or could not fork")
        return ForkedWorker(pid, writer, output, said, opened.pop_all())


async def _reading(pipe: socket.socket, opened: contextlib.ExitStack) -> asyncio.StreamReader:
    """What comes from a socket, which is closed at its end, or by `opened`."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    opened.callback(transport.close)
    return reader
