"""Extraction by ranges: whoever does them, however often and in whatever order, the set has the same bits."""

import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from range_entries import CHUNK_BYTES, DEATH, SMALL

from penult_kernels import budget
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.backbones.model import load_backbone
from penult_server.backbones.saving import Origin, save_checkpoint
from penult_server.compute.backend import Backend
from penult_server.compute.spectra.streaming import stream_moments
from penult_server.datasets.footwear.dataset import footwear_info
from penult_server.errors import ServiceError
from penult_server.jobs.channel import Reports
from penult_server.jobs.extracting.job import extract_job
from penult_server.jobs.extracting.pace import Pace
from penult_server.jobs.fleets.fleet import Fleet, Outcome, WorkerDiedError
from penult_server.jobs.fleets.local import LocalFleet
from penult_server.stores.features import FeatureWriter
from penult_server.stores.reading import StoredFeatures
from penult_server.stores.writing.header import FeatureHeader
from penult_server.stores.writing.kinds import as_recorded, kind_here, notes_of

SPLITS = ["val", "test"]
NUMPY = Backend(np, "numpy", "cpu")


@pytest.fixture
def its_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]))


def order_in(root: Path, workers: int, *, network=("test_vit", 32), **changes) -> JobOrder:
    info, (name, side) = footwear_info(), network
    classifier = load_backbone(name, 2, pretrained=False, seed=5, image_size=side)
    origin = Origin(
        run_id="run",
        dataset="footwear",
        dataset_digest=info.digest,
        attribute="",
        classes=info.classes,
        train_shares=(1, 0, 0, 0),
    )
    probe = classifier.preprocessing.to_batch(classifier.preprocessing.probe(), torch.device("cpu"))
    checkpoint = save_checkpoint(root, classifier, origin, epoch=0, checked_on=probe).digest
    asked = {"splits": SPLITS, "batch_size": 20, "dtype": "float32", "attribute": info.attributes[0].name} | changes
    spec = pb.ExtractSpec(checkpoint=checkpoint, dataset="footwear", **asked)
    return JobOrder(
        root=str(root),
        device="cpu",
        dataset_digest=info.digest,
        extract_workers=workers,
        spec=pb.JobSpec(extract=spec),
    )


def extracted(
    root: Path, workers: int, fleet: Fleet | None = None, **changes
) -> tuple[list[StoredFeatures], list[tuple[str, float, float]]]:
    said: list[tuple[str, float, float]] = []

    def hear(message):
        if message.HasField("progress"):
            said.append((message.progress.stage, message.progress.done, message.progress.total))

    fleet = fleet or LocalFleet("cpu", table="range_entries")
    try:
        result = extract_job(order_in(root, workers, **changes), Reports(hear), fleet)
    finally:
        fleet.close()
    assert [path.name for path in (root / "features").iterdir() if path.name.startswith(".")] == []
    return [StoredFeatures(root, one.digest) for one in result.feature_sets], said


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The sets as one process makes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "DEFAULT", replace(budget.DEFAULT, **SMALL))
        return extracted(tmp_path_factory.mktemp("alone"), 1)


@pytest.fixture(autouse=True)
def small_chunks(set_budget):
    set_budget(**SMALL)


def assert_equal_sets(found: list[StoredFeatures], expected: list[StoredFeatures]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.manifest.files == other.manifest.files
        assert one.manifest.group_counts == other.manifest.group_counts
        assert one.manifest.has_moments


def test_a_killed_process_costs_its_range_and_no_bit(tmp_path, its_path, alone, monkeypatch):
    (tmp_path / "death").touch()
    monkeypatch.setenv(DEATH, str(tmp_path / "death"))
    found, said = extracted(tmp_path / "several", 2)
    assert not (tmp_path / "death").exists()
    assert_equal_sets(found, alone[0])
    assert found[0].n_blocks("features") > 3
    # Other numbers of threads, the same bits.
    assert [one.manifest.moments_by[0]["core"] for one in found] == [kind_here().core] * len(found)
    n = sum(one.manifest.n_examples for one in found)
    assert said[-1][1:] == (n, n)


@pytest.mark.slow
def test_a_convolutional_network_gives_the_same_bits_in_two_processes(tmp_path, its_path, set_budget, monkeypatch):
    """Whose batches are whole: of fewer than 16 images oneDNN gives other bits on one thread than on two."""
    options = {"network": ("tf_efficientnet_lite0", 96), "splits": ["val"], "batch_size": 16}
    chunk_bytes = 128 * 1280 * 4
    set_budget(**SMALL | {"chunk_bytes": chunk_bytes})
    monkeypatch.setenv(CHUNK_BYTES, str(chunk_bytes))
    ((one,), _), ((other,), _) = (extracted(tmp_path / str(n), n, **options) for n in (1, 2))
    assert one.n_blocks("features") > 2
    assert one.manifest.files == other.manifest.files


def test_one_process_tells_of_every_batch(alone):
    found, said = alone
    n = sum(one.manifest.n_examples for one in found)
    assert said[-1] == (SPLITS[-1], n, n)
    assert said == sorted(said, key=lambda one: one[1])


def test_moments_streamed_and_uploaded_are_those_of_the_extraction(tmp_path, alone):
    for stored in alone[0]:
        arrays = {name: stored.read(name) for name in ("features", "y", "a", "row_id")}
        g = arrays["y"] * stored.manifest.labels.n_attributes + arrays["a"]
        streamed, kept = stream_moments(stored, g, 4, NUMPY), stored.moments()
        manifest = stored.manifest
        header = FeatureHeader(
            n_examples=manifest.n_examples,
            n_features=manifest.n_features,
            dtype=manifest.dtype,
            labels=manifest.labels,
        )
        with FeatureWriter(tmp_path / "uploaded", header) as writer:
            for first in range(0, manifest.n_examples, 45):
                writer.append(**{name: values[first : first + 45] for name, values in arrays.items()})
            uploaded = StoredFeatures(tmp_path / "uploaded", writer.finish().digest).moments()
        for name in ("count", "mean", "m2"):
            np.testing.assert_array_equal(getattr(streamed, name), getattr(kept, name))
            np.testing.assert_array_equal(getattr(uploaded, name), getattr(kept, name))


def test_a_set_says_with_what_its_moments_were_multiplied(alone):
    here, other = kind_here(), replace(kind_here(), core="another")
    for one in alone[0]:
        (said,) = one.manifest.moments_by
        assert dict(said) == {"first": 0, "stop": one.n_blocks("features")} | asdict(here)
    assert not notes_of([here, replace(here, threads=7)])
    (note,) = notes_of([here, other, here])
    assert "2 kinds of machines" in note.text
    recorded = as_recorded([(2, 3, other), (0, 1, here), (1, 2, here)])
    assert [(one["first"], one["stop"], one["core"]) for one in recorded] == [(0, 2, here.core), (2, 3, "another")]


def test_flat_features_are_as_wide_as_the_model_says(tmp_path):
    (stored,), _ = extracted(tmp_path, 1, feature_kind="flat", splits=["val"])
    assert stored.manifest.n_features > 64
    assert stored.manifest.feature_kind == "flat"


def test_a_process_that_always_dies_ends_the_job_and_leaves_nothing(tmp_path):

    class Dead(LocalFleet):
        def tasks(self, entry, orders, *, at_once, told=None):
            for index, _ in enumerate(orders):
                yield index, Outcome(died="exit status -9")

    with pytest.raises(WorkerDiedError, match="-9"):
        extract_job(order_in(tmp_path, 2), Reports(lambda _: None), Dead("cpu"))
    assert list((tmp_path / "features").iterdir()) == []


def test_a_refusal_of_a_task_is_the_jobs(tmp_path):
    with pytest.raises(ServiceError, match="batch_size must be at least 1"):
        extracted(tmp_path, 1, batch_size=0)
    assert list((tmp_path / "features").iterdir()) == []


def test_a_task_has_as_many_ranges_as_take_half_a_minute():
    pace = Pace(2)
    assert pace.ranges_of_a_task(64) == 1
    pace.took(1, 4.0)
    assert pace.ranges_of_a_task(64) == 7
    assert pace.ranges_of_a_task(64, chunks_of_a_range=400) == 2
    assert pace.ranges_of_a_task(8) == 2
    assert pace.ranges_of_a_task(1) == 1
    pace.took(1, 400.0)
    assert pace.ranges_of_a_task(64) == 1
    assert Pace(1, is_here=True).ranges_of_a_task(64) == 64
    # One process of a cluster: a death costs its task, not the split.
    alone = Pace(1)
    alone.took(1, 4.0)
    assert alone.ranges_of_a_task(64) == 7
