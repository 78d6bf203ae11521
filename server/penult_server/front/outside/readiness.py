"""Whether the server can do its work: a commit reaches the disk, and a compute worker answers."""

import asyncio
import time
from dataclasses import dataclass

from penult_server.front.registry_thread import Registry
from penult_server.front.workers.compute_workers import ComputeWorkers

COMMIT_SECONDS = 5.0
"""A commit is tried at most so often, however many ask."""
PATIENCE = 2.0
"""Seconds in which the registry must have answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What was found."""

    registry: bool
    compute: tuple[bool, ...]
    """Whether each compute worker answers."""

    @property
    def is_ready(self) -> bool:
        """Whether calls can be sent here."""
        return self.registry and any(self.compute)

    def __str__(self) -> str:
        said = {"registry": self.registry}
        for number, answers in enumerate(self.compute):
            said["compute worker" if len(self.compute) == 1 else f"compute worker {number}"] = answers
        return "".join(f"{name}: {'ok' if good else 'does not answer'}\n" for name, good in said.items())


class ReadinessProbe:
    """Looks; used in one event loop."""

    def __init__(self, registry: Registry, compute: ComputeWorkers) -> None:
        self._registry = registry
        self._compute = compute
        self._is_writable = False
        self._tried = float("-inf")
        self._trying = asyncio.Lock()

    async def look(self) -> Readiness:
        """How the server stands."""
        writable, stats = await asyncio.gather(self._writable(), self._compute.stats())
        return Readiness(registry=writable, compute=tuple(one is not None for one in stats))

    async def _writable(self) -> bool:
        async with self._trying:
            if time.monotonic() - self._tried >= COMMIT_SECONDS:
                try:
                    self._is_writable = await asyncio.wait_for(self._registry.is_writable(), PATIENCE)
                except TimeoutError:
                    self._is_writable = False
                self._tried = time.monotonic()
            return self._is_writable
