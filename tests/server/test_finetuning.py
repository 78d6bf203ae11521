"""The training loop on tiny data: determinism, balancing, metrics, checkpoints, failures."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning_data import COUNTS, SIDE, MemoryDataset, Recorder, squares, texts, tiny_bert
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_proto.errors import ErrorKind
from penult_server.backbones.inputs import open_inputs
from penult_server.backbones.saving import load_checkpoint
from penult_server.errors import ServiceError
from penult_server.finetuning.augment import TrainingInputs
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.examples import Part, balance, training_batches
from penult_server.finetuning.objective import Objective
from penult_server.finetuning.tokens import open_tokenised
from penult_server.finetuning.train import FinetuneOutcome, finetune, load_classifier
from penult_server.finetuning.world import World
from penult_server.stores.checkpoints import read_head, read_manifest, read_state

CPU = torch.device("cpu")
CONFIG = FinetuneConfig(backbone="test_vit", pretrained=False, epochs=2, batch_size=8)


def run(
    root: Path, config: FinetuneConfig = CONFIG, dataset: MemoryDataset | None = None, context: Recorder | None = None
) -> FinetuneOutcome:
    return finetune(config, dataset or squares(), root=root, device=CPU, context=context or Recorder(), run_id="run-1")


def test_what_a_run_leaves(tmp_path: Path) -> None:
    context, dataset = Recorder(), squares()
    outcome = run(tmp_path, dataset=dataset, context=context)
    assert [one.epoch for one in outcome.checkpoints] == [0, 1, 2]
    assert context.stored == outcome.checkpoints
    assert [(one.epoch, one.split) for one in outcome.history] == [
        (epoch, split) for epoch in (1, 2) for split in ("train", "val", "test")
    ]
    assert context.reported == [(one.epoch, one.split) for one in outcome.history]
    assert_array_equal(outcome.kept_row_ids, dataset.info.split("train").row_id)
    assert outcome.train_seconds > 0
    for manifest in outcome.checkpoints:
        assert read_manifest(tmp_path, manifest.digest) == manifest
        assert (manifest.dataset, manifest.attribute, manifest.run_id) == ("squares", "hue", "run-1")
        assert manifest.head_error <= 1e-5
        assert_allclose(manifest.train_shares, np.array(COUNTS["train"]) / 24)
        assert manifest.image_size == SIDE
    for record in outcome.history:
        assert record.metrics.count.tolist() == COUNTS[record.split]
        assert_allclose(record.metrics.average_weights, np.array(COUNTS["train"]) / 24)
    # 24 examples in batches of 8: three steps an epoch, counted over the whole run.
    steps = [done for stage, done, total, unit in context.steps if stage in ("epoch 1 of 2", "epoch 2 of 2")]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert {(total, unit) for _, _, total, unit in context.steps} == {(6, "steps")}


def test_the_log_tells_where_the_time_until_the_first_step_went(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="penult.finetuning"):
        run(tmp_path)
    (line,) = caplog.records
    seconds = line.__dict__["seconds"]
    assert {"model", "first batch", "forward", "backward", "optimizer"} <= set(seconds)
    assert min(seconds.values()) >= 0
    assert line.getMessage().startswith("first step done after ")


def test_it_learns(tmp_path: Path) -> None:
    config = replace(CONFIG, backbone="test_resnet", epochs=12, learning_rate=5e-3, warmup=0.0, flip=False)
    outcome = run(tmp_path, replace(config, evaluate=("train",)))
    losses = [one.metrics.loss for one in outcome.history]
    assert losses[-1] < 0.5 * losses[0]
    assert outcome.history[-1].metrics.average_accuracy == 1.0


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_same_seed_gives_equal_bits_and_another_does_not(tmp_path: Path, backbone: str) -> None:
    config = replace(CONFIG, backbone=backbone, evaluate=("val",))
    torch.manual_seed(1)
    first = run(tmp_path / "first", config)
    torch.manual_seed(2)
    state_before = torch.get_rng_state()
    second = run(tmp_path / "second", config)
    assert torch.equal(torch.get_rng_state(), state_before)
    assert not torch.are_deterministic_algorithms_enabled()
    other = run(tmp_path / "other", replace(config, seed=1))
    digests = [[one.weights_digest for one in outcome.checkpoints] for outcome in (first, second, other)]
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])
    assert len(set(digests[0])) == 3


def test_dropout_follows_the_seed_too(tmp_path: Path, bert: str) -> None:
    config = replace(CONFIG, backbone=bert, epochs=1, max_tokens=8)
    digests = []
    for place in ("first", "second"):
        torch.rand(3)
        digests.append(run(tmp_path / place, config, texts()).checkpoints[-1].weights_digest)
    assert digests[0] == digests[1]


def test_balancings_share_their_starting_point_and_then_part(tmp_path: Path) -> None:
    none = run(tmp_path, replace(CONFIG, epochs=1))
    weighted = run(tmp_path, replace(CONFIG, epochs=1, method=BalanceMethod.UPWEIGHTING, by=BalanceBy.GROUP))
    assert none.checkpoints[0] == weighted.checkpoints[0]
    assert none.checkpoints[1].digest != weighted.checkpoints[1].digest


@pytest.mark.parametrize(
    ("method", "by", "ratio", "kept"),
    [
        (BalanceMethod.SUBSETTING, BalanceBy.GROUP, 1.0, [2, 2, 2, 2]),
        (BalanceMethod.MIXTURE, BalanceBy.GROUP, 1.5, [3, 3, 2, 3]),
        (BalanceMethod.UPSAMPLING, BalanceBy.GROUP, 1.0, COUNTS["train"]),
        (BalanceMethod.SUBSETTING, BalanceBy.CLASS, 1.0, None),
    ],
)
def test_kept_examples(
    tmp_path: Path, method: BalanceMethod, by: BalanceBy, ratio: float, kept: list[int] | None
) -> None:
    dataset = squares()
    config = replace(CONFIG, epochs=1, method=method, by=by, ratio=ratio, evaluate=("val",))
    outcome = run(tmp_path, config, dataset)
    labels = dataset.info.split("train")
    rows = np.flatnonzero(np.isin(labels.row_id, outcome.kept_row_ids))
    counts = np.bincount(dataset.info.group_index("train")[rows], minlength=4)
    if kept is None:
        assert counts.reshape(2, 2).sum(axis=1).tolist() == [12, 12]
    else:
        assert counts.tolist() == kept


def test_history_is_what_the_checkpoint_says(tmp_path: Path) -> None:
    """The stored weights, run by hand over a split, give the metrics that were reported."""
    dataset = squares()
    outcome = run(tmp_path, dataset=dataset)
    classifier = load_checkpoint(tmp_path, outcome.checkpoints[-1].digest, CPU)
    items = [classifier.preprocessing.prepare(one) for one in dataset.examples("test")]
    with torch.inference_mode():
        features, logits = classifier.forward_with_features(classifier.preprocessing.to_batch(items, CPU))
    reported = outcome.history[-1].metrics
    y, g = dataset.info.split("test").y, dataset.info.group_index("test")
    right = logits.numpy().argmax(axis=1) == y
    assert reported.correct.tolist() == [int(right[g == group].sum()) for group in range(4)]
    assert np.isnan(reported.group_accuracy[1])
    assert np.isnan(reported.weighted_average_accuracy)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y.copy()))
    assert reported.loss == pytest.approx(float(loss), rel=1e-4)
    weight, bias = read_head(tmp_path, outcome.checkpoints[-1].digest)
    assert_allclose(features.numpy() @ weight.T + bias, logits.numpy(), rtol=1e-4, atol=1e-5)


def test_epoch_0_is_the_starting_point_alone(tmp_path: Path) -> None:
    context = Recorder()
    outcome = run(tmp_path, replace(CONFIG, epochs=0), context=context)
    assert [one.epoch for one in outcome.checkpoints] == [0]
    assert outcome.history == []
    assert outcome.train_seconds == 0


def test_text_checkpoint_loads_again_from_its_own_files(tmp_path: Path, bert: str) -> None:
    dataset = texts()
    outcome = run(tmp_path / "store", replace(CONFIG, backbone=bert, epochs=1, max_tokens=8), dataset)
    for path in Path(bert).iterdir():
        path.unlink()
    manifest = outcome.checkpoints[-1]
    assert manifest.max_tokens == 8
    classifier = load_checkpoint(tmp_path / "store", manifest.digest, CPU)
    assert classifier.preprocessing_id == manifest.preprocessing_id
    state = read_state(tmp_path / "store", manifest)
    for name, tensor in classifier.module.state_dict().items():
        assert_array_equal(tensor.numpy(), state[name])


def test_just_train_twice_repeats_what_the_first_model_got_wrong(tmp_path: Path) -> None:
    dataset = squares()
    first = run(tmp_path, replace(CONFIG, epochs=1), dataset)
    stored = first.checkpoints[-1].digest
    classifier = load_checkpoint(tmp_path, stored, CPU)
    items = [classifier.preprocessing.prepare(one) for one in dataset.examples("train")]
    with torch.inference_mode():
        predicted = classifier.logits(classifier.preprocessing.to_batch(items, CPU)).numpy().argmax(axis=1)
    labels = dataset.info.split("train")
    wrong = labels.row_id[predicted != labels.y]
    assert 0 < len(wrong) < len(labels)

    objective = Objective(repeat_errors_of=stored, repeat_errors=4)
    second = run(tmp_path, replace(CONFIG, epochs=1, objective=objective), dataset)
    times = np.array([np.count_nonzero(second.kept_row_ids == row) for row in labels.row_id])
    assert_array_equal(times, np.where(np.isin(labels.row_id, wrong), 4, 1))
    assert second.steps_per_epoch == -(-times.sum() // 8)


def test_texts_cannot_be_mixed(tmp_path: Path, bert: str) -> None:
    config = replace(CONFIG, backbone=bert, max_tokens=8, objective=Objective(mixup=0.2))
    with pytest.raises(ServiceError, match="mixup mixes images") as caught:
        run(tmp_path, config, texts())
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_padding_to_the_maximum_changes_next_to_nothing(tmp_path: Path, bert: str) -> None:
    """The mask keeps padding out: only rounding may differ."""
    config = replace(CONFIG, backbone=bert, epochs=1, max_tokens=16)
    dynamic = run(tmp_path / "dynamic", config, texts())
    padded = run(tmp_path / "padded", replace(config, pad_to_max=True), texts())
    assert padded.checkpoints[0].digest == dynamic.checkpoints[0].digest
    for one, other in zip(dynamic.history, padded.history, strict=True):
        assert other.metrics.loss == pytest.approx(one.metrics.loss, rel=1e-3)


def test_texts_are_tokenised_once(tmp_path: Path, bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, backbone=bert, epochs=1, max_tokens=8)
    dataset = texts()
    first = run(tmp_path, config, dataset)
    stored = sorted((tmp_path / "tokens").iterdir())
    assert len(stored) == 2
    preprocessing = load_classifier(config, dataset).preprocessing
    kept = open_tokenised(dataset, "val", preprocessing, tmp_path).take(np.arange(12))
    for item, text in zip(kept, dataset.examples("val"), strict=True):
        assert_array_equal(item, preprocessing.prepare(text))
    # Damaged ids are made anew; whole ones are read, and no text is looked at.
    stored[0].write_bytes(stored[0].read_bytes()[:-1] + b"x")
    again = run(tmp_path, replace(config, seed=1), dataset)
    assert again.checkpoints[0].digest != first.checkpoints[0].digest
    for split in dataset.info.splits:
        monkeypatch.setitem(dataset.images, split, [""] * 12)
    read = run(tmp_path, replace(config, seed=1), dataset)
    assert read.checkpoints[-1].digest == again.checkpoints[-1].digest


def test_pairs_are_tokenised_once_too(tmp_path: Path, bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = texts()
    for split, sentences in dataset.images.items():
        dataset.images[split] = [(text, "good book") for text in sentences]
    config = replace(CONFIG, backbone=bert, epochs=1, max_tokens=12)
    preprocessing = load_classifier(config, dataset).preprocessing
    expected = preprocessing.prepare_all(dataset.examples("val"))
    assert {len(item) for item in expected} == {2}
    first = open_tokenised(dataset, "val", preprocessing, tmp_path).take(np.arange(12))
    monkeypatch.setitem(dataset.images, "val", [("", "")] * 12)
    again = open_tokenised(dataset, "val", preprocessing, tmp_path).take(np.arange(12))
    for item, kept, read in zip(expected, first, again, strict=True):
        assert_array_equal(kept, item)
        assert_array_equal(read, item)


def test_evaluation_may_crop_the_middle(tmp_path: Path) -> None:
    dataset = squares()
    outcome = run(tmp_path, replace(CONFIG, epochs=0, image_size=32, image_resize=40), dataset)
    manifest = outcome.checkpoints[0]
    assert (manifest.image_size, manifest.image_resize) == (32, 40)
    preprocessing = load_checkpoint(tmp_path, manifest.digest, CPU).preprocessing
    image = Image.fromarray(dataset.examples("val")[0])
    expected = center_crop(resize(image, 40, InterpolationMode.BICUBIC), [32, 32])
    assert_array_equal(preprocessing.prepare(dataset.examples("val")[0]), np.asarray(expected))
    plain = run(tmp_path, replace(CONFIG, epochs=0, image_size=32), dataset)
    assert plain.checkpoints[0].weights_digest == manifest.weights_digest
    assert plain.checkpoints[0].digest != manifest.digest


def test_the_middle_lies_inside_the_image(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=f"must be at least the images' side, {SIDE}; got 8"):
        run(tmp_path, replace(CONFIG, epochs=0, image_resize=8))


def test_a_run_starts_from_a_file_of_weights(tmp_path: Path) -> None:
    """Epoch 0 of the second run has the body of the first run's last checkpoint, and a head of its own."""
    trained = run(tmp_path, replace(CONFIG, epochs=1)).checkpoints[-1]
    path = tmp_path / "checkpoints" / trained.digest / "model.safetensors"
    started = replace(CONFIG, epochs=0, pretrained=True, weights=str(path), head="new", seed=1)
    again = run(tmp_path, started).checkpoints[0]
    assert again.head == "new"
    before, after = read_state(tmp_path, trained), read_state(tmp_path, again)
    assert [name for name in before if not np.array_equal(before[name], after[name])] == ["head.bias", "head.weight"]


def test_texts_pooled_by_their_mean_are_learned_and_proved(tmp_path: Path) -> None:
    config = replace(CONFIG, backbone=tiny_bert(tmp_path), max_tokens=8, epochs=1)
    mean, own = (
        run(tmp_path, replace(config, pooling=pooling), texts()).checkpoints[-1] for pooling in ("mean", "model")
    )
    assert (mean.pooling, own.pooling) == ("mean", "model")
    assert mean.weights_digest != own.weights_digest
    assert load_checkpoint(tmp_path, mean.digest, CPU).head_name == "classifier"


def test_processes_share_the_batches_that_one_would_take(tmp_path: Path) -> None:
    """The parts of both, put together, are the very arrays of the single one."""
    dataset = squares()
    config = replace(CONFIG, batch_size=7, method=BalanceMethod.UPWEIGHTING, by=BalanceBy.GROUP, crop_scale=0.5)
    training = balance(config, dataset)
    preprocessing = load_classifier(config, dataset).preprocessing
    inputs = TrainingInputs(
        dataset.examples("train"), open_inputs(dataset, "train", preprocessing), preprocessing, config
    )

    def parts(world: World, accumulate: int) -> list[list[Part]]:
        chosen = replace(config, accumulate=accumulate)
        batches = training_batches(training, inputs, chosen, first=1, last=6, world=world)
        return [batch.parts for batch in batches]

    whole = parts(World(), 1)
    assert len(whole) == 5
    shared = [parts(World(rank=rank, size=2), 2) for rank in range(2)]
    for step, (single,) in enumerate(whole):
        together = [part for rank in range(2) for part in shared[rank][step]]
        assert len(together) == min(4, len(single.y))
        assert_array_equal(np.concatenate([np.stack(part.items) for part in together]), np.stack(single.items))
        for name in ("y", "g", "weights"):
            joined = np.concatenate([getattr(part, name) for part in together])
            assert_array_equal(joined, getattr(single, name))
        assert single.weights.sum() == pytest.approx(1)


def test_divergence_names_epoch_and_step(tmp_path: Path) -> None:
    config = replace(CONFIG, optimizer="sgd", learning_rate=1e30, warmup=0.0)
    with pytest.raises(ServiceError, match=r"epoch 1, step \d") as caught:
        run(tmp_path, config)
    assert caught.value.kind is ErrorKind.DIVERGED
    assert caught.value.metadata["epoch"] == "1"


def test_weights_that_became_infinite_in_the_last_step_are_not_stored(tmp_path: Path) -> None:
    config = replace(
        CONFIG, optimizer="sgd", learning_rate=1e38, warmup=0.0, epochs=1, batch_size=24, evaluate=("val",)
    )
    with pytest.raises(ServiceError) as caught:
        run(tmp_path, config)
    assert caught.value.kind is ErrorKind.DIVERGED
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


@pytest.mark.parametrize("cancel_at", [1, 4, 9])
def test_cancelling_stops_at_once_and_keeps_whole_checkpoints(tmp_path: Path, cancel_at: int) -> None:
    context = Recorder(cancel_at=cancel_at)
    with pytest.raises(ServiceError) as caught:
        run(tmp_path, context=context)
    assert caught.value.kind is ErrorKind.CANCELLED
    assert context.asked == cancel_at
    assert not torch.are_deterministic_algorithms_enabled()
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {one.digest for one in context.stored}


def test_empty_group_is_named(tmp_path: Path) -> None:
    dataset = squares({"train": [5, 0, 4, 6], "val": [1, 1, 1, 1]})
    config = replace(CONFIG, method=BalanceMethod.UPSAMPLING, by=BalanceBy.GROUP)
    with pytest.raises(ServiceError, match="group 'upper, blue'") as caught:
        run(tmp_path, config, dataset)
    assert caught.value.kind is ErrorKind.EMPTY_GROUP
    # Balancing over classes does not look at groups.
    run(tmp_path, replace(config, by=BalanceBy.CLASS, epochs=1), dataset)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"attribute": "shape"}, ErrorKind.ATTRIBUTE_MISSING),
        ({"evaluate": ("nope",)}, ErrorKind.UNKNOWN_SPLIT),
        ({"backbone": "test_nothing"}, ErrorKind.UNKNOWN_BACKBONE),
        ({"backbone": "test_vit", "image_size": 33}, ErrorKind.INVALID_ARGUMENT),
    ],
)
def test_requests_that_cannot_be_met(tmp_path: Path, change: dict[str, object], kind: ErrorKind) -> None:
    with pytest.raises(ServiceError) as caught:
        run(tmp_path, replace(CONFIG, **change))
    assert caught.value.kind is kind


def test_images_that_are_not_square_need_a_size(tmp_path: Path) -> None:
    dataset = squares(height=40)
    with pytest.raises(ServiceError, match="32 x 40") as caught:
        run(tmp_path, dataset=dataset)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    outcome = run(tmp_path, replace(CONFIG, epochs=0, image_size=48), dataset)
    assert outcome.checkpoints[0].image_size == 48


def test_a_backbone_for_the_other_kind_of_example(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="reads images") as caught:
        run(tmp_path, replace(CONFIG, image_size=32), texts())
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.fixture
def bert(tmp_path: Path) -> str:
    return tiny_bert(tmp_path / "bert")
