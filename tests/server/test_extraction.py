"""Extraction: features of every row in order, as the model gives them one by one; identity; failures."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier, check_head
from penult_server.backbones.images.preprocessing import Batch
from penult_server.backbones.inputs import one_ahead
from penult_server.backbones.model import load_backbone
from penult_server.backbones.saving import Origin, save_checkpoint
from penult_server.datasets.model import Attribute, DatasetInfo, Example, SplitLabels
from penult_server.errors import ServiceError
from penult_server.extraction.extract import extract_split, load_checkpoint
from penult_server.extraction.identity import extraction_identity
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.manifest import LabelNames
from penult_server.stores.reading import StoredFeatures

CPU = torch.device("cpu")
SIDE = 32


@dataclass
class MemoryDataset:
    """Random images with two attributes; the second split is empty. `broken` names a row that cannot be opened."""

    n: int = 11
    broken: int = -1

    @property
    def info(self) -> DatasetInfo:
        rng = np.random.default_rng(2)
        y, a = rng.integers(0, 2, self.n), rng.integers(0, 2, (self.n, 2))
        row_id = np.arange(1000, 1000 + self.n, dtype=np.uint64)
        masks = rng.random((self.n, 3)) < 0.5
        empty = SplitLabels(row_id=row_id[:0], y=y[:0], a=a[:0], masks=masks[:0])
        return DatasetInfo(
            name="random",
            digest="a" * 64,
            modality="image",
            classes=("x", "y"),
            attributes=tuple(Attribute(name=name, values=("p", "q")) for name in ("first", "second")),
            splits={"test": SplitLabels(row_id=row_id, y=y, a=a, masks=masks), "empty": empty},
            description="",
            masks=("any", "old", "rare"),
        )

    def examples(self, split: str) -> Sequence[Example]:
        return Images(self.n if split == "test" else 0, self.broken)


@dataclass
class Images(Sequence[Example]):
    n: int
    broken: int

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, row: int) -> Example:
        if row >= self.n:
            raise IndexError(row)
        if row == self.broken:
            raise ServiceError(ErrorKind.CORRUPT_IMAGE, f"row {row} is damaged")
        return np.random.default_rng(row).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@dataclass
class Recorder:
    """A context and a sink that remember, and fail when told to."""

    cancel_at: int = -1
    fail_at: int = -1
    asked: int = 0
    rows: list[dict[str, np.ndarray]] = field(default_factory=list)
    done: list[tuple[float, float]] = field(default_factory=list)

    def append(self, **rows: np.ndarray) -> None:
        if len(self.rows) == self.fail_at:
            raise ServiceError(ErrorKind.DISK_FULL, "the disk is full")
        self.rows.append(rows)

    def all(self, name: str) -> np.ndarray:
        return np.concatenate([rows[name] for rows in self.rows])

    def progress(self, stage: str, done: float, total: float, unit: str) -> None:
        self.done.append((done, total))

    def check_cancelled(self) -> None:
        self.asked += 1
        if self.asked == self.cancel_at:
            raise ServiceError(ErrorKind.CANCELLED, "the job was cancelled")

    def metrics(self, *_: object) -> None: ...

    def checkpoint(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_backbone("test_vit", 2, pretrained=False, seed=0, image_size=SIDE)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 64])
def test_rows_in_order_whatever_the_batch(classifier: Classifier, batch_size: int) -> None:
    dataset, seen = MemoryDataset(), Recorder()
    classifier.module.train()
    rates = extract_split(classifier, dataset, "test", seen, device=CPU, batch_size=batch_size, context=seen)
    labels = dataset.info.split("test")
    assert_array_equal(seen.all("row_id"), labels.row_id)
    assert_array_equal(seen.all("y"), labels.y)
    assert_array_equal(seen.all("a"), labels.a[:, 0])
    # One by one, by hand, through the head as plain matrices.
    items = [classifier.preprocessing.prepare(one) for one in dataset.examples("test")]
    with torch.inference_mode():
        expected = [classifier.logits(classifier.preprocessing.to_batch([one], CPU)) for one in items]
    assert_allclose(seen.all("logits"), torch.cat(expected).numpy(), rtol=1e-4, atol=1e-5)
    weight, bias = classifier.head.weight.detach().numpy(), classifier.head.bias.detach().numpy()
    assert_allclose(seen.all("features") @ weight.T + bias, seen.all("logits"), rtol=1e-4, atol=1e-5)
    assert seen.all("features").dtype == np.float32
    assert 0 < rates.rate <= rates.bare_rate
    assert seen.done[-1] == (11, 11)


def test_progress_of_a_larger_job_and_another_attribute(classifier: Classifier) -> None:
    dataset, seen = MemoryDataset(), Recorder()
    extract_split(
        classifier,
        dataset,
        "test",
        seen,
        device=CPU,
        batch_size=8,
        context=seen,
        attribute="second",
        done=100,
        total=200,
    )
    assert seen.done == [(108, 200), (111, 200)]
    assert_array_equal(seen.all("a"), dataset.info.split("test").a[:, 1])


def test_empty_split(classifier: Classifier) -> None:
    seen = Recorder()
    rates = extract_split(classifier, MemoryDataset(), "empty", seen, device=CPU, batch_size=4, context=seen)
    assert seen.rows == []
    assert np.isnan(rates.rate)


def test_into_a_real_feature_set(classifier: Classifier, tmp_path: Path) -> None:
    dataset, seen = MemoryDataset(), Recorder()
    labels = LabelNames(classes=("x", "y"), attribute="first", attribute_values=("p", "q"), masks=dataset.info.masks)
    header = FeatureHeader(
        n_examples=11,
        n_features=classifier.n_features,
        dtype="float32",
        labels=labels,
        n_logits=2,
        digest="b" * 64,
        attributes=dataset.info.attributes,
    )
    with FeatureWriter(tmp_path, header) as writer:
        extract_split(classifier, dataset, "test", writer, device=CPU, batch_size=4, context=seen)
        manifest = writer.finish()
    assert manifest.n_examples == 11
    assert list(manifest.group_counts) == dataset.info.group_counts("test").tolist()
    stored = StoredFeatures(tmp_path, manifest.digest)
    np.testing.assert_array_equal(stored.read("attributes"), dataset.info.split("test").a)
    np.testing.assert_array_equal(stored.read("masks"), dataset.info.split("test").masks)


@pytest.mark.parametrize(
    ("failing", "kind"),
    [
        ({"broken": 6}, ErrorKind.CORRUPT_IMAGE),
        ({"cancel_at": 2}, ErrorKind.CANCELLED),
        ({"fail_at": 1}, ErrorKind.DISK_FULL),
        ({"fail_at": 2}, ErrorKind.DISK_FULL),  # the last batch
    ],
)
def test_failures_come_out_wherever_they_happen(
    classifier: Classifier, failing: dict[str, int], kind: ErrorKind
) -> None:
    dataset = MemoryDataset(broken=failing.pop("broken", -1))
    seen = Recorder(**failing)
    with pytest.raises(ServiceError) as caught:
        extract_split(classifier, dataset, "test", seen, device=CPU, batch_size=4, context=seen)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"batch_size": 0}, ErrorKind.INVALID_ARGUMENT),
        ({"attribute": "third"}, ErrorKind.ATTRIBUTE_MISSING),
        ({"split": "train"}, ErrorKind.UNKNOWN_SPLIT),
    ],
)
def test_requests_that_cannot_be_met(classifier: Classifier, change: dict[str, object], kind: ErrorKind) -> None:
    seen = Recorder()
    options = {"split": "test", "batch_size": 4, "attribute": ""} | change
    with pytest.raises(ServiceError) as caught:
        extract_split(classifier, MemoryDataset(), sink=seen, device=CPU, context=seen, **options)
    assert caught.value.kind is kind


ORIGIN = Origin(
    run_id="run",
    dataset="random",
    dataset_digest="a" * 64,
    attribute="first",
    classes=("x", "y"),
    train_shares=(1, 0, 0, 0),
)


def probe_of(classifier: Classifier) -> Batch:
    return classifier.preprocessing.to_batch(classifier.preprocessing.probe(), CPU)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_a_checkpoint_gives_the_same_features_again(tmp_path: Path, name: str) -> None:
    saved = load_backbone(name, 2, pretrained=False, seed=5, image_size=SIDE).to(CPU)
    before = torch.get_rng_state()
    manifest = save_checkpoint(tmp_path, saved, ORIGIN, epoch=0, checked_on=probe_of(saved))
    loaded = load_checkpoint(tmp_path, manifest.digest, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.preprocessing_id == saved.preprocessing_id == manifest.preprocessing_id
    results = []
    for classifier in (saved, loaded):
        seen = Recorder()
        extract_split(classifier, MemoryDataset(), "test", seen, device=CPU, batch_size=4, context=seen)
        results.append(seen.all("features"))
    assert_array_equal(results[0], results[1])
    assert check_head(loaded, probe_of(loaded)) <= 1e-6


def test_weights_that_are_not_finite_are_not_stored(tmp_path: Path) -> None:
    saved = load_backbone("test_vit", 2, pretrained=False, seed=5, image_size=SIDE)
    with torch.no_grad():
        saved.head.weight[0, 0] = torch.nan
    with pytest.raises(ServiceError, match=r"head\.weight") as caught:
        save_checkpoint(tmp_path, saved, ORIGIN, epoch=3, checked_on=probe_of(saved))
    assert caught.value.kind is ErrorKind.DIVERGED
    assert not (tmp_path / "checkpoints").exists()


def test_identity(tmp_path: Path) -> None:
    classifier = load_backbone("test_vit", 2, pretrained=False, seed=0, image_size=SIDE)
    manifest = save_checkpoint(tmp_path, classifier, ORIGIN, epoch=0, checked_on=probe_of(classifier))
    base = extraction_identity(manifest, "a" * 64, "test")
    assert extraction_identity(replace(manifest, run_id="other", epoch=9), "a" * 64, "test", attribute="first") == base
    others = [
        extraction_identity(manifest, "b" * 64, "test"),
        extraction_identity(manifest, "a" * 64, "val"),
        extraction_identity(manifest, "a" * 64, "test", attribute="second"),
        extraction_identity(manifest, "a" * 64, "test", feature_kind="flat"),
        extraction_identity(manifest, "a" * 64, "test", dtype="float16"),
        extraction_identity(replace(manifest, weights_digest="0"), "a" * 64, "test"),
        extraction_identity(replace(manifest, preprocessing_id="0"), "a" * 64, "test"),
    ]
    assert len({base, *others}) == len(others) + 1


def test_one_ahead_keeps_the_order_and_works_ahead_by_one_task() -> None:
    started: list[int] = []

    def task(number: int) -> int:
        started.append(number)
        return number

    results = one_ahead((lambda number=number: task(number)) for number in range(5))
    assert next(results) == 0
    assert max(started) <= 1
    assert list(results) == [1, 2, 3, 4]
    assert started == [0, 1, 2, 3, 4]
