"""The attempts of a server are its own for as long as it can say so, where another may serve the same registry."""

import asyncio
import logging
import time
from collections.abc import Callable

from penult_proto.errors import ErrorKind
from penult_server.errors import RegistryUnavailable
from penult_server.front.jobs.queue import JobQueue
from penult_server.front.registry_thread import Registry

RENEWALS = 4
"""Times within a lease that it is renewed."""
log = logging.getLogger("penult.jobs")


async def keep_leases(registry: Registry, queue: JobQueue, seconds: float, lost: Callable[[], None]) -> None:
    """Renew leases of so many `seconds`, and take over those that are over, until cancelled. A file needs none.

    Who cannot renew for as long as a lease ends the workers: their jobs may run elsewhere. `lost` is called when
    another server has taken over.
    """
    renewed = time.monotonic()
    while not registry.is_file:
        asked = time.monotonic()
        try:
            await registry.run(registry.jobs.renew_leases)
            await queue.take_back()
            renewed = asked
        except RegistryUnavailable as error:
            log.warning("leases cannot be renewed: %s", error)
            is_taken = error.kind is ErrorKind.STORE_LOCKED
            if is_taken or time.monotonic() - renewed >= seconds:
                queue.end_workers()
            if is_taken:
                lost()
                return
        await asyncio.sleep(seconds / RENEWALS)
