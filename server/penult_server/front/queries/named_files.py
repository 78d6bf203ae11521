"""Work on files that clients name: in threads of its own, few of them, and given up when nothing moves.

A file system that does not answer, such as a share whose machine is gone, holds a thread for ever. Only these threads
are ever held by one, and none of them keeps the server from ending.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Generic, ParamSpec, TypeVar

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.caller import CALLER, THE_SERVER
from penult_server.named.roots import DataRoots, reading
from penult_server.settings import Settings

THREADS = 8
"""Most pieces of work at once; one that hangs takes its place until its file system answers."""
PLACE_SECONDS = 10.0
"""How long a caller waits for a place."""
SILENT_SECONDS = 30.0
"""After how long without a byte read the work is given up."""
P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")


class NamedFiles:
    """Does work that touches files which clients name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(THREADS)

    @property
    def is_everywhere(self) -> bool:
        """Whether whoever asks may name any file but the store's."""
        return not self._settings.data_roots and self._settings.is_loopback and CALLER.get().is_owner

    def roots(self) -> DataRoots:
        """What whoever asks may name. Asks the file system, so not for an event loop."""
        return DataRoots(roots=self._settings.data_roots, is_everywhere=self.is_everywhere, store=self._settings.root)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function that reads such files, by `open_named`.

        Raises what it raises, and ServiceError: BUSY when all threads are taken, DEADLINE_EXCEEDED when nothing moves.
        """
        await self._take_place()
        work = _Work(self.roots, lambda: function(*args, **kwargs), self._places.release)
        try:
            return await work.result()
        finally:
            work.is_wanted = False

    async def _take_place(self) -> None:
        # A job that has been accepted waits as long as it takes.
        patience = None if CALLER.get() is THE_SERVER else PLACE_SECONDS
        try:
            await asyncio.wait_for(self._places.acquire(), patience)
        except TimeoutError:
            raise ServiceError(
                ErrorKind.BUSY,
                f"{THREADS} requests that name files of the server's machine are being looked at, which takes longer "
                "than usual; ask again",
            ) from None


class _Work(Generic[T]):
    """One function in a thread."""

    def __init__(self, roots: Callable[[], DataRoots], function: Callable[[], T], free: Callable[[], None]) -> None:
        self.is_wanted = True
        self._beats = 0
        self._loop = asyncio.get_running_loop()
        self._result: asyncio.Future[T] = self._loop.create_future()
        # One that comes when nobody waits any more is nobody's mistake.
        self._result.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._function, self._roots, self._free = function, roots, free
        context = copy_context()
        threading.Thread(target=context.run, args=(self._run,), name="named files", daemon=True).start()

    async def result(self) -> T:
        while True:
            beats = self._beats
            done, _ = await asyncio.wait({self._result}, timeout=SILENT_SECONDS)
            if done:
                return self._result.result()
            if self._beats == beats:
                raise ServiceError(
                    ErrorKind.DEADLINE_EXCEEDED,
                    f"the file system of a file that the request names has not answered for {SILENT_SECONDS:.0f} s; "
                    "look whether it can be read on the server's machine",
                )

    def _beat(self) -> None:
        self._beats += 1
        if not self.is_wanted:
            raise ServiceError(ErrorKind.CANCELLED, "nobody waits for this any more")

    def _run(self) -> None:
        try:
            with reading(self._roots(), self._beat):
                self._end(self._result.set_result, self._function())
        except BaseException as error:  # the seam between the threads: whatever it is, the caller gets it
            self._end(self._result.set_exception, error)

    def _end(self, settle: Callable[[V], None], value: V) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended with the server
            self._loop.call_soon_threadsafe(self._settle, settle, value)

    def _settle(self, settle: Callable[[V], None], value: V) -> None:
        self._free()
        if not self._result.done():
            settle(value)
