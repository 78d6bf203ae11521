"""Runs that start from a checkpoint or a refit: which weights they begin with, and what the seed still decides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from backbone_directories import write_text_model
from finetuning_data import MemoryDataset, Recorder, squares, texts
from numpy.testing import assert_array_equal

from penult_proto.errors import ErrorKind
from penult_server.backbones.saving import load_checkpoint
from penult_server.backbones.starting import StartHead
from penult_server.class_names import Classes
from penult_server.datasets.model import SplitLabels
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.start import Start
from penult_server.finetuning.train import FinetuneOutcome, finetune
from penult_server.stores.checkpoints import CheckpointManifest, read_head, read_state
from penult_server.stores.runs import read_run_manifest

CPU = torch.device("cpu")
SOME_REFIT = "ab" * 32


def run(
    root: Path, dataset: MemoryDataset, start_head: StartHead | None = None, run_id: str = "", **config
) -> FinetuneOutcome:
    asked = FinetuneConfig(**({"backbone": "test_resnet", "epochs": 0} | config))
    return finetune(asked, dataset, root=root, device=CPU, context=Recorder(), run_id=run_id, start_head=start_head)


def started(root: Path, start: CheckpointManifest, dataset: MemoryDataset, **config) -> FinetuneOutcome:
    head = config.pop("head_of_refit", None)
    found = Start(checkpoint=start.digest, refit=SOME_REFIT if head else "")
    return run(root, dataset, head, **({"start": found, "max_tokens": start.max_tokens or 128} | config))


def with_classes(dataset: MemoryDataset, *names: str) -> MemoryDataset:
    """The same examples with other names for the classes; a further name makes a class without examples."""
    return MemoryDataset(replace(dataset.info, classes=names, digest="9" * 64), dataset.images)


def turned(dataset: MemoryDataset) -> MemoryDataset:
    """The same examples, the classes in the other order."""
    splits = {name: SplitLabels(row_id=one.row_id, y=1 - one.y, a=one.a) for name, one in dataset.info.splits.items()}
    info = replace(dataset.info, classes=dataset.info.classes[::-1], splits=splits, digest="8" * 64)
    return MemoryDataset(info, dataset.images)


@pytest.fixture(scope="module", params=["images", "texts", "mean of texts"])
def trained(request, tmp_path_factory) -> tuple[Path, MemoryDataset, CheckpointManifest]:
    """A store, a dataset, and the last checkpoint of a run on it."""
    root = tmp_path_factory.mktemp("store")
    if request.param == "images":
        data = squares()
        outcome = run(root, data, pretrained=False, epochs=1, batch_size=8, evaluate=("val",), image_resize=37)
    else:
        data = texts()
        backbone = write_text_model(root / "bert", "bert")
        pooling = "mean" if "mean" in request.param else "model"
        common = {"pretrained": False, "batch_size": 4, "evaluate": ("val",), "pooling": pooling, "max_tokens": 9}
        outcome = run(root, data, backbone=backbone, epochs=1, **common)
        # What a start needs is in the store.
        for path in (root / "bert").iterdir():
            path.unlink()
    return root, data, outcome.checkpoints[-1]


def test_no_epoch_leaves_the_start_itself(trained):
    root, data, start = trained
    again = started(root, start, data).checkpoints[0]
    assert again.digest == start.digest
    assert again.weights_digest == start.weights_digest
    manifest = started(root, start, data, run_id="started") and read_run_manifest(root, "started")
    assert manifest.weights == f"checkpoint {start.digest}"


def test_seeds_share_the_starting_point_and_nothing_else(trained):
    root, data, start = trained
    recipe = {"epochs": 1, "batch_size": 4, "evaluate": ("val",)}
    runs = [started(root, start, data, seed=seed, **recipe).checkpoints for seed in (0, 1, 1)]
    assert {one[0].weights_digest for one in runs} == {start.weights_digest}
    assert runs[0][-1].weights_digest != runs[1][-1].weights_digest
    assert runs[1][-1].weights_digest == runs[2][-1].weights_digest


def test_classes_in_another_order_have_their_rows(trained):
    root, data, start = trained
    outcome = started(root, start, turned(data))
    (note,) = outcome.notes
    assert note.id == "classes_mapped"
    before, after = (read_head(root, one.digest) for one in (start, outcome.checkpoints[0]))
    assert_array_equal(after[0], before[0][::-1])
    assert_array_equal(after[1], before[1][::-1])
    same_body(root, start, outcome.checkpoints[0])


def same_body(root: Path, one: CheckpointManifest, other: CheckpointManifest) -> None:
    first, second = read_state(root, one), read_state(root, other)
    assert set(first) == set(second)
    for name in set(first) - {one.head_weight, one.head_bias}:
        assert_array_equal(first[name], second[name], strict=True)


def test_other_classes_need_a_new_head(trained):
    root, data, start = trained
    other = with_classes(data, "a", "b", "c")
    with pytest.raises(ServiceError, match="head='new'") as raised:
        started(root, start, other)
    assert raised.value.kind == ErrorKind.OTHER_CLASSES
    first, second, again = (started(root, start, other, head="new", seed=seed).checkpoints[0] for seed in (0, 1, 0))
    assert first.n_classes == 3
    assert first.weights_digest == again.weights_digest != second.weights_digest
    same_body(root, start, first)
    weight, _ = read_head(root, first.digest)
    assert weight.shape == (3, start.n_features)
    # It is a whole checkpoint: it loads, and starts a further run.
    assert load_checkpoint(root, first.digest, CPU).n_classes == 3
    assert started(root, first, other).checkpoints[0].digest == first.digest
    # Two classes again, with a fresh head.
    assert started(root, first, data, head="new").checkpoints[0].n_classes == 2


def test_a_head_of_a_refit(trained):
    root, data, start = trained
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((2, start.n_features)), rng.standard_normal(2)
    # Its classes are in the other order.
    head = StartHead(weight=weight, bias=bias, classes=Classes(names=start.classes[::-1], whose="refit"))
    first = started(root, start, data, head_of_refit=head, run_id="refit").checkpoints[0]
    found = read_head(root, first.digest)
    assert_array_equal(found[0], weight[::-1].astype(np.float32))
    assert_array_equal(found[1], bias[::-1].astype(np.float32))
    same_body(root, start, first)
    assert read_run_manifest(root, "refit").weights == f"refit {SOME_REFIT}"
    wide = StartHead(weight=weight[:, 1:], bias=bias, classes=head.classes)
    with pytest.raises(ServiceError, match="has the shape"):
        started(root, start, data, head_of_refit=wide)


def test_a_head_without_bias_takes_none(tmp_path):
    """Of every architecture at hand the head has a bias: one is taken out of a stored checkpoint."""
    from penult_server.backbones import starting

    state = {"head.weight": np.zeros((2, 3), np.float32)}
    manifest = type("M", (), {"head_weight": "head.weight", "head_bias": "", "digest": "d" * 64})()
    classes = Classes(names=("x", "y"), whose="refit")
    match = starting.match_start(classes, classes)
    plain = StartHead(weight=np.ones((2, 3)), bias=np.zeros(2), classes=classes)
    assert set(starting._kept(manifest, state, plain, match)) == {"head.weight"}
    with pytest.raises(ServiceError, match="no bias"):
        starting._kept(manifest, state, replace(plain, bias=np.ones(2)), match)


def test_other_sizes_where_the_architecture_has_them(trained):
    root, data, start = trained
    if start.max_tokens:
        shorter = started(root, start, data, max_tokens=5).checkpoints[0]
        assert (shorter.max_tokens, shorter.weights_digest) == (5, start.weights_digest)
        assert shorter.digest != start.digest
        with pytest.raises(ServiceError, match=r"max_tokens must lie in 1 \.\. 32"):
            started(root, start, data, max_tokens=33)
        return
    assert start.image_resize == 37
    larger = started(root, start, data, image_size=48).checkpoints[0]
    assert (larger.image_size, larger.image_resize, larger.weights_digest) == (48, 0, start.weights_digest)
    cropped = started(root, start, data, image_resize=40).checkpoints[0]
    assert (cropped.image_size, cropped.image_resize) == (start.image_size, 40)


def test_a_new_head_is_not_a_refit_s():
    with pytest.raises(ServiceError, match="start from its checkpoint"):
        FinetuneConfig(backbone="test_resnet", head="new", start=Start(checkpoint="a", refit="b"))


def test_an_interrupted_run_goes_on(trained):
    root, data, start = trained
    config = FinetuneConfig(
        backbone="test_resnet",
        start=Start(checkpoint=start.digest),
        max_tokens=start.max_tokens or 128,
        epochs=2,
        batch_size=4,
        evaluate=("val",),
        save_every=1,
        seed=3,
    )
    common = {"root": root, "device": CPU}
    whole = finetune(config, data, context=Recorder(), run_id="whole", **common)
    with pytest.raises(ServiceError, match="cancelled"):
        finetune(config, data, context=Recorder(cancel_at=3), run_id="broken", **common)
    again = finetune(config, data, context=Recorder(), run_id="broken", **common)
    assert again.resumed_at
    assert [one.weights_digest for one in again.checkpoints] == [one.weights_digest for one in whole.checkpoints]
