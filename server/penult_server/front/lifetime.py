"""How long an embedded server lives: while a client is attached, and until the jobs that somebody wants have ended."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

FIRST_CLIENT_SECONDS = 60.0
"""How long an embedded server waits for its first client."""
LAST_CLIENT_SECONDS = 1.0
"""How long an embedded server waits for another client when nobody needs it any more."""


class Lifetime:
    """Counts the clients that are attached, and says when nobody needs the server any more."""

    def __init__(self) -> None:
        self.is_stopping = False
        """From now on no client can attach."""
        self._n_attached = 0
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Somebody came or went, or a job has ended."""
        self._changed.set()

    @contextmanager
    def attached(self) -> Generator[None]:
        """A client is there for as long as the block lasts. Raises ServiceError (SHUTTING_DOWN)."""
        if self.is_stopping:
            raise ServiceError(ErrorKind.SHUTTING_DOWN, "the server is stopping; start another one")
        self._n_attached += 1
        self.changed()
        try:
            yield
        finally:
            self._n_attached -= 1
            self.changed()

    async def until_unneeded(self, has_work: Callable[[], Awaitable[bool]]) -> None:
        """Return when no client is attached and no work is left to stay for; from then on the server is stopping."""
        patience = FIRST_CLIENT_SECONDS
        while True:
            self._changed.clear()
            if self._n_attached or await has_work():
                patience = LAST_CLIENT_SECONDS
                await self._changed.wait()
                continue
            try:
                await asyncio.wait_for(self._changed.wait(), patience)
            except TimeoutError:
                # Clients are looked at last: nothing may come between that and the end.
                if not await has_work() and not self._n_attached:
                    self.is_stopping = True
                    return
