"""What is asked when somebody looks: jobs, the store, the compute workers."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from penult_proto.v1.pipes_pb2 import ComputeStats
from penult_server.front.registry_thread import Registry
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.registry.jobs import JobCount
from penult_server.stores.disk.sealed import things
from penult_server.stores.disk.sizes import Sizes
from penult_server.stores.places.opening import bytes_elsewhere
from penult_server.stores.places.store import KINDS

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STORE_SECONDS = 300.0
"""How long the sizes of the store's folders are good for: to add them up reads every directory."""
FOLDERS = ("checkpoints", "datasets", "features", "groupings", "logs", "runs", "tokens", "uploads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found."""

    jobs: tuple[JobCount, ...]
    free_bytes: int
    folders: dict[str, int]
    stats: list[ComputeStats | None]
    """What each compute worker says; None where it does not answer."""


class FactsOfServer:
    """Asks the registry, the disk and the workers."""

    def __init__(self, root: Path, registry: Registry, compute: ComputeWorkers) -> None:
        self._root = root
        self._registry = registry
        self._compute = compute
        self._folders: dict[str, int] = {}
        self._measured = float("-inf")

    async def ask(self) -> Facts:
        """How everything stands."""
        jobs, stats, folders = await asyncio.gather(
            self._registry.run(self._registry.jobs.counts),
            self._compute.stats(),
            self._sizes(),
        )
        free = (await asyncio.to_thread(shutil.disk_usage, self._root)).free
        return Facts(jobs=jobs, free_bytes=free, folders=folders, stats=stats)

    async def _sizes(self) -> dict[str, int]:
        now = asyncio.get_running_loop().time()
        if now - self._measured >= STORE_SECONDS:
            self._measured = now
            self._folders = await asyncio.to_thread(self._measured_folders)
        return self._folders

    def _measured_folders(self) -> dict[str, int]:
        """Bytes by folder, those that lie in a bucket with them."""
        sizes = {name: Sizes().of(self._root / name) for name in FOLDERS}
        for folder in KINDS:
            sizes[folder] += sum(bytes_elsewhere(one) for one in things(self._root, folder))
        return sizes


class Gauges(Collector):
    """The facts in Prometheus's terms; collected by itself, not registered."""

    def __init__(self, facts: Facts, *, by_user: bool) -> None:
        self._facts = facts
        self._by_user = by_user

    def collect(self) -> Iterator[Metric]:
        """Every metric, each once."""
        yield from self._jobs()
        yield _by_kind("penult_store_bytes", "Bytes of files in the store, by folder.", self._facts.folders)
        yield GaugeMetricFamily("penult_store_free_bytes", "Free bytes of the store's disk.", self._facts.free_bytes)
        yield from _of_workers(self._facts.stats)

    def _jobs(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("penult_jobs", "Jobs that have not ended.", labels=("state", "kind"))
        totals = Counter[tuple[str, str]]()
        for one in self._facts.jobs:
            totals[one.state, one.kind] += one.number
        for labels, number in totals.items():
            jobs.add_metric(labels, number)
        yield jobs
        queued = [one.oldest for one in self._facts.jobs if one.state == "queued"]
        waits = max(0.0, time.time() - min(queued)) if queued else 0.0
        yield GaugeMetricFamily("penult_oldest_queued_seconds", "Age of the oldest job that waits.", waits)
        if self._by_user:
            users = GaugeMetricFamily("penult_user_jobs", "The same jobs, by user.", labels=("user", "state"))
            for (user, state), number in _by_user(self._facts.jobs).items():
                users.add_metric((user, state), number)
            yield users


def _by_user(jobs: tuple[JobCount, ...]) -> Counter[tuple[str, str]]:
    totals = Counter[tuple[str, str]]()
    for one in jobs:
        totals[one.user, one.state] += one.number
    return totals


def _by_kind(name: str, said: str, numbers: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, said, labels=("kind",))
    for kind, number in numbers.items():
        family.add_metric((kind,), number)
    return family


def _of_workers(stats: Sequence[ComputeStats | None]) -> Iterator[Metric]:
    """What the compute workers say of themselves; of several each by its number."""
    several = len(stats) > 1
    own = ("worker",) if several else ()
    numbered = [((str(number),) if several else (), one) for number, one in enumerate(stats)]
    up = GaugeMetricFamily("penult_compute_up", "Whether the compute worker answers.", labels=own)
    resident = GaugeMetricFamily("penult_resident_bytes", "Feature sets in the worker's memory.", labels=own)
    budget = GaugeMetricFamily("penult_budget_bytes", "What feature sets may take there.", labels=own)
    evictions = CounterMetricFamily("penult_evictions", "Feature sets that made way for others.", labels=own)
    memory = GaugeMetricFamily(
        "penult_device_memory_bytes", "Memory of the device, or of the machine without one.", labels=("kind", *own)
    )
    seconds = CounterMetricFamily("penult_device_seconds", "Time for which the device was in use.", labels=own)
    batches = HistogramMetricFamily("penult_refits_per_batch", "Refits solved together.", labels=own)
    for labels, one in numbered:
        up.add_metric(labels, float(one is not None))
        if one is None:
            continue
        resident.add_metric(labels, one.resident_bytes)
        budget.add_metric(labels, one.budget_bytes)
        evictions.add_metric(labels, one.evictions)
        memory.add_metric(("used", *labels), one.used_bytes)
        memory.add_metric(("free", *labels), one.free_bytes)
        seconds.add_metric(labels, one.device_seconds)
        batches.add_metric(labels, *_batches(one))
    yield up
    yield from (one for one in (resident, budget, evictions, memory, seconds, batches) if one.samples)


def _batches(stats: ComputeStats) -> tuple[list[tuple[str, float]], float]:
    """The sizes of batches as the buckets of a histogram, and their sum."""
    sizes = dict(stats.batches)
    buckets = [
        (str(float(bound)), float(sum(count for size, count in sizes.items() if size <= bound)))
        for bound in BATCH_BUCKETS
    ]
    buckets.append(("+Inf", float(sum(sizes.values()))))
    return buckets, float(sum(size * count for size, count in sizes.items()))
