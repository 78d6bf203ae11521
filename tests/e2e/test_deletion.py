"""Deleting: what goes, what stays, what stands in the way, and that nothing is left behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_crashes import events_until

import penult
from penult.cli.main import main

ARRAYS = {
    "features": np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32),
    "y": np.repeat([0, 1], 150),
    "a": np.tile([0, 1], 150),
}


def files(root: Path) -> set[str]:
    """Files and directories of a store, without those that SQLite makes and removes as it likes."""
    found = {str(path.relative_to(root)) for path in root.rglob("*")}
    return {name for name in found if not name.startswith("penult.db-")}


def size(root: Path, kind: str, digest: str) -> int:
    return sum(path.stat().st_size for path in (root / kind / digest).rglob("*") if path.is_file())


def which(things) -> list[tuple[str, str]]:
    return [(thing.kind, thing.id) for thing in things]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def client(root, table):
    with penult.local(root) as client:
        client.datasets.register("shapes", table)
        yield client


def start(client, tiny, **options) -> penult.Run:
    return client.finetune(dataset="shapes", **tiny | {"epochs": 1, "evaluate": ["val"]} | options).wait()


def test_a_run_takes_its_own_checkpoints_with_it_and_leaves_shared_ones(client, root, tiny):
    # Equal seeds start from the same weights.
    first, second = start(client, tiny), start(client, tiny, optimizer=penult.AdamW(learning_rate=0.1))
    begin, end = (one.digest for one in first.checkpoints)
    assert second.checkpoints[0].digest == begin
    said = client.runs.delete(first, dry_run=True)
    assert said.dry_run
    assert said.is_possible
    assert which(said.goes) == [("run", first.id), ("checkpoint", end)]
    assert said.goes[1].bytes == size(root, "checkpoints", end)
    assert which(said.stays) == [("checkpoint", begin), ("job", first.id)]
    assert f"run {second.id} has stored it, too" in said.stays[0].reason
    assert client.runs.get(first.id).id == first.id

    done = client.runs.delete(first)
    assert (done.dry_run, done.goes, done.stays) == (False, said.goes, said.stays)
    with pytest.raises(penult.NotFound):
        client.runs.get(first.id)
    with pytest.raises(penult.NotFound):
        client.checkpoints.get(end)
    assert not (root / "checkpoints" / end).exists()
    assert not (root / "runs" / first.id).exists()
    # What was stored by the first run belongs to the second from now on.
    assert client.checkpoints.get(begin).run_id == second.id
    job = client.jobs.get(first.id)
    assert (job.state, job.deleted) == ("succeeded", (first.id,))
    with pytest.raises(penult.NotFound, match=f"what job {first.id} made was deleted: {first.id}"):
        _ = job.result

    again = client.finetune(dataset="shapes", **tiny | {"epochs": 1, "evaluate": ["val"]})
    assert again.id != first.id
    run = again.wait()
    assert [one.digest for one in run.checkpoints] == [begin, end]
    assert which(client.runs.delete(second).stays)[0] == ("checkpoint", begin)
    assert set(which(client.runs.delete(run).goes)) == {("run", run.id), ("checkpoint", begin), ("checkpoint", end)}
    assert not client.checkpoints.list()


def test_dependents_are_named_and_go_only_on_request(client, root, tiny):
    run = start(client, tiny)
    begin, end = run.checkpoints
    sets = client.extract(end, splits=["val"]).wait()
    refit = client.refit(sets["val"], preset="erm")
    spectra = client.spectra(sets["val"], replicates=0)
    # Of another seed: it has no checkpoint in common with the first.
    again = start(client, tiny, seed=7, repeat=penult.RepeatErrors(begin, times=2))
    of_again = client.extract(again.checkpoints[-1], splits=["test"]).wait()["test"]
    both = {("features", sets["val"].digest), ("run", again.id)}

    said = client.runs.delete(run, dry_run=True)
    assert not said.is_possible
    assert both <= set(which(said.in_the_way))
    assert ("features", of_again.digest) in which(said.in_the_way)
    with pytest.raises(penult.PreconditionFailed) as caught:
        client.runs.delete(run)
    assert caught.value.kind == "in_use"
    for one in (sets["val"].digest, again.id):
        assert one[:12] in str(caught.value)
    assert f"{size(root, 'features', sets['val'].digest):,} bytes" in str(caught.value)
    assert "dependents=True" in str(caught.value)
    assert client.runs.get(run).checkpoints == run.checkpoints
    # A checkpoint alone: the same dependents, but for what is about the other one.
    alone = client.checkpoints.delete(end, dry_run=True)
    assert which(alone.in_the_way) == [("features", sets["val"].digest)]
    assert ("run", run.id) in which(alone.stays)

    done = client.runs.delete(run, dependents=True)
    assert {("run", run.id), ("checkpoint", end.digest), *both} <= set(which(done.goes))
    assert not done.in_the_way
    assert {("result", refit.digest), ("result", spectra.digest)} <= set(which(done.stays))
    assert not client.runs.list()
    assert not client.features.list()
    assert not client.checkpoints.list()
    assert not list((root / "features").iterdir())
    assert not list((root / "checkpoints").iterdir())

    # The answer is still stored; the set that it is about is not pretended to be there.
    with pytest.raises(penult.NotFound) as caught:
        client.refit(sets["val"], preset="erm")
    assert caught.value.kind == "unknown_feature_set"
    same = start(client, tiny)
    assert [one.digest for one in same.checkpoints] == [one.digest for one in run.checkpoints]
    remade = client.extract(same.checkpoints[-1], splits=["val"])
    assert remade.wait()["val"].digest == sets["val"].digest
    assert client.refit(sets["val"], preset="erm").reused
    gone = client.results.delete(refit)
    assert which(gone.goes) == [("result", refit.digest)]
    assert gone.bytes > 0
    assert not client.refit(sets["val"], preset="erm").reused
    with pytest.raises(penult.NotFound):
        client.results.delete("0" * 64)
    client.runs.delete(same, dependents=True)


def test_runs_depend_on_what_they_started_from(client, tiny):
    run = start(client, tiny, seed=21)
    end = run.checkpoints[-1]
    sets = client.extract(end, splits=["val"]).wait()
    refit = client.refit(sets["val"], preset="erm", name="found")
    other = {"dataset": "shapes", "epochs": 1, "batch_size": 8, "evaluate": ["val"], "optimizer": tiny["optimizer"]}
    of_checkpoint = client.finetune(start=end, **other).wait()
    of_refit = client.finetune(start=refit, **other).wait()
    both = {("run", of_checkpoint.id), ("run", of_refit.id)}
    in_the_way = which(client.checkpoints.delete(end, dry_run=True).in_the_way)
    assert {("features", sets["val"].digest), *both} == {one for one in in_the_way if one[0] != "checkpoint"}
    with pytest.raises(penult.PreconditionFailed) as caught:
        client.results.delete("found")
    assert caught.value.kind == "in_use"
    assert of_refit.id in str(caught.value)
    assert of_checkpoint.id not in str(caught.value)
    done = client.results.delete("found", dependents=True)
    assert which(done.goes)[:2] == [("result", refit.digest), ("run", of_refit.id)]
    for unknown in ("found", refit.digest):
        with pytest.raises(penult.NotFound):
            client.results.get(unknown)
    assert not client.results.list(name="found")
    assert {one.id for one in client.runs.list()} >= {run.id, of_checkpoint.id}
    # The run that starts from it, with its head, has stored the same weights as its own beginning.
    assert ("checkpoint", end.digest) in which(client.runs.delete(run).stays)
    assert client.checkpoints.get(end).run_id == of_checkpoint.id
    gone = client.checkpoints.delete(end, dependents=True)
    assert {("run", of_checkpoint.id), ("features", sets["val"].digest)} <= set(which(gone.goes))


def test_a_name_goes_with_its_thing(client, root, tiny, capsys):
    run = client.finetune(dataset="shapes", **tiny | {"epochs": 1, "evaluate": ["val"]}, seed=22, name="mine").wait()
    assert client.runs.delete("mine", dry_run=True).goes[0].names == ("mine",)
    done = client.runs.delete("mine")
    assert which(done.goes)[0] == ("run", run.id)
    with pytest.raises(penult.NotFound):
        client.runs.get("mine")
    # The record of its job has the same name, and stays.
    assert client.jobs.get("mine").deleted == (run.id,)
    (listed,) = client.jobs.list(name="mine")
    assert listed.deleted == (run.id,)
    assert main(["jobs", "show", "mine", "--root", str(root)]) == 0
    assert f"what it made was deleted: {run.id}" in capsys.readouterr().out
    assert main(["jobs", "--root", str(root), "--json"]) == 0
    assert [run.id] in [one["deleted"] for one in json.loads(capsys.readouterr().out)]
    client.jobs.delete("mine")
    with pytest.raises(penult.NotFound):
        client.jobs.get("mine")


def test_a_checkpoint_alone_leaves_its_runs(client, tiny):
    run = start(client, tiny, epochs=2)
    middle = run.checkpoints[1]
    done = client.checkpoints.delete(middle.digest[:10])
    assert which(done.goes) == [("checkpoint", middle.digest)]
    assert which(done.stays) == [("run", run.id)]
    left = client.runs.get(run)
    assert [one.digest for one in left.checkpoints] == [run.checkpoints[0].digest, run.checkpoints[2].digest]
    assert len(left.history) == len(run.history)
    # The run as it was asked for is not there any more: it is made again.
    again = client.finetune(**run.spec.arguments()).wait()
    assert again.id != run.id
    assert [one.digest for one in again.checkpoints] == [one.digest for one in run.checkpoints]
    client.runs.delete(run)
    client.runs.delete(again)


def test_a_feature_set_with_two_names(client, root):
    one = client.features.upload(**ARRAYS, name="mine")
    two = client.features.upload(**ARRAYS, name="yours")
    assert one.digest == two.digest
    done = client.features.delete("mine")
    assert (done.goes[0].names, done.bytes) == (("mine",), 0)
    assert done.stays[0].names == ("yours",)
    assert client.features.get("yours").names == ("yours",)
    with pytest.raises(penult.NotFound):
        client.features.get("mine")
    stored = size(root, "features", one.digest)
    last = client.features.delete("yours")
    assert last.bytes == stored > ARRAYS["features"].nbytes
    assert not client.features.list()
    assert not (root / "features" / one.digest).exists()
    with pytest.raises(penult.NotFound):
        client.features.delete("yours")


def test_a_dataset_and_its_other_name(client, root, table, tiny):
    other = client.datasets.register("forms", table)
    done = client.datasets.delete("forms")
    assert done.stays[0].names == ("shapes",)
    assert (root / "datasets" / other.digest).is_dir()
    with pytest.raises(penult.NotFound):
        client.datasets.get("forms")
    run = start(client, tiny)
    features = client.extract(run.checkpoints[0], splits=["val"]).wait()["val"]
    with pytest.raises(penult.PreconditionFailed) as caught:
        client.datasets.delete("shapes")
    assert run.id in str(caught.value)
    gone = client.datasets.delete("shapes", dependents=True)
    assert which(gone.goes)[0] == ("dataset", "shapes")
    assert {("run", run.id), ("features", features.digest)} <= set(which(gone.goes))
    assert not list((root / "datasets").iterdir())
    assert table.exists()
    with pytest.raises(penult.NotFound):
        client.datasets.delete("shapes")
    with pytest.raises(penult.InvalidRequest, match="part of the installation"):
        client.datasets.delete("footwear")
    client.datasets.register("shapes", table)


def test_every_kind_leaves_nothing_behind(client, root, table, tiny, tmp_path):
    text = tmp_path / "texts.csv"
    rows = [f"{split},{i % 2},{(i // 2) % 2},word {i}" for split in ("train", "val") for i in range(12)]
    text.write_text("split,y,a,text\n" + "\n".join(rows) + "\n")
    start(client, tiny)  # whatever a first run makes once and for all
    before = files(root)

    client.features.delete(client.features.upload(**ARRAYS, name="mine"))
    assert files(root) == before
    run = start(client, tiny, seed=5)
    client.extract(run.checkpoints[-1]).wait()
    jobs = client.jobs.list()[:2]
    client.runs.delete(run, dependents=True)
    for job in jobs:
        client.jobs.delete(job)
    assert files(root) == before
    client.datasets.register("words", text)
    register = client.jobs.list(limit=1)[0]
    client.datasets.delete("words")
    client.jobs.delete(register)
    assert files(root) == before


def test_what_a_job_needs_or_makes_is_refused(client, tiny):
    run = start(client, tiny)
    long = client.finetune(dataset="shapes", **tiny | {"epochs": 5000, "seed": 9})
    waiting = client.extract(run.checkpoints[1])
    events_until(long, "checkpoint")
    try:
        for refused, job in (
            (lambda: client.runs.delete(run), waiting),
            (lambda: client.checkpoints.delete(run.checkpoints[1]), waiting),
            (lambda: client.datasets.delete("shapes", dependents=True), long),
            (lambda: client.jobs.delete(waiting), waiting),
            (lambda: client.jobs.delete(long), long),
        ):
            with pytest.raises(penult.PreconditionFailed) as caught:
                refused()
            assert caught.value.kind == "in_use"
            assert job.id in caught.value.metadata["jobs"]
        assert client.runs.get(run).checkpoints == run.checkpoints
    finally:
        waiting.cancel()
        long.cancel()
        for job in (waiting, long):
            with pytest.raises(penult.Cancelled):
                job.wait(timeout=60)
    client.jobs.delete(waiting)
    with pytest.raises(penult.NotFound):
        client.jobs.get(waiting.id)
    # A finetuning that was cancelled has no run; what it left goes with its job.
    with pytest.raises(penult.NotFound):
        client.runs.delete(long.id)
    left = [one.digest for one in client.checkpoints.list() if one.run_id == long.id]
    assert left
    done = client.jobs.delete(long)
    assert which(done.goes) == [("job", long.id), *(("checkpoint", digest) for digest in sorted(left))]
    assert not {one.run_id for one in client.checkpoints.list()} & {long.id}
    client.runs.delete(run)


def test_the_job_of_a_run_may_go_alone(client, tiny):
    run = start(client, tiny, seed=3)
    done = client.jobs.delete(run.id)
    assert which(done.stays) == [("run", run.id)]
    assert client.runs.get(run).checkpoints == run.checkpoints
    assert client.runs.manifest(run).spec == run.spec
    again = start(client, tiny, seed=3)
    assert again.id != run.id
    assert [one.digest for one in again.checkpoints] == [one.digest for one in run.checkpoints]
