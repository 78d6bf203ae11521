"""How close extraction comes to a bare loop over tensors that are already there.

Measured against a loop written here, in turns, by their medians.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from turns import seconds_in_turns

from penult_server.backbones.model import load_backbone
from penult_server.compute_environment import keep_memory
from penult_server.datasets.model import Attribute, DatasetInfo, Example, SplitLabels
from penult_server.extraction.extract import extract_split
from penult_server.progress import MetricsRecord
from penult_server.stores import features as features_module
from penult_server.stores.checkpoints import CheckpointManifest
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.manifest import LabelNames

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ROUNDS = 5


@pytest.fixture(autouse=True, scope="module")
def keeps_its_memory() -> None:
    """Both sides keep freed memory, as processes of jobs do (`job_environment`): else it decides between them."""
    keep_memory({})


@dataclass
class Noise:
    """`n` random images of `side` pixels in one split, with two classes and two attribute values."""

    n: int
    side: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.images = list(rng.integers(0, 256, (self.n, self.side, self.side, 3), dtype=np.uint8))
        y, a = np.arange(self.n) % 2, np.arange(self.n) // 2 % 2
        self.info = DatasetInfo(
            name="noise",
            digest="0" * 64,
            modality="image",
            classes=("x", "y"),
            attributes=(Attribute(name="a", values=("p", "q")),),
            splits={"train": SplitLabels(row_id=np.arange(self.n, dtype=np.uint64), y=y, a=a[:, None])},
            description="",
        )

    def examples(self, split: str) -> Sequence[Example]:
        return self.images


class Quiet:
    """A context that nobody listens to."""

    def progress(self, stage: str, done: float, total: float, unit: str) -> None: ...

    def metrics(self, record: MetricsRecord) -> None: ...

    def checkpoint(self, manifest: CheckpointManifest) -> None: ...

    def saved(self, amount: float) -> None: ...

    def check_cancelled(self) -> None: ...


def test_extraction_beside_bare_forward_passes(tmp_path: Path, at_full_size: bool) -> None:
    """Decoded images into a stored feature set with moments, against forward passes alone."""
    n, name = (2000, "tf_efficientnet_lite0") if at_full_size else (70, "test_resnet")
    side, batch_size = 96 if at_full_size else 32, 64
    dataset = Noise(n, side)
    classifier = load_backbone(name, 2, pretrained=False, seed=0, image_size=side).to(DEVICE)
    preprocessing = classifier.preprocessing
    batches = [preprocessing.to_batch(dataset.images[i : i + batch_size], DEVICE) for i in range(0, n, batch_size)]
    labels = LabelNames(classes=("x", "y"), attribute="a", attribute_values=("p", "q"))
    stored: list[int] = []
    passes: list[float] = []

    @torch.inference_mode()
    def bare() -> None:
        for batch in batches:
            classifier.module(batch)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    def extract() -> None:
        header = FeatureHeader(
            n_examples=n,
            n_features=classifier.n_features,
            dtype="float32",
            labels=labels,
            n_logits=2,
            digest=f"{len(stored):064d}",
            attributes=dataset.info.attributes,
        )
        with FeatureWriter(tmp_path, header) as writer:
            rates = extract_split(
                classifier, dataset, "train", writer, device=DEVICE, batch_size=batch_size, context=Quiet()
            )
            passes.append(rates.rate)
            stored.append(writer.finish().n_examples)

    bare()
    rounds = ROUNDS if at_full_size else 1
    turns = [_both(bare) + _both(extract) for _ in range(rounds)]
    bare_seconds = median(one[0] for one in turns)
    ratio, of_processor = median(one[0] / one[2] for one in turns), median(one[1] / one[3] for one in turns)
    print(
        f"\nextraction, {name}, {n} x {side} px, {DEVICE}: {n / bare_seconds:.0f} examples/s bare; "
        f"the pass reaches {median(passes) * bare_seconds / n:.3f} of it, {ratio:.3f} with the set finished and on "
        f"disk (asked: 0.97), {of_processor:.3f} by processor time"
    )
    assert stored == [n] * rounds
    assert not at_full_size or ratio >= 0.95


def _both(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of processor time of all threads."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - used


def test_moments_during_extraction(tmp_path: Path, at_full_size: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pass with group moments folded in and stored, and without.

    As many rows as moments are kept from, G (D + 1): what they cost once, when they are written, counts in full.
    """
    n, name = (5200, "tf_efficientnet_lite0") if at_full_size else (70, "test_resnet")
    side, batch_size = 96 if at_full_size else 32, 64
    dataset = Noise(n, side)
    classifier = load_backbone(name, 2, pretrained=False, seed=0, image_size=side).to(DEVICE)
    labels = LabelNames(classes=("x", "y"), attribute="a", attribute_values=("p", "q"))
    stored: list[bool] = []

    def extract(*, moments: bool) -> None:
        monkeypatch.setattr(features_module, "keeps_moments", lambda _: moments)
        header = FeatureHeader(
            n_examples=n,
            n_features=classifier.n_features,
            dtype="float32",
            labels=labels,
            n_logits=2,
            digest=f"{len(stored):064d}",
            attributes=dataset.info.attributes,
        )
        with FeatureWriter(tmp_path, header) as writer:
            extract_split(classifier, dataset, "train", writer, device=DEVICE, batch_size=batch_size, context=Quiet())
            stored.append(writer.finish().has_moments)

    extract(moments=True)
    without, with_moments = map(
        median, seconds_in_turns(partial(extract, moments=False), partial(extract, moments=True), rounds=2)
    )
    print(
        f"\nextraction with moments, {name}, {n} x {side} px, {DEVICE}: {with_moments / without - 1:+.1%} of the time "
        f"without ({without:.1f} s; bound +5 %)"
    )
    assert stored == [True] + [False, True] * 2
    assert not at_full_size or with_moments <= 1.05 * without
