"""What is exported and imported again is the same model, with the same head, in every format; and says where it was."""

import json
from pathlib import Path

import numpy as np
import pytest
from backbone_directories import write_config, write_decoder, write_text_model

import penult
from penult_server.stores.checkpoints import read_manifest

VIT = {"image_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def client(client_alone):
    """Its datasets have names that other files give, too."""
    return client_alone


@pytest.fixture(scope="module")
def store(client, table, tmp_path_factory) -> penult.Client:
    client.datasets.register("shapes", table)
    rng = np.random.default_rng(1)
    words = ("one", "two", "good", "bad", "words", "other")
    rows = [
        f"{' '.join(rng.choice(words, int(rng.integers(1, 20))))},{('cat', 'a|b')[i % 2]},{i // 2 % 2},"
        f"{('train', 'test')[i // 12]}"
        for i in range(24)
    ]
    sentences = tmp_path_factory.mktemp("sentences") / "table.csv"
    sentences.write_text("\n".join(["text,y,ground,split", *rows]) + "\n")
    client.datasets.register("sentences", sentences)
    return client


def start_of(client: penult.Client, dataset: str, backbone: str, inputs: object) -> penult.Checkpoint:
    """The starting point of a run: random weights."""
    run = client.finetune(dataset=dataset, backbone=backbone, inputs=inputs, pretrained=False, epochs=0, seed=3)
    return run.wait().checkpoints[0]


def and_back(client: penult.Client, checkpoint: penult.Checkpoint, path: Path, *formats: str) -> None:
    """Each format gives back weights, classes and head; features and logits bit for bit."""
    root, dataset = Path(client.info().root), checkpoint.dataset
    stored = client.features.read(client.extract(checkpoint, splits=["test"]).wait()["test"])
    for format in formats:  # all give one checkpoint, which the first is the source of
        directory = client.checkpoints.export(checkpoint, path / f"as-{format}", format=format)
        found = client.checkpoints.import_(directory).wait()
        assert (found.head, found.classes, found.run_id) == ("kept", checkpoint.classes, "")
        assert found.source.startswith("import as-")
        own, other = (read_manifest(root, one.digest) for one in (found, checkpoint))
        assert own.weights_digest == other.weights_digest
        # The tokenizer of an export says where it cuts, which is other bytes for the same inputs.
        if format != "transformers" or other.image_size:
            assert found.model == checkpoint.model
        assert found.digest != checkpoint.digest  # of another origin
        again = client.features.read(client.extract(found, dataset=dataset, splits=["test"]).wait()["test"])
        np.testing.assert_array_equal(again.features, stored.features, strict=True)
        np.testing.assert_array_equal(again.logits, stored.logits, strict=True)


# A plain network with a crop, one with position embeddings for one size, one whose head is a 1 x 1 convolution.
@pytest.mark.parametrize(
    ("backbone", "size", "resize"),
    [
        ("test_resnet", 12, 15),
        pytest.param("test_vit", 32, 0, marks=pytest.mark.slow),
        pytest.param("dla46x_c", 32, 40, marks=pytest.mark.slow),
    ],
)
def test_timm(store, tmp_path, backbone, size, resize):
    checkpoint = start_of(store, "shapes", backbone, penult.Images(size=size, resize=resize))
    and_back(store, checkpoint, tmp_path, "timm", "safetensors")


def test_images_of_transformers(store, tmp_path):
    backbone = write_config(tmp_path / "model", "vit", intermediate_size=32, **VIT)
    checkpoint = start_of(store, "shapes", backbone, penult.Images(size=16, resize=20))
    and_back(store, checkpoint, tmp_path, "transformers", "safetensors")


@pytest.mark.parametrize("kind", ["bert", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_texts(store, tmp_path, kind):
    write = write_decoder if kind == "gpt2" else write_text_model
    checkpoint = start_of(store, "sentences", write(tmp_path / "model", kind), penult.Texts(max_tokens=9))
    and_back(store, checkpoint, tmp_path, "transformers", "safetensors")


def test_a_head_over_the_mean_of_the_tokens(store, tmp_path):
    backbone = write_text_model(tmp_path / "model", "bert")
    checkpoint = start_of(store, "sentences", backbone, penult.Texts(max_tokens=9, pooling="mean"))
    and_back(store, checkpoint, tmp_path, "safetensors")


def test_a_refit_goes_out_and_comes_back_with_a_name(store, tmp_path):
    """Its head scores as the refit did; an export of what came back says where that was from."""
    checkpoint = start_of(store, "shapes", "test_resnet", penult.Images(size=16))
    sets = store.extract(checkpoint).wait()
    refit = store.refit(sets["val"], preset="dfr_l2", evaluate={"test": sets["test"]})
    directory = store.checkpoints.export(checkpoint, tmp_path / "birds", head=refit)
    job = store.checkpoints.import_(directory, dataset="shapes", name="refitted", tags=["out"], note="of a refit")
    found = job.wait()
    assert (found.name, found.tags, found.note) == ("refitted", ("out",), "of a refit")
    assert found.model != checkpoint.model  # another head is other weights
    assert store.checkpoints.get("refitted") == store.jobs.get(job.id).result == found
    assert [one.digest for one in store.checkpoints.list(tag="out")] == [found.digest]
    assert [one.id for one in store.jobs.list(kind="import_checkpoint", name="refitted")] == [job.id]
    scored = store.evaluate(found, store.extract(found, splits=["test"]).wait()["test"])
    assert scored.group_accuracy.tolist() == refit.metrics["test"].group_accuracy.tolist()

    # A run goes on from it as from any other, with its head.
    begun = store.finetune(start=found, dataset="shapes", epochs=0).wait().checkpoints[0]
    assert (begun.model, begun.head, begun.source) == (found.model, "kept", "run")

    # The name moves to the next import, and the same import again is named once more.
    other = store.checkpoints.import_(directory, name="refitted")
    assert f"that of checkpoint {found.digest[:12]} before" in str(other.notes)
    assert other.wait().digest == store.checkpoints.get("refitted").digest != found.digest
    back = store.checkpoints.import_(directory, dataset="shapes", name="refitted")
    assert (back.id, store.checkpoints.get("refitted").digest) == (job.id, found.digest)

    out = store.checkpoints.export("refitted", tmp_path / "again")
    about = json.loads((out / "penult.json").read_text())
    assert about["checkpoint"]["source"] == found.source
    assert about["checkpoint"]["head"] == "kept"
    card = (out / "README.md").read_text()
    assert "imported from `birds`, trained on `shapes`" in card
    assert "trained elsewhere" in card
    assert found.source in card
    assert "finetune" not in card


def test_what_an_export_says_is_checked(store, tmp_path):
    checkpoint = start_of(store, "shapes", "test_resnet", penult.Images(size=16))
    directory = store.checkpoints.export(checkpoint, tmp_path / "one")
    with pytest.raises(penult.InvalidRequest, match="backbone must be left out"):
        store.checkpoints.import_(directory, backbone="test_resnet").wait()
    sized = store.checkpoints.import_(directory, image_size=24).wait()
    manifest = read_manifest(Path(store.info().root), sized.digest)
    assert (manifest.image_size, manifest.image_resize) == (24, 0)
    (directory / "penult.json").write_text("[" * 100_000)
    with pytest.raises(penult.InvalidRequest, match="not as an export writes it"):
        store.checkpoints.import_(directory).wait()
