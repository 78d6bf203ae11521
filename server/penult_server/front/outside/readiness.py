"""Whether the server can do its work: a commit reaches the disk, and the compute worker answers."""

import asyncio
import time
from dataclasses import dataclass

from penult_server.front.registry_thread import Registry
from penult_server.front.workers.compute_process import ComputeProcess

COMMIT_SECONDS = 5.0
"""A commit is tried at most so often, however many ask."""
PATIENCE = 2.0
"""Seconds in which the registry must have answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What was found."""

    registry: bool
    compute: bool

    @property
    def is_ready(self) -> bool:
        """Whether calls can be sent here."""
        return self.registry and self.compute

    def __str__(self) -> str:
        said = {"registry": self.registry, "compute worker": self.compute}
        return "".join(f"{name}: {'ok' if good else 'does not answer'}\n" for name, good in said.items())


class ReadinessProbe:
    """Looks; used in one event loop."""

    def __init__(self, registry: Registry, compute: ComputeProcess) -> None:
        self._registry = registry
        self._compute = compute
        self._is_writable = False
        self._tried = float("-inf")
        self._trying = asyncio.Lock()

    async def look(self) -> Readiness:
        """How the server stands."""
        writable, stats = await asyncio.gather(self._writable(), self._compute.stats.latest())
        return Readiness(registry=writable, compute=stats is not None)

    async def _writable(self) -> bool:
        async with self._trying:
            if time.monotonic() - self._tried >= COMMIT_SECONDS:
                try:
                    self._is_writable = await asyncio.wait_for(self._registry.is_writable(), PATIENCE)
                except TimeoutError:
                    self._is_writable = False
                self._tried = time.monotonic()
            return self._is_writable
