"""Published datasets, from their owners' files on disk to evaluations, through a server."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from finetuning_data import tiny_bert
from published_data import (
    IDENTITIES,
    make_celeba,
    make_civilcomments,
    make_multinli,
    make_waterbirds,
)

import penult


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> dict:
    """A BERT of a few thousand random weights."""
    directory = tiny_bert(tmp_path_factory.mktemp("bert"))
    return {"backbone": directory, "pretrained": False, "batch_size": 8, "inputs": penult.Texts(max_tokens=16)}


def test_waterbirds(client, tmp_path, tiny):
    source = make_waterbirds(tmp_path / "waterbird_complete95_forest2water2")
    dataset = client.datasets.register("waterbirds", source, "Sagawa et al. 2020.", layout="waterbirds")
    assert (dataset.modality, dataset.classes) == ("image", ("landbird", "waterbird"))
    assert dataset.notes[0].startswith("train: landbird, land 3, published 3498; landbird, water 3, published 184")
    assert "note: train: landbird, land 3" in repr(dataset)
    assert client.datasets.get("waterbirds") == dataset
    run = client.finetune(dataset="waterbirds", epochs=1, **tiny).wait()
    names = ["landbird, land", "landbird, water", "waterbird, land", "waterbird, water"]
    assert [group.name for group in run.metrics("test").groups] == names
    sets = client.extract(run.checkpoints[-1]).wait()
    assert {split: one.n_examples for split, one in sets.items()} == {"train": 12, "val": 12, "test": 12}
    assert [group.name for group in sets["val"].groups] == names
    assert sets["val"].labels.attribute == "place"
    assert client.evaluate(run.checkpoints[-1], sets["test"]).groups == run.metrics("test").groups


def test_celeba(client, tmp_path):
    dataset = client.datasets.register("celeba", make_celeba(tmp_path / "celeba"), layout="celeba")
    assert [group.name for group in dataset.splits[0].groups] == [
        "not blond, female",
        "not blond, male",
        "blond, female",
        "blond, male",
    ]
    assert [(split.name, split.n_examples) for split in dataset.splits] == [("train", 12), ("val", 12), ("test", 12)]
    with pytest.raises(penult.InvalidRequest, match="columns are named for layout='table' only"):
        client.datasets.register("bald", tmp_path / "celeba", layout="celeba", columns={"y": "Bald"})


def test_multinli_pairs_are_read_as_pairs(client, tmp_path, bert):
    dataset = client.datasets.register("multinli", make_multinli(tmp_path / "multinli"), layout="multinli")
    assert dataset.classes == ("contradiction", "entailment", "neutral")
    assert [len(split.groups) for split in dataset.splits] == [6, 6, 6]
    run = client.finetune(dataset="multinli", epochs=1, **bert).wait()
    sets = client.extract(run.checkpoints[-1], splits=["val"]).wait()
    stored = client.features.read(sets["val"])
    assert stored.features.shape == (18, 16)
    assert [group.name for group in sets["val"].groups][3] == "entailment, negation"
    assert client.evaluate(run.checkpoints[-1], sets["val"]).confusion.shape == (6, 3)


def test_masks_of_civilcomments_reach_every_evaluation(client, tmp_path, bert):
    source = make_civilcomments(tmp_path / "civilcomments")
    dataset = client.datasets.register("civilcomments", source, layout="civilcomments")
    assert [attribute.name for attribute in dataset.attributes] == ["identity", *IDENTITIES]
    assert dataset.masks[:3] == ("male, not toxic", "male, toxic", "female, not toxic")
    val = next(split for split in dataset.splits if split.name == "val")
    run = client.finetune(dataset="civilcomments", epochs=1, **bert).wait()
    assert [(mask.name, mask.count) for mask in run.metrics("val").masks] == list(
        zip(dataset.masks, val.mask_counts, strict=True)
    )
    sets = client.extract(run.checkpoints[-1], splits=["val"]).wait()
    stored = client.features.read(sets["val"])
    assert stored.masks.sum(axis=0).tolist() == list(val.mask_counts)
    right = stored.logits.argmax(axis=1) == stored.y
    metrics = client.evaluate(run.checkpoints[-1], sets["val"])
    assert [mask.correct for mask in metrics.masks] == [int((right & mask).sum()) for mask in stored.masks.T]
    counted = [mask for mask in metrics.masks if mask.count]
    assert metrics.worst_mask_accuracy == min(mask.accuracy for mask in counted)
    assert all(np.isnan(mask.accuracy) for mask in metrics.masks if not mask.count)


def test_a_parquet_file_with_names_of_its_own(client, tmp_path):
    rng = np.random.default_rng(0)
    n = 32
    table = {
        "premise": [f"the {('film', 'book')[i % 2]} number {i}" for i in range(n)],
        "hypothesis": ["very " * (i % 3) + ("good", "bad")[i // 2 % 2] for i in range(n)],
        "label": (np.arange(n) // 2 % 2).astype(np.float64),
        "kind": np.arange(n) % 2,
        "long": rng.random(n) < 0.5,
        "is_film": np.arange(n) % 2 == 0,
        "part": ["train"] * 20 + ["val"] * 12,
    }
    pq.write_table(pa.table(table), tmp_path / "pairs.parquet")
    dataset = client.datasets.register(
        "pairs",
        tmp_path / "pairs.parquet",
        columns={
            "text": ["premise", "hypothesis"],
            "y": "label",
            "split": "part",
            "attributes": ["kind", "long"],
            "masks": "is_film",
        },
    )
    assert (dataset.classes, dataset.masks, dataset.notes) == (("0", "1"), ("is_film",), ())
    assert [(one.name, one.values) for one in dataset.attributes] == [("kind", ("0", "1")), ("long", ("false", "true"))]
    train, val = dataset.splits
    assert [group.count for group in train.groups] == [5, 5, 5, 5]
    assert (train.mask_counts, val.mask_counts) == ((10,), (6,))


def test_requests_that_are_not_right(client, tmp_path):
    with pytest.raises(penult.InvalidRequest, match=r"layout must be one of 'table', 'waterbirds', .*; got 'imagenet'"):
        client.datasets.register("x", tmp_path, layout="imagenet")
    with pytest.raises(penult.InvalidRequest, match="columns has no key 'label'; one of split, y, path, text"):
        client.datasets.register("x", tmp_path, columns={"label": "y"})
    source = make_waterbirds(tmp_path / "waterbirds")
    (source / "064.Ring_billed_Gull/Bird_0002.jpg").unlink()
    with pytest.raises(penult.PreconditionFailed, match=r"row 3 of metadata.csv: .*Bird_0002.jpg' cannot be read"):
        client.datasets.register("x", source, layout="waterbirds")
    with pytest.raises(penult.PreconditionFailed, match=r"there is no .*elsewhere on the server's machine"):
        client.datasets.register("x", tmp_path / "elsewhere", layout="multinli")
    assert "x" not in [dataset.name for dataset in client.datasets.list()]


def test_a_gzipped_table_with_splits_by_number(client, tmp_path):
    lines = [f"word {i},{'00001122'[i]},{i % 2 == 0},{i % 3 == 0}" for i in range(8)]
    table = tmp_path / "numbered.csv.gz"
    table.write_bytes(gzip.compress("\n".join(["text,split,y,third", *lines]).encode()))
    guessed = client.datasets.register("guessed", table)
    assert [(split.name, split.n_examples) for split in guessed.splits] == [("train", 4), ("val", 2), ("test", 2)]
    assert [note.id for note in guessed.notes] == ["splits_guessed"]
    assert (guessed.classes, guessed.attributes[0].values) == (("false", "true"), ("false", "true"))
    said = client.datasets.register("said", table, splits={"train": 0, "val": 1, "test": 2})
    assert (said.digest, said.notes) == (guessed.digest, ())
    merged = client.datasets.register("merged", table, splits={"train": [0, 1], "test": 2})
    assert [(split.name, split.n_examples) for split in merged.splits] == [("train", 6), ("test", 2)]
    with pytest.raises(penult.InvalidRequest, match="splits= names only"):
        client.datasets.register("short", table, splits={"train": 0, "test": 2})
