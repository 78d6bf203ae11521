"""Every call takes a thing as its record, its name, its digest or the start of that, and means the same by all four."""

import numpy as np
import pytest

import penult

FORMS = ("record", "name", "digest", "start of digest")


@pytest.fixture(scope="module")
def things(client, table, tiny):
    """One named thing of every sort, in all four forms."""
    client.datasets.register("shapes", table)
    job = client.finetune(dataset="shapes", epochs=1, **tiny, name="my-run")
    run = job.wait()
    end = client.checkpoints.describe(run.checkpoints[-1], name="my-end")
    sets = client.extract(end, splits=["train", "val"]).wait()
    val = client.features.describe(sets["val"], name="my-val")
    refit = client.refit(val, l2=0.1, name="my-refit", evaluate={"val": val})
    plain = client.features.upload(np.eye(6, refit.head.weight.shape[1], dtype=np.float32), np.arange(6) % 2)
    records = {"run": run, "job": job, "checkpoint": end, "features": val, "refit": refit}
    found = {
        sort: dict(zip(FORMS, (one, f"my-{named}", id, id[:8]), strict=True))
        for (sort, one), named, id in zip(
            records.items(),
            ("run", "run", "end", "val", "refit"),
            (run.id, run.id, end.digest, val.digest, refit.digest),
            strict=True,
        )
    }
    return found | {"sets": sets, "plain": plain}


def same_head(head):
    return (head.weight.tobytes(), head.bias.tobytes())


CALLS = {
    "evaluate of a refit": ("refit", lambda client, one, t, _: client.evaluate(one, t["val"]).loss),
    "evaluate of a checkpoint": ("checkpoint", lambda client, one, t, _: client.evaluate(one, t["val"]).loss),
    "evaluate on": ("features", lambda client, one, t, _: client.evaluate(t["refit"], one).loss),
    "evaluate with train": (
        "features",
        lambda client, one, t, _: client.evaluate(t["refit"], t["val"], train=one).loss,
    ),
    "predictions of a refit": (
        "refit",
        lambda client, one, t, _: client.predictions(t["val"], one).probabilities.tobytes(),
    ),
    "predictions of a checkpoint": (
        "checkpoint",
        lambda client, one, t, _: client.predictions(t["val"], one).probabilities.tobytes(),
    ),
    "predictions for": ("features", lambda client, one, t, _: client.predictions(one).probabilities.tobytes()),
    "interpolate first": (
        "refit",
        lambda client, one, t, _: client.interpolate(one, t["checkpoint"], t["val"], steps=2).metrics[0].loss,
    ),
    "interpolate second": (
        "checkpoint",
        lambda client, one, t, _: client.interpolate(t["refit"], one, t["val"], steps=2).metrics[1].loss,
    ),
    "soup": ("refit", lambda client, one, t, _: same_head(client.soup([one, t["refit"]], [1, 3]))),
    "refit": ("features", lambda client, one, t, _: client.refit(one, l2=0.2).digest),
    "refit with evaluate": ("features", lambda client, one, t, _: client.refit(t["val"], evaluate={"own": one}).digest),
    "refit with center": ("refit", lambda client, one, t, _: client.refit(t["val"], l2=0.3, center=one).digest),
    "refit with standardize": (
        "features",
        lambda client, one, t, _: client.refit(t["train"], l2=0.2, standardize=one).digest,
    ),
    "refit with select": (
        "features",
        lambda client, one, t, _: client.refit(t["train"], grid={"l2": [0.1, 0.2]}, select={"on": one}).digest,
    ),
    "refit with a start": (
        "refit",
        lambda client, one, t, _: (
            client.refit(t["val"], path={"optimizer": "gd", "learning_rate": 0.1, "steps": 2, "start": one}).digest
        ),
    ),
    "spectra": ("features", lambda client, one, t, _: client.spectra(one, replicates=0, top_k=2).digest),
    "spectra of a checkpoint": (
        "checkpoint",
        lambda client, one, t, _: client.spectra(one, split="val", replicates=0, top_k=2).digest,
    ),
    "spectra of the rows of a run": (
        "run",
        lambda client, one, t, _: client.spectra(t["train"], rows=one, replicates=0, top_k=2).digest,
    ),
    "finetune from a checkpoint": (
        "checkpoint",
        lambda client, one, t, _: client.finetune(dataset="shapes", start=one, epochs=0).id,
    ),
    "finetune from a refit": (
        "refit",
        lambda client, one, t, _: client.finetune(dataset="shapes", start=one, epochs=0).id,
    ),
    "finetune with repeated errors": (
        "checkpoint",
        lambda client, one, t, _: (
            client.finetune(
                dataset="shapes",
                backbone="test_resnet",
                pretrained=False,
                epochs=1,
                repeat=penult.RepeatErrors(one, times=2),
            ).id
        ),
    ),
    "extract": ("checkpoint", lambda client, one, t, _: client.extract(one, splits=["val"]).id),
    "runs.get": ("run", lambda client, one, t, _: client.runs.get(one).id),
    "runs.manifest": ("run", lambda client, one, t, _: client.runs.manifest(one).run_id),
    "runs.table": ("run", lambda client, one, t, _: client.runs.table([one]).to_frame().to_csv()),
    "runs.describe": ("run", lambda client, one, t, _: client.runs.describe(one, note="n").id),
    "runs.delete": ("run", lambda client, one, t, _: str(client.runs.delete(one, dry_run=True))),
    "jobs.get": ("job", lambda client, one, t, _: client.jobs.get(one).id),
    "checkpoints.get": ("checkpoint", lambda client, one, t, _: client.checkpoints.get(one).digest),
    "checkpoints.list": ("run", lambda client, one, t, _: client.checkpoints.list(run=one)),
    "checkpoints.export": (
        "checkpoint",
        lambda client, one, t, path: (
            client.checkpoints.export(one, path, format="safetensors") / "model.safetensors"
        ).read_bytes(),
    ),
    "checkpoints.export with a head": (
        "refit",
        lambda client, one, t, path: (
            client.checkpoints.export(t["checkpoint"], path, format="timm", head=one) / "model.safetensors"
        ).read_bytes(),
    ),
    "features.get": ("features", lambda client, one, t, _: client.features.get(one).digest),
    "features.list": ("checkpoint", lambda client, one, t, _: client.features.list(checkpoint=one)),
    "features.read": ("features", lambda client, one, t, _: client.features.read(one).features.tobytes()),
    "features.export": (
        "features",
        lambda client, one, t, path: client.features.export(one, path / "f.safetensors", "safetensors").read_bytes(),
    ),
    "features.upload with a head": (
        "refit",
        lambda client, one, t, _: (
            client.features.upload(
                np.ones((4, t["refit"].head.weight.shape[1]), np.float32),
                [0, 1, 0, 1],
                classes=["dark", "bright"],
                head=one,
            ).digest
        ),
    ),
    "features.load with a head": (
        "refit",
        lambda client, one, t, path: (
            client.features.load(features_file(path, t), classes=["dark", "bright"], head=one).digest
        ),
    ),
    "results.get": ("refit", lambda client, one, t, _: client.results.get(one).digest),
    "results.list": ("features", lambda client, one, t, _: client.results.list(feature_set=one)),
}
"""What is given, and a call that takes it, which returns what is equal for equal things."""


def features_file(path, t):
    np.savez(path / "own.npz", features=np.ones((4, t["refit"].head.weight.shape[1]), np.float32), y=[0, 1, 0, 1])
    return path / "own.npz"


@pytest.mark.parametrize("call", CALLS)
def test_a_thing_is_taken_in_four_forms(client, things, tmp_path, call):
    sort, ask = CALLS[call]
    known = {one: things[one]["record"] for one in ("checkpoint", "refit")} | things["sets"]
    answers = []
    for form in FORMS:
        place = tmp_path / form
        place.mkdir()
        answers.append(ask(client, things[sort][form], known, place))
    assert all(one == answers[0] for one in answers[1:])


def test_what_nothing_is_called_is_told(client, things):
    for ask in (
        lambda: client.evaluate("nothing", "my-val"),
        lambda: client.predictions("my-val", "nothing"),
        lambda: client.soup(["nothing"]),
        lambda: client.features.upload(np.eye(2, dtype=np.float32), [0, 1], head="nothing"),
    ):
        with pytest.raises(penult.NotFound, match=r"neither a checkpoint nor a refit.*my-end.*my-refit"):
            ask()
    with pytest.raises(penult.NotFound, match=r"'zero', 'stored', 'random', or a stored refit.*no result 'zreo'"):
        client.refit("my-val", l2=1, center="zreo")


def test_a_name_of_both_sorts_is_refused(client, things):
    client.checkpoints.describe("my-end", name="both")
    client.results.describe("my-refit", name="both")
    for ask in (lambda: client.evaluate("both", "my-val"), lambda: client.finetune(dataset="shapes", start="both")):
        with pytest.raises(penult.InvalidRequest, match=r"is both checkpoint [0-9a-f]{12} and refit [0-9a-f]{12}"):
            ask()
    client.checkpoints.describe("both", name="my-end")
    client.results.describe("both", name="my-refit")


def test_a_checkpoint_has_no_head_of_its_own_for_arrays(client, things):
    with pytest.raises(penult.InvalidRequest, match=r"heads\[0\]: a head is .*client.features.read"):
        client.soup(["my-end"])
    with pytest.raises(penult.InvalidRequest, match="head: a head is a Refit, its name or digest, or a Head"):
        client.checkpoints.export("my-end", "/nowhere", head="my-end")
