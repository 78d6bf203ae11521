"""Exported checkpoints load strictly in their libraries, with the logits that the service stored."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from backbone_directories import write_config, write_decoder, write_text_model
from PIL import Image
from safetensors.numpy import load_file
from timm.data import create_transform, resolve_data_config
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

import penult
from penult_server.stores.checkpoints import digest_weights, read_manifest

TOLERANCE = 2e-5
"""Largest difference of logits, relative to the largest: float32, in other orders of summation."""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """A table of images of many shapes, all wider or higher than they are read."""
    directory = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    lines = ["path,y,ground,split"]
    for i in range(24):
        height, width = rng.integers(40, 90, 2)
        pixels = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((height // 6 + 1, width // 6 + 1, 1)))
        Image.fromarray(pixels[:height, :width].astype(np.uint8)).save(directory / f"{i}.png")
        lines.append(f"{i}.png,{('cat', 'a|b')[i % 2]},{('in', 'out')[i // 2 % 2]},{('train', 'test')[i // 12]}")
    table = directory / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="module")
def sentences(tmp_path_factory) -> Path:
    """A table of short and long texts."""
    words = ("one", "two", "good", "bad", "words", "other")
    rng = np.random.default_rng(1)
    rows = [
        f"{' '.join(rng.choice(words, int(rng.integers(1, 20))))},{i % 2},{i // 2 % 2},{('train', 'test')[i // 12]}"
        for i in range(24)
    ]
    table = tmp_path_factory.mktemp("sentences") / "table.csv"
    table.write_text("\n".join(["text,y,ground,split", *rows]) + "\n")
    return table


@pytest.fixture(scope="module")
def store(client, photographs, sentences) -> penult.Client:
    client.datasets.register("photographs", photographs)
    client.datasets.register("sentences", sentences)
    return client


def start_of(client: penult.Client, **recipe) -> penult.Checkpoint:
    """The starting point of a run: random weights."""
    return client.finetune(pretrained=False, epochs=0, **recipe).wait().checkpoints[0]


def held_out(photographs: Path) -> list[Image.Image]:
    names = [line.split(",")[0] for line in photographs.read_text().splitlines() if line.endswith(",test")]
    return [Image.open(photographs.parent / name) for name in names]


def by_timm(path: Path, images: list[Image.Image]) -> np.ndarray:
    """Logits of an export, of images prepared by timm alone."""
    model = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    transform = create_transform(**resolve_data_config({}, model=model))
    with torch.no_grad():
        return model(torch.stack([transform(image) for image in images])).numpy()


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


# A plain network, one with position embeddings for one size, one whose head is a 1 x 1 convolution. 23 / 41 is a
# fraction that timm would round to 40 pixels.
@pytest.mark.parametrize(
    ("backbone", "size", "resize"),
    [
        ("test_resnet", 23, 41),
        ("dla46x_c", 32, 40),
        pytest.param("test_vit", 32, 0, marks=pytest.mark.slow),
        pytest.param("test_efficientnet", 40, 49, marks=pytest.mark.slow),
    ],
)
def test_timm(store, photographs, tmp_path, backbone, size, resize):
    checkpoint = start_of(
        store, dataset="photographs", backbone=backbone, inputs=penult.Images(size=size, resize=resize)
    )
    sets = store.extract(checkpoint, splits=["test"]).wait()
    path = store.checkpoints.export(checkpoint, tmp_path / "out")
    assert path == tmp_path / "out"
    close(by_timm(path, held_out(photographs)), store.features.read(sets["test"]).logits)
    config = json.loads((path / "config.json").read_text())
    assert config["label_names"] == list(checkpoint.classes) == ["a|b", "cat"]


def test_a_refit_s_head(store, photographs, tmp_path):
    """Its rows are matched by name, and its worst group is what the service said."""
    recipe = {"dataset": "photographs", "backbone": "test_resnet", "inputs": penult.Images(size=32)}
    run = store.finetune(pretrained=False, epochs=1, batch_size=4, **recipe).wait()
    checkpoint = run.checkpoints[-1]
    sets = store.extract(checkpoint).wait()
    refit = store.refit(sets["train"], preset="dfr_l2", evaluate={"held out": sets["test"]})
    path = store.checkpoints.export(checkpoint, tmp_path / "refit", head=refit)
    features = store.features.read(sets["test"])
    logits = by_timm(path, held_out(photographs))
    close(logits, refit.head.logits(features.features))
    said = refit.metrics["held out"]
    right = logits.argmax(axis=1) == features.y
    worst = min(right[features.g == g].mean() for g in set(features.g.tolist()))
    assert worst == said.worst_group_accuracy
    about = json.loads((path / "penult.json").read_text())
    assert about["head"]["source"] == f"refit {refit.digest}"
    groups = about["metrics"]["held out"]["groups"]
    assert [one["correct"] for one in groups] == said.correct.tolist()
    assert [one["low"] for one in groups] == said.group_low.tolist()
    assert [one["name"] for one in groups if one["is_worst"]] == [said.worst_group.name]
    assert about["recipe"]["inputs"]["class"] == "Images"
    recipe = {
        name: getattr(penult, value.pop("class"))(**value) if isinstance(value, dict) else value
        for name, value in about["recipe"].items()
    }
    assert recipe == run.spec.arguments()
    assert about["starting_weights"] == "random"

    # The same head with its rows in another order, by an explicit head; and its digest is of what is written.
    own = refit.head
    turned = penult.Head(own.weight[::-1], own.bias[::-1], classes=own.classes[::-1], checkpoint=own.checkpoint)
    other = store.checkpoints.export(checkpoint, tmp_path / "turned", head=turned)
    state = load_file(other / "model.safetensors")
    for name, tensor in load_file(path / "model.safetensors").items():
        np.testing.assert_array_equal(state[name], tensor, strict=True)
    assert about["weights_digest"] == digest_weights(state)
    turned_about = json.loads((other / "penult.json").read_text())
    assert any("put in the order" in one for one in turned_about["head"]["remarks"])
    assert turned_about["metrics"] == {}

    card = (path / "README.md").read_text()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in card.splitlines() if line.startswith("|")]
    worst_row = next(row for row in rows if "(worst)" in row[0])
    assert worst_row[0].strip().removesuffix(" (worst)").replace("\\", "") == said.worst_group.name
    assert float(worst_row[3]) == pytest.approx(said.worst_group_accuracy, abs=5e-5)
    assert refit.digest in card
    assert run.checkpoints[-1].dataset_digest in card

    # The checkpoint's own head has the metrics of its run at that step.
    own_path = store.checkpoints.export(checkpoint, tmp_path / "own")
    measured = json.loads((own_path / "penult.json").read_text())["metrics"]
    assert set(measured) == {"train", "test"}
    assert measured["test"]["worst_group_accuracy"] == run.metrics("test").worst_group_accuracy
    first = store.checkpoints.export(run.checkpoints[0], tmp_path / "first")
    assert json.loads((first / "penult.json").read_text())["metrics"] == {}
    assert "Nothing was measured" in (first / "README.md").read_text()


@pytest.mark.parametrize(
    "kind", ["bert", "gpt2", *(pytest.param(one, marks=pytest.mark.slow) for one in ("distilbert", "roberta"))]
)
def test_transformers_of_texts(store, sentences, tmp_path, kind):
    write = write_decoder if kind == "gpt2" else write_text_model
    backbone = write(tmp_path / "model", kind)
    checkpoint = start_of(store, dataset="sentences", backbone=backbone, inputs=penult.Texts(max_tokens=9))
    stored = store.features.read(store.extract(checkpoint, splits=["test"]).wait()["test"])
    path = store.checkpoints.export(checkpoint, tmp_path / "out")
    model, loading = AutoModelForSequenceClassification.from_pretrained(path, output_loading_info=True)
    assert not any(loading.values()), loading
    assert model.config.id2label == dict(enumerate(checkpoint.classes))
    assert model.config.architectures == [type(model).__name__]
    texts = [line.rsplit(",", 3)[0] for line in sentences.read_text().splitlines() if line.endswith(",test")]
    tokens = AutoTokenizer.from_pretrained(path)(texts, truncation=True, padding=True, return_tensors="pt")
    assert tokens["input_ids"].shape[1] == 9
    with torch.no_grad():
        logits = model.eval()(**{name: tokens[name] for name in ("input_ids", "attention_mask")}).logits.numpy()
    close(logits, stored.logits)


def test_transformers_of_images(store, photographs, tmp_path):
    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    backbone = write_config(tmp_path / "model", "vit", intermediate_size=32, **sizes)
    checkpoint = start_of(store, dataset="photographs", backbone=backbone, inputs=penult.Images(size=32, resize=41))
    stored = store.features.read(store.extract(checkpoint, splits=["test"]).wait()["test"])
    path = store.checkpoints.export(checkpoint, tmp_path / "out")
    model, loading = AutoModelForImageClassification.from_pretrained(path, output_loading_info=True)
    assert not any(loading.values()), loading
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    images = held_out(photographs)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    # A crop in the middle of such a side lies between two pixels, and is rounded down there, to even here.
    longer = [int(41 * max(one.size) / min(one.size)) for one in images]
    same = [i for i, side in enumerate(longer) if (side - 32) % 4 != 3]
    assert len(same) > len(images) // 2
    with torch.no_grad():
        close(model.eval()(pixel_values=pixels).logits.numpy()[same], stored.logits[same])


def test_safetensors_is_what_is_stored(store, tmp_path):
    """Also of a model that transformers has no classifier for."""
    backbone = write_text_model(tmp_path / "model", "bert")
    checkpoint = start_of(
        store, dataset="sentences", backbone=backbone, inputs=penult.Texts(max_tokens=9, pooling="mean")
    )
    with pytest.raises(penult.InvalidRequest, match="format='safetensors'"):
        store.checkpoints.export(checkpoint, tmp_path / "out")
    with pytest.raises(penult.InvalidRequest, match="is one of transformers"):
        store.checkpoints.export(checkpoint, tmp_path / "out", format="timm")
    path = store.checkpoints.export(checkpoint, tmp_path / "out", format="safetensors")
    root = Path(store.info().root)
    stored = root / "checkpoints" / checkpoint.digest
    for name in ("model.safetensors", *read_manifest(root, checkpoint.digest).files):
        assert (path / name).read_bytes() == (stored / name).read_bytes()
    about = json.loads((path / "penult.json").read_text())
    assert about["weights_digest"] == read_manifest(root, checkpoint.digest).weights_digest
    written = json.loads((stored / "manifest.json").read_text())
    assert about["stored_manifest"] == {name: value for name, value in written.items() if name != "content_sha256"}
    assert about["preprocessing"]["max_tokens"] == 9


@pytest.fixture(scope="module")
def checkpoint(store) -> penult.Checkpoint:
    return start_of(store, dataset="photographs", backbone="test_resnet", inputs=penult.Images(size=24))


def test_what_is_in_the_way_stays(store, checkpoint, tmp_path):
    export = store.checkpoints.export
    (tmp_path / "file").write_text("mine")
    with pytest.raises(penult.InvalidRequest, match="no directory"):
        export(checkpoint, tmp_path / "file")
    mine = tmp_path / "mine"
    mine.mkdir()
    empty = export(checkpoint, mine)
    assert (empty / "model.safetensors").is_file()
    with pytest.raises(penult.InvalidRequest, match="overwrite=True"):
        export(checkpoint, mine)
    (mine / "extra").write_text("left of the earlier one")
    assert export(checkpoint, mine, overwrite=True, format="safetensors") == mine
    assert not (mine / "extra").exists()
    assert not (mine / "config.json").exists()
    (mine / "penult.json").unlink()
    with pytest.raises(penult.InvalidRequest, match="no earlier export"):
        export(checkpoint, mine, overwrite=True)
    with pytest.raises(penult.InvalidRequest, match="nothing can be written"):
        export(checkpoint, tmp_path / "file" / "below")
    with pytest.raises(penult.InvalidRequest, match="format must be one of"):
        export(checkpoint, tmp_path / "new", format="onnx")
    with pytest.raises(penult.NotFound):
        export("0" * 64, tmp_path / "new")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "mine"]


def test_heads_that_do_not_fit_are_refused(store, checkpoint, tmp_path):
    def refused(head, match: str) -> None:
        with pytest.raises(penult.InvalidRequest, match=match):
            store.checkpoints.export(checkpoint, tmp_path / "out", head=head)
        assert not list(tmp_path.iterdir())

    weight, bias = np.ones((2, checkpoint.n_features)), np.zeros(2)
    refused(penult.Head(weight[:, 1:], bias), "has the shape")
    refused(penult.Head(weight, bias, classes=("cat", "dog")), "same names")
    refused(penult.Head(weight, bias, checkpoint="a" * 64), "belongs to the features of checkpoint aaaa")
    refused(penult.Head(weight * np.nan, bias), "finite")
    refused(penult.Head(weight * 1e300, bias), "finite")
    refused((weight, bias), "a Refit, its name or digest, or a Head")
    uploaded = store.features.upload(np.eye(4, 3, dtype=np.float32), [0, 1, 0, 1])
    refused(store.refit(uploaded, l2=1.0), "uploaded features")


@pytest.fixture(scope="module")
def of_texts(store, tmp_path_factory) -> penult.Checkpoint:
    backbone = write_text_model(tmp_path_factory.mktemp("distilbert") / "model", "distilbert")
    return start_of(store, dataset="sentences", backbone=backbone, inputs=penult.Texts(max_tokens=9))


@pytest.mark.parametrize("damaged", ["model.safetensors", "tokenizer.json", "manifest.json"])
def test_nothing_is_left_of_a_damaged_checkpoint(store, of_texts, tmp_path, damaged):
    path = Path(store.info().root) / "checkpoints" / of_texts.digest / damaged
    whole = path.read_bytes()
    out = tmp_path / "exports"
    out.mkdir()
    try:
        for changed in (
            whole[:-1] + bytes([whole[-1] ^ 1]),
            whole[: len(whole) // 2],
            whole[:7] + bytes([whole[7] ^ 255]) + whole[8:],
            b"",
        ):
            path.write_bytes(changed)
            with pytest.raises(penult.StoreCorrupt, match=damaged):
                store.checkpoints.export(of_texts, out / "one")
            assert not list(out.iterdir())
        path.unlink()
        with pytest.raises(penult.StoreCorrupt, match=damaged):
            store.checkpoints.export(of_texts, out / "one")
    finally:
        path.write_bytes(whole)
    assert store.checkpoints.export(of_texts, out / "one").is_dir()
