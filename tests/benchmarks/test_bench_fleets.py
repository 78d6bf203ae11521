"""What a fleet adds to the work that it places: an extraction in its own process, and long ranges on a Ray cluster."""

import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median

import psutil
import pytest
import torch
from fleet_driver import PYTHON_PATH, fleet_of
from range_entries import CHUNK_BYTES, SMALL
from ray_clusters import cluster_of, needs_ray
from test_range_tasks import SPLITS, order_in

from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.extraction.extract import extract_split, load_checkpoint
from penult_server.jobs.channel import Reports
from penult_server.jobs.extracting.extraction import open_extraction
from penult_server.jobs.extracting.job import extract_job
from penult_server.jobs.fleets.local import LocalFleet
from penult_server.progress import MetricsRecord
from penult_server.stores.checkpoints import CheckpointManifest
from penult_server.stores.features import FeatureWriter
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.reading import StoredFeatures

CPU = torch.device("cpu")
ROUNDS = 10
TINY = ("test_vit", 32, "val", 32, 1)
"""Network, its side, split, rows of a chunk, rounds: to show that it runs."""


class Quiet:
    """A context that nobody listens to."""

    def progress(self, stage: str, done: float, total: float, unit: str) -> None: ...

    def metrics(self, record: MetricsRecord) -> None: ...

    def checkpoint(self, manifest: CheckpointManifest) -> None: ...

    def saved(self, amount: float) -> None: ...

    def check_cancelled(self) -> None: ...


def bare(order: JobOrder) -> list[FeatureManifest]:
    """The same sets without ranges, tasks and a fleet: one pass after another."""
    extraction = open_extraction(order)
    model = load_checkpoint(extraction.root, extraction.manifest.digest, CPU)
    made = []
    for split in extraction.spec.splits:
        header = extraction.header(split, extraction.manifest.n_features)
        with FeatureWriter(extraction.root, header) as writer:
            extract_split(
                model,
                extraction.dataset,
                split,
                writer,
                device=CPU,
                batch_size=extraction.spec.batch_size,
                context=Quiet(),
                attribute=extraction.spec.attribute,
                feature_kind=extraction.kind,
                classes=extraction.classes,
            )
            made.append(writer.finish())
    return made


def through_a_fleet(order: JobOrder) -> list[str]:
    fleet = LocalFleet("cpu")
    try:
        return [one.digest for one in extract_job(order, Reports(lambda _: None), fleet).feature_sets]
    finally:
        fleet.close()


def test_extraction_through_a_fleet_beside_a_bare_one(tmp_path: Path, at_full_size: bool) -> None:
    network = ("tf_efficientnet_lite0", 64) if at_full_size else ("test_vit", 32)
    splits = SPLITS[:1]
    numbers = count()

    def seconds_of(work: Callable[[JobOrder], object]) -> tuple[float, float]:
        order = order_in(tmp_path / str(next(numbers)), 1, network=network, splits=splits, batch_size=32)
        began, used = time.perf_counter(), time.process_time()
        work(order)
        return time.perf_counter() - began, time.process_time() - used

    first = [order_in(tmp_path / name, 1, network=network, splits=splits, batch_size=32) for name in "ab"]
    assert [one.digest for one in bare(first[0])] == through_a_fleet(first[1])
    turns = []
    for round_ in range(ROUNDS if at_full_size else 1):  # who goes second has a warmer machine: by turns
        taken = {work: seconds_of(work) for work in (bare, through_a_fleet)[:: (1, -1)[round_ % 2]]}
        turns.append((taken[bare], taken[through_a_fleet]))
    wall, processor = (median(two[place] / one[place] for one, two in turns) for place in (0, 1))
    print(
        f"\nextraction through a fleet, {network[0]}, {network[1]} px: {processor:.3f} of the processor time of a bare "
        f"one ({median(one[1] for one, _ in turns):.1f} s; asked: 1.01), {wall:.3f} of its time"
    )
    assert not at_full_size or processor <= 1.01


def test_two_range_workers_beside_one(
    tmp_path: Path, at_full_size: bool, monkeypatch: pytest.MonkeyPatch, set_budget: Callable[..., None]
) -> None:
    """Two processes of a thread each and one of two, which have loaded everything: the processor time of each.

    On idle cores two processes take half of theirs by the clock, and one at least half of its own, since not all of a
    pass is split. So the rate of two beside one is at least the quotient, which other work disturbs less.
    """
    name, side, split, rows, rounds = ("tf_efficientnet_lite0", 96, "val", 64, 7) if at_full_size else TINY
    chunk_bytes = rows * (1280 if at_full_size else 64) * 4
    set_budget(**SMALL | {"chunk_bytes": chunk_bytes})
    monkeypatch.setenv(CHUNK_BYTES, str(chunk_bytes))
    monkeypatch.setenv("PYTHONPATH", PYTHON_PATH)
    numbers, digests = count(), set()
    fleets = {n: LocalFleet("cpu", table="range_entries") for n in (1, 2)}

    def seconds_of(n: int) -> tuple[float, float]:
        root = tmp_path / str(next(numbers))
        order = order_in(root, n, network=(name, side), splits=[split], batch_size=32)
        began, used = time.perf_counter(), processor_seconds()
        (made,) = extract_job(order, Reports(lambda _: None), fleets[n]).feature_sets
        taken = time.perf_counter() - began, processor_seconds() - used
        digests.add(str(StoredFeatures(root, made.digest).manifest.files))
        return taken

    try:
        assert [seconds_of(n) for n in (1, 2)]
        turns = []
        for round_ in range(rounds):
            taken = {n: seconds_of(n) for n in (1, 2)[:: (1, -1)[round_ % 2]]}
            turns.append((taken[1], taken[2]))
    finally:
        for one in fleets.values():
            one.close()
    wall, processor = (median(one[place] / two[place] for one, two in turns) for place in (0, 1))
    print(
        f"\ntwo range workers, {name}, {side} px: {processor:.3f} of the rate of one process with both cores by "
        f"processor time ({median(one[1] for one, _ in turns):.1f} s; asked: 0.95), {wall:.3f} by the clock; load "
        f"{os.getloadavg()[0]:.0f}"
    )
    assert len(digests) == 1, "the same bits"
    assert not at_full_size or processor >= 0.95


def processor_seconds() -> float:
    """Of this process and its children."""
    times = [one.cpu_times() for one in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(one.user + one.system for one in times)


@pytest.mark.slow
def test_the_share_of_ray(tmp_path: Path, at_full_size: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that last so long by the clock: what is left of the time is Ray's, and the fleet's."""
    needs_ray()
    monkeypatch.setenv("PYTHONPATH", PYTHON_PATH)
    seconds, n = (6.0, 10) if at_full_size else (0.5, 2)
    with cluster_of(1):
        began = time.perf_counter()
        fleet = fleet_of("ray")
        opened = time.perf_counter() - began
        try:
            began = time.perf_counter()
            dict(fleet.tasks("extract_range", [{"do": "last", "seconds": 0.0}], at_once=1))
            first = time.perf_counter() - began
            began, used = time.perf_counter(), time.process_time()
            orders = [{"do": "last", "seconds": seconds}] * n
            ended = {
                index: outcome.value()["seconds"] for index, outcome in fleet.tasks("extract_range", orders, at_once=1)
            }
            each = (time.perf_counter() - began - sum(ended.values())) / n
            used = (time.process_time() - used) / n
        finally:
            fleet.close()
    share = (opened + first + 64 * each) / (64 * 30)
    print(
        f"\nRay: {opened:.1f} s to open a fleet, {first:.1f} s to the end of a first task, then {1000 * each:.1f} ms "
        f"for each ({1000 * used:.1f} ms of the driver's processor time); {each / 30:.2%} of 30 s, with its start "
        f"{share:.2%} of a job of 64 of them (asked: 2 %); load {os.getloadavg()[0]:.0f}"
    )
    assert len(ended) == n
    assert not at_full_size or share <= 0.02
