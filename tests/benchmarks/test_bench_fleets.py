"""What a fleet adds to the work that it places: an extraction in its own process, and long ranges on a Ray cluster."""

import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median

import pytest
import torch
from fleet_driver import PYTHON_PATH, fleet_of
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

CPU = torch.device("cpu")
ROUNDS = 5


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
    turns = [(seconds_of(bare), seconds_of(through_a_fleet)) for _ in range(ROUNDS if at_full_size else 1)]
    wall, processor = (median(two[place] / one[place] for one, two in turns) for place in (0, 1))
    print(
        f"\nextraction through a fleet, {network[0]}, {network[1]} px: {processor:.3f} of the processor time of a bare "
        f"one ({median(one[1] for one, _ in turns):.1f} s; asked: 1.01), {wall:.3f} of its time"
    )
    assert not at_full_size or processor <= 1.03


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
