"""How much one user may have: jobs that wait, bytes that are stored. The owner of the root is held to neither."""

import asyncio
import time
from collections import Counter

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.caller import CALLER
from penult_server.front.registry_thread import Registry
from penult_server.registry.jobs import UserLimit
from penult_server.registry.usage import add_up
from penult_server.settings import Settings

MEASURED_SECONDS = 10.0
"""How long the bytes that were added up on the disk are taken for true; what was let in since is added."""


class Quotas:
    """Refuses what would be too much; checked before anything is received or made."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._measuring = asyncio.Lock()
        self._measured: Counter[str] = Counter()
        self._measured_at = float("-inf")

    def of_queue(self) -> UserLimit | None:
        """How many jobs of the caller may wait; None for any number."""
        caller = CALLER.get()
        return None if caller.is_owner else UserLimit(caller.user, self._settings.max_user_jobs)

    async def check_bytes(self, coming: int = 0) -> None:
        """Raise ServiceError (QUOTA_EXCEEDED) where the caller's things and `coming` bytes take too much."""
        caller, most = CALLER.get(), self._settings.max_user_bytes
        if most is None or caller.is_owner:
            return
        async with self._measuring:
            if time.monotonic() - self._measured_at > MEASURED_SECONDS:
                facts = await self._registry.run(self._registry.usage_facts)
                usage = await asyncio.to_thread(add_up, self._settings.root, facts)
                self._measured = Counter({one.user: one.bytes for one in usage.users})
                self._measured_at = time.monotonic()
            used = self._measured[caller.user]
            if used + coming > most or used >= most:
                raise ServiceError(
                    ErrorKind.QUOTA_EXCEEDED,
                    f"what {caller.user} made takes {used:,} bytes, {coming:,} are to come, and {most:,} is the most; "
                    "delete some (penult usage and penult delete), then ask again",
                    used=used,
                    limit=most,
                    user=caller.user,
                )
            self._measured[caller.user] += coming
