"""Runs that start from checkpoints and refits, asked of a real server."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import penult
from penult import Compute, Images, Texts
from penult_proto.errors import ErrorKind

RECIPE = {"dataset": "shapes", "backbone": "test_resnet", "pretrained": False}


@pytest.fixture(scope="module")
def store(client, table) -> penult.Client:
    client.datasets.register("shapes", table)
    client.datasets.register("also", table)
    return client


@pytest.fixture(scope="module")
def first(store) -> penult.Checkpoint:
    """A trained checkpoint that reads images otherwise than they are."""
    run = store.finetune(**RECIPE, epochs=1, batch_size=8, inputs=Images(size=20, resize=24)).wait()
    return run.checkpoints[-1]


@pytest.fixture(scope="module")
def sets(store, first) -> dict[str, penult.FeatureSet]:
    return store.extract(first).wait()


@pytest.fixture(scope="module")
def refit(store, sets) -> penult.Refit:
    """On standardised features, its rows in the order of the classes."""
    return store.refit(sets["val"], preset="dfr_l2", standardize=True, evaluate={"test": sets["test"]})


def test_a_checkpoint_is_the_start(store, first):
    run = store.finetune(dataset="shapes", start=first, epochs=0).wait()
    assert run.checkpoints[0].digest == first.digest
    assert (run.spec.start, run.spec.backbone, run.spec.pretrained) == (first.digest, "test_resnet", None)
    assert (run.spec.inputs, run.spec.head) == (Images(size=20, resize=24), "keep")
    assert store.runs.manifest(run).weights == f"checkpoint {first.digest}"
    # However it is named, it is the same work; so is what the run says that it was.
    for same in (
        {"start": first.digest},
        {"start": first.digest[:12]},
        {"start": first, "head": "keep"},
        {"start": first, "backbone": "test_resnet", "pretrained": False, "inputs": Images(size=20, resize=24)},
        {name: value for name, value in run.spec.arguments().items() if name != "dataset"},
    ):
        assert store.finetune(**({"dataset": "shapes", "epochs": 0} | same)).wait().id == run.id
    other = store.finetune(dataset="shapes", start=first, epochs=0, inputs=Images(resize=22)).wait()
    assert other.id != run.id


def test_a_refit_is_the_start(store, first, sets, refit):
    """Features of the new checkpoint under its own head score as the refit did, exactly."""
    run = store.finetune(dataset="shapes", start=refit, epochs=0).wait()
    assert run.spec.start == refit.digest
    assert store.runs.manifest(run).weights == f"refit {refit.digest}"
    (checkpoint,) = run.checkpoints
    assert checkpoint.digest != first.digest
    again = store.extract(checkpoint, splits=["test"]).wait()["test"]
    old, new = store.features.read(sets["test"]), store.features.read(again)
    np.testing.assert_array_equal(old.features, new.features)
    np.testing.assert_allclose(new.logits, refit.head.logits(old.features), rtol=0, atol=1e-4)
    own = store.evaluate(checkpoint, again)
    assert own.correct.tolist() == refit.metrics["test"].correct.tolist()
    assert own.worst_group_accuracy == refit.metrics["test"].worst_group_accuracy
    assert store.finetune(dataset="shapes", start=refit.digest[:16], epochs=0).wait().id == run.id
    assert store.finetune(**run.spec.arguments()).wait().id == run.id
    started = store.finetune(dataset="shapes", start=first, epochs=0).wait()
    assert started.id != run.id


def test_one_head_for_several_seeds(store, refit):
    """Linear probing, then finetuning: the seeds share the first checkpoint, bit for bit."""
    jobs = store.finetunes(seeds=range(2), dataset="shapes", start=refit, epochs=1, batch_size=8, evaluate=["test"])
    runs = jobs.wait()
    assert len({run.checkpoints[0].digest for run in runs}) == 1
    assert len({run.checkpoints[1].digest for run in runs}) == 2


def test_two_processes_start_alike(store, refit):
    recipe = {"dataset": "shapes", "start": refit, "epochs": 1, "batch_size": 8, "evaluate": ["test"]}
    one, two = (store.finetune(**recipe, compute=Compute(processes=processes)).wait() for processes in (1, 2))
    assert one.checkpoints[0].digest == two.checkpoints[0].digest
    assert one.checkpoints[1].digest != one.checkpoints[0].digest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backbone": "test_vit"}, "start= already says backbone: 'test_resnet', and 'test_vit' was given"),
        ({"weights": "/weights.safetensors"}, "start= already says weights: "),
        ({"inputs": Texts(pooling="mean")}, "goes with a dataset of texts"),
        ({"inputs": Texts(max_tokens=5)}, "goes with a dataset of texts"),
        ({"inputs": Images(resize=12)}, "must be 0 or at least their size"),
        ({"start": None, "backbone": None}, "backbone=, the model whose weights are trained, or start="),
        ({"start": "nosuchdigest"}, "neither a checkpoint nor a refit"),
        ({"start": 3}, "a Checkpoint, a Refit, or the digest or the name of one"),
        ({"start": None, "backbone": "test_resnet", "head": "new"}, "head has no effect"),
    ],
)
def test_contradictions_are_refused(store, first, change, said):
    with pytest.raises((penult.InvalidRequest, penult.NotFound), match=said):
        store.finetune(**({"dataset": "shapes", "start": first, "epochs": 0} | change))


def test_random_weights_are_no_start(store, refit):
    """`pretrained` is accepted where it is what the start's own run said; this one's began with a refit."""
    checkpoint = store.finetune(dataset="shapes", start=refit, epochs=0).wait().checkpoints[0]
    with pytest.raises(penult.InvalidRequest, match="already says pretrained: True, and False was given"):
        store.finetune(dataset="shapes", start=checkpoint, pretrained=False, epochs=0)


def test_other_classes(store, first, refit):
    with pytest.raises(penult.InvalidRequest, match="head='new' draws a fresh one") as raised:
        store.finetune(dataset="footwear", start=first, epochs=0)
    assert raised.value.kind == ErrorKind.OTHER_CLASSES
    with pytest.raises(penult.InvalidRequest, match="start from its checkpoint"):
        store.finetune(dataset="footwear", start=refit, epochs=0)
    with pytest.raises(penult.InvalidRequest, match="whose head would not be read"):
        store.finetune(dataset="shapes", start=refit, head="new", epochs=0)


def test_a_refit_of_uploads_is_no_start(store):
    uploaded = store.features.upload(np.eye(4, 3, dtype=np.float32), [0, 1, 0, 1])
    refit = store.refit(uploaded, l2=1.0)
    for start in (refit, refit.digest):
        with pytest.raises(penult.InvalidRequest, match="uploaded features"):
            store.finetune(dataset="shapes", start=start)


@pytest.mark.parametrize("file", ["model.safetensors", "manifest.json", ""])
def test_a_damaged_start_is_refused_at_once(store, file):
    """Also where it was whole when it was last looked at; and one that is gone."""
    start = store.finetune(**RECIPE, epochs=0, seed=40 + len(file)).wait().checkpoints[0]
    store.finetune(dataset="shapes", start=start, epochs=0).wait()
    directory = Path(store.info().root) / "checkpoints" / start.digest
    n_jobs = len(store.jobs.list())
    if file:
        content = bytearray((directory / file).read_bytes())
        content[len(content) // 2] ^= 255
        (directory / file).write_bytes(content)
    else:
        shutil.rmtree(directory)
    with pytest.raises((penult.StoreCorrupt, penult.NotFound)):
        store.finetune(dataset="shapes", start=start, epochs=1)
    assert len(store.jobs.list()) == n_jobs
