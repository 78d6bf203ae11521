"""Calls that run, by their callers: those whose token ends are ended with it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from penult_server.errors import RegistryUnavailable
from penult_server.front.caller import Caller
from penult_server.front.registry_thread import Registry
from penult_server.front.users.authenticator import Authenticator

POLL_SECONDS = 0.4
"""How often it is asked whether a token was given or revoked, by another process."""
USED_SECONDS = 60.0
"""How often it is written down when tokens were last used."""
log = logging.getLogger("penult")


@dataclass(slots=True, eq=False)
class OpenCall:
    """One call that runs."""

    caller: Caller
    task: "asyncio.Task[object]"
    is_cut: bool = False
    """Whether it was cancelled because its token has ended."""


class OpenCalls:
    """Which calls run, and the end of those that would not be let in again."""

    def __init__(self, registry: Registry, authenticator: Authenticator) -> None:
        self._registry = registry
        self._authenticator = authenticator
        self._open: set[OpenCall] = set()
        self._version = ""
        self._noted = time.monotonic()

    @contextmanager
    def opened(self, caller: Caller) -> Generator[OpenCall, None, None]:
        """The call of the task that runs is open for as long as the block lasts."""
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("gRPC answers each call in a task")
        call = OpenCall(caller, task)
        self._open.add(call)
        try:
            yield call
        finally:
            self._open.discard(call)

    async def refresh(self) -> None:
        """Know what the registry knows now, and end the calls of tokens that have ended."""
        version = await self._registry.run(self._registry.tokens.version)
        if version != self._version:
            self._authenticator.replace(await self._registry.run(self._registry.tokens.all))
            self._version = version
        for call in list(self._open):
            if not call.is_cut and not self._authenticator.still_knows(call.caller):
                call.is_cut = True
                call.task.cancel()
        if self._authenticator.used and time.monotonic() - self._noted >= USED_SECONDS:
            self._noted = time.monotonic()
            await self.note_used()

    async def note_used(self) -> None:
        """Write down when tokens were last used."""
        used, self._authenticator.used = self._authenticator.used, {}
        if used:
            await self._registry.run(self._registry.tokens.note_used, used)

    async def watch(self) -> None:
        """Refresh until it is cancelled; the server must outlive a full disk, or a registry that is locked for long."""
        try:
            while True:
                await self._try(self.refresh)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await self._try(self.note_used)

    async def _try(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except RegistryUnavailable:
            log.exception("the registry's tokens cannot be read or written")
