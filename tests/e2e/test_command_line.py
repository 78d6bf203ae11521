"""The command line against a real server: what it prints is what the client of Python answers."""

import io
import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import penult
from penult.cli.main import main
from penult.cli.printing import json_of
from penult.connecting import looking
from penult.connection.servers import read_record, root_file


class Typed(io.StringIO):
    """What a person types at a terminal."""

    def isatty(self) -> bool:
        return True


NETWORK = ("--backbone", "test_resnet", "--no-pretrained", "--batch-size", "8", "--set", "optimizer.learning_rate=3e-3")
SWEEP = """
[common]
dataset = "shapes"
backbone = "test_resnet"
pretrained = false
epochs = 0
tags = ["sweep"]
[grid]
seed = [0, 1]
[[runs]]
[[runs]]
inputs.size = 24
"""


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 6)).astype(np.float32)
    return {"features": features, "y": np.repeat([0, 1], 100), "a": np.tile([0, 1], 100)}


@pytest.fixture(scope="module")
def client(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("store")
    with penult.local(root) as client:
        client.features.upload(**rows, name="mine", tags=["own"])
        client.root = root
        yield client


@pytest.fixture(scope="module")
def root(client) -> Path:
    return client.root


@pytest.fixture
def run(root, capsys):
    """Run a command on the store in this process; gives its status, and what it said."""

    def command(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([*map(str, arguments), "--root", str(root)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


@pytest.fixture
def answer(run):
    """The JSON that a command gives."""

    def command(*arguments: object):
        status, said, complaint = run(*arguments, "--json")
        assert status == 0, complaint
        return json.loads(said)

    return command


def as_json(record) -> object:
    """A record of Python as JSON carries it."""
    return json.loads(json.dumps(json_of(record)))


@pytest.fixture(scope="module")
def trained(client, table, root):
    """A dataset, a run, and its features, all made by commands."""
    place = ("--root", str(root))
    assert main(["datasets", "register", "shapes", str(table), "--description", "drawn", *place]) == 0
    named = ("--name", "first", "--tag", "pilot", "--tag", "more", "--note", "why")
    assert main(["finetune", "--dataset", "shapes", *NETWORK, "--epochs", "1", *named, *place]) == 0
    run = client.runs.get("first")
    client.checkpoints.describe(run.checkpoints[-1], name="end")
    assert main(["extract", "end", "--split", "val", "--split", "test", "--tag", "pilot", *place]) == 0
    return run


def test_spectra_and_refit_as_json(root, tmp_path):
    def command(*arguments: str) -> dict:
        line = [sys.executable, "-m", "penult", *arguments, "--root", str(root), "--json"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=os.environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    picture = tmp_path / "spectra.png"
    answer = command("spectra", "mine", "--top-k", "3", "--plot", str(picture))
    with penult.local(root) as client:
        expected = client.spectra("mine", top_k=3).eigenvalues
    np.testing.assert_allclose([group["eigenvalues"] for group in answer["groups"]], expected)
    assert picture.stat().st_size > 5000
    answer = command("refit", "mine", "--preset", "dfr", "--evaluate", "test=mine")
    assert 0 <= answer["metrics"]["test"]["worst_group_accuracy"] <= 1


def test_groups_are_found_and_scored_as_python_does_it(client, answer, run):
    found = answer("discover", "mine", "--method", "kmeans", "--set", "k=3", "--seed", "1", "--name", "three")
    assert found == as_json(client.groupings.get("three"))
    assert found["digest"] == client.discover("mine", method="kmeans", k=3, seed=1).digest
    assert answer("score", "three") == as_json(client.score_grouping("three"))
    assert answer("spectra", "mine", "--by", "three")["groups"]
    status, _, complaint = run("discover", "mine", "--method", "kmeans", "--set", "seed=1")
    assert (status, "kmeans has k" in complaint) == (2, True)


def test_a_finetuning_is_the_one_that_python_asks_for(client, trained, answer, tiny):
    job = client.finetune(dataset="shapes", epochs=1, **tiny)
    assert job.id == trained.id
    again = answer("finetune", "--dataset", "shapes", *NETWORK, "--epochs", "1", "--no-wait")
    assert (again["id"], again["state"]) == (trained.id, "succeeded")
    assert again["result"] == as_json(client.runs.get("first"))
    assert (trained.tags, trained.note, trained.spec.optimizer.learning_rate) == (("more", "pilot"), "why", 3e-3)


def test_every_list_is_that_of_the_client(client, trained, answer):
    with penult.local(client.root) as python:
        for name, filters in {
            "datasets": {},
            "runs": {"dataset": "shapes", "tag": ["pilot", "more"], "name": "fir*"},
            "checkpoints": {"backbone": "test_resnet", "run": "first", "since": "2026-01-01"},
            "features": {"dataset": "shapes", "split": "val", "tag": "pilot", "limit": 1},
        }.items():
            expected = getattr(python, name).list(**filters)
            assert expected, name
            options = [
                word
                for key, value in filters.items()
                for one in (value if isinstance(value, list) else [value])
                for word in (f"--{key}", one)
            ]
            assert answer(name, *options) == answer(name, "list", *options) == as_json(expected)
    assert answer("runs", "--tag", "nothing") == answer("features", "--name", "none") == []
    assert len(answer("runs", "--since", "1h")) == 1
    assert [one["id"] for one in answer("jobs", "--kind", "finetune", "--state", "succeeded")] == [trained.id]


def test_what_is_shown_is_what_the_client_gets(client, trained, answer, run):
    for name, which in (
        ("datasets", "shapes"),
        ("runs", "first"),
        ("checkpoints", trained.checkpoints[0].digest[:6]),
        ("features", "shapes/val"),
        ("features", "mine"),
    ):
        found = getattr(client, name).get(which)
        assert answer(name, "show", which) == as_json(found)
        status, text, _ = run(name, "show", which)
        assert status == 0
        assert (found.id if name == "runs" else found.digest) in text
    assert "bright, green" in run("runs", "show", "first")[1]
    assert answer("runs", "manifest", "first") == as_json(client.runs.manifest("first"))


def test_lists_are_tables_of_all_rows(run, trained, client):
    lines = run("checkpoints")[1].splitlines()
    assert lines[0].split()[:2] == ["digest", "name"]
    assert [line.split()[0] for line in lines[1:]] == [one.digest[:12] for one in client.checkpoints.list()]
    assert run("runs", "--tag", "nothing")[1] == "none found\n"


def test_describe_changes_what_it_names_alone(client, trained, answer, run):
    assert answer("runs", "describe", "first", "--note", "because")["note"] == "because"
    found = client.runs.get("first")
    assert (found.name, found.tags, found.note) == ("first", ("more", "pilot"), "because")
    answer("runs", "describe", trained.id, "--no-tags", "--name", "second")
    assert (client.runs.get("second").tags, client.runs.get("second").note) == ((), "because")
    answer("runs", "describe", "second", "--name", "first", "--tag", "pilot", "--tag", "more")
    assert client.runs.get("first").tags == ("more", "pilot")
    assert run("runs", "describe", "first")[0] == 2
    assert run("runs", "describe", "first", "--tag", "a", "--no-tags")[0] == 2
    things = {
        "checkpoints": trained.checkpoints[0].digest,
        "features": "mine",
        "datasets": "shapes",
        "jobs": trained.id,
    }
    for name, which in things.items():
        assert answer(name, "describe", which, "--note", "seen")["note"] == "seen"


def test_refits_are_found_shown_and_scored(client, trained, answer, run):
    fitted = client.refit("shapes/val", preset="dfr_l2", evaluate={"test": "shapes/test"}, name="dfr")
    assert answer("results", "--kind", "refit", "--name", "dfr") == as_json(client.results.list(name="dfr"))
    assert answer("results", "show", "dfr") == as_json(client.results.get("dfr"))
    assert answer("results", "describe", "dfr", "--tag", "kept")["tags"] == ["kept"]
    scored = answer("evaluate", "dfr", "shapes/test")
    assert scored == as_json(client.evaluate(fitted, "shapes/test"))
    line = ("--preset", "dfr_l2", "--balance", "upweighting", "--by", "class", "--l2", "0.5", "--name", "weighted")
    fitted_here = answer("refit", "shapes/val", *line, "--evaluate", "test=shapes/test", "--train", "shapes/val")
    python = {"balance": "upweighting", "by": "class", "l2": 0.5, "train": "shapes/val", "tags": ["seen"]}
    same = client.refit("shapes/val", preset="dfr_l2", evaluate={"test": "shapes/test"}, **python)
    assert (same.digest, same.reused) == (fitted_here["digest"], True)
    assert client.results.get("weighted").digest == same.digest
    chosen = answer("refit", "shapes/val", "--preset", "dfr", "--select-on", "shapes/test")
    assert chosen["digest"] == client.refit("shapes/val", preset="dfr", select={"on": "shapes/test"}).digest
    assert scored["correct"] == as_json(fitted.metrics["test"].correct)
    own = answer("evaluate", "end", "shapes/test", "--train", "shapes/val")
    assert own == as_json(client.evaluate(trained.checkpoints[-1], "shapes/test", train="shapes/val"))
    assert "head names neither a checkpoint nor a refit" in run("evaluate", "nothing", "shapes/test")[2]
    client.checkpoints.describe("end", name="dfr")
    assert "is both checkpoint" in run("evaluate", "dfr", "shapes/test")[2]
    client.checkpoints.describe("dfr", name="end")
    spectra = client.spectra("mine", top_k=2)
    assert "head names neither a checkpoint nor a refit" in run("evaluate", spectra.digest[:8], "mine")[2]


def test_runs_are_averaged(client, trained, answer, run):
    filters = ("--dataset", "shapes", "--tag", "pilot")
    made = answer("runs", "table", "--by", "balance", "--by", "optimizer.learning_rate", "--split", "val", *filters)
    expected = client.runs.table(by=["balance", "optimizer.learning_rate"], split="val", dataset="shapes", tag="pilot")
    assert made == as_json(expected)
    assert made["rows"][0]["values"] == {"balance": "none", "optimizer.learning_rate": 3e-3}
    assert run("runs", "table", *filters, "--metric", "loss")[1] == f"{client.runs.table(tag='pilot', metric='loss')}\n"


def test_features_go_out_and_come_back(client, rows, run, answer, tmp_path):
    for command in (["export"], ["features", "export"]):
        path = tmp_path / f"{len(command)}.npz"
        assert answer(*command, "mine", path) == {"path": str(path)}
        with np.load(path) as arrays:
            np.testing.assert_array_equal(arrays["features"], rows["features"])
    np.savez(tmp_path / "own.npz", embeddings=rows["features"] + 1, y=rows["y"], g=rows["y"] * 2 + rows["a"])
    line = ("features", "load", tmp_path / "own.npz", "--column", "features=embeddings", "--n-attributes", 2)
    loaded = answer(*line, "--group-coding", "y*A+a", "--class", "cat", "--class", "dog", "--name", "loaded")
    assert loaded["labels"]["classes"] == ["cat", "dog"]
    assert [group["count"] for group in loaded["groups"]] == [50] * 4
    assert client.features.get("loaded").digest == loaded["digest"]
    assert run("features", "load", tmp_path / "nowhere.npz")[0] == 2


def test_features_are_loaded_with_labels_in_files_of_their_own(client, rows, run, answer, tmp_path):
    np.save(tmp_path / "x.npy", rows["features"])
    np.save(tmp_path / "labels.npy", np.array(["cat", "dog"])[rows["y"]])
    (tmp_path / "more.csv").write_text("id,place\n" + "".join(f"{i},{a}\n" for i, a in enumerate(rows["a"])))
    head = client.refit("mine", l2=1.0, name="last-layer")
    line = ("features", "load", tmp_path / "x.npy", "--y", tmp_path / "labels.npy", "--a", tmp_path / "more.csv")
    loaded = answer(*line, "--name", "labelled", "--attribute", "place")
    assert loaded["labels"]["classes"] == ["cat", "dog"]
    assert [group["count"] for group in loaded["groups"]] == [50] * 4
    np.testing.assert_array_equal(client.features.read("labelled").a, rows["a"])
    headed = answer("features", "load", tmp_path / "x.npy", "--y", tmp_path / "labels.npy", "--head", head.digest[:8])
    np.testing.assert_array_equal(client.features.read(headed["digest"]).head_weight, head.head.weight)
    assert "one that is called y; it has 'id'" in run(*line[:4], tmp_path / "more.csv")[2]
    assert run(*line[:4], tmp_path / "nowhere.npy")[0] == 2


def test_predictions_are_written_as_tables(client, trained, run, answer, tmp_path):
    client.refit("shapes/val", preset="dfr_l2", name="to-predict")
    for head in ({}, {"--head": "to-predict"}, {"--head": "end"}):
        options = [word for pair in head.items() for word in pair]
        path = tmp_path / f"{len(options)}.csv"
        said = answer("predictions", "shapes/test", path, *options)
        same = client.predictions("shapes/test", head.get("--head"))
        same.to_csv(tmp_path / "expected.csv")
        assert path.read_text() == (tmp_path / "expected.csv").read_text()
        assert said == {"path": str(path), "head": same.head, "n": 40, "metrics": as_json(same.metrics)}
    assert run("predictions", "shapes/test", tmp_path / "t.parquet")[0] == 0
    assert (tmp_path / "t.parquet").read_bytes()[:4] == b"PAR1"
    assert run("predictions", "shapes/test", tmp_path / "t.txt")[0] == 2


def test_published_methods_are_listed_without_a_server(client, capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    for name, known in (("presets", client.presets()), ("recipes", client.recipes())):
        assert run(name)[1] == f"{known!r}\n"
        listed = json.loads(run(name, "--json")[1])
        assert listed == as_json(known)
        one = listed[-1]
        assert json.loads(run(name, one["name"], "--json")[1]) == one
        assert one["source"] in run(name, one["name"])[1]
    assert "gamma" in run("presets", "afr")[1]
    assert "'dfr'" in run("presets", "nothing")[2]


def test_a_checkpoint_is_exported_with_a_head(client, trained, run, answer, tmp_path):
    client.refit("shapes/val", preset="dfr_l2", name="head")
    written = answer("export", "end", tmp_path / "a", "--head", "head")
    assert written == {"path": str(tmp_path / "a")}
    answer("checkpoints", "export", "end", tmp_path / "b", "--format", "timm", "--head", "head")
    assert (tmp_path / "a" / "config.json").read_text() == (tmp_path / "b" / "config.json").read_text()
    status, _, said = run("export", "shapes/val", tmp_path / "c", "--format", "timm")
    assert (status, "is a feature set, which is written as npz" in said) == (2, True)
    assert run("export", "shapes/val", tmp_path / "c", "--head", "head")[0] == 2
    assert run("export", "end", tmp_path / "c", "--format", "npz")[0] == 2
    assert not (tmp_path / "c").exists()
    status, _, said = run("export", "end", tmp_path / "a")
    assert status == 1
    assert "--overwrite" in said


def test_a_sweep_is_checked_listed_started_and_found_again(client, trained, answer, run, tmp_path):
    file = tmp_path / "sweep.toml"
    before = client.jobs.list()
    for wrong, expected in (
        (SWEEP.replace('"shapes"', '"shape"'), "dataset 'shape'"),
        (SWEEP.replace("inputs.size = 24", 'epochs = "many"'), "seed = 0: epochs must be a whole number; got 'many'"),
        (SWEEP.replace("inputs.size = 24", "inputs.sise = 24"), "inputs has no 'sise'; it has size, resize"),
    ):
        file.write_text(wrong)
        status, _, complaint = run("sweep", file)
        assert status == 1
        assert expected in complaint
    assert {one.id for one in client.jobs.list()} == {one.id for one in before}
    file.write_text(SWEEP)
    listed = answer("sweep", file, "--dry-run")
    assert [one["seed"] for one in listed] == [0, 1, 0, 1]
    assert [one.get("inputs.size") for one in listed] == [None, None, 24, 24]
    assert {one.id for one in client.jobs.list()} == {one.id for one in before}
    made = answer("sweep", file, "--wait")
    assert [one["state"] for one in made] == ["succeeded"] * 4
    assert [one["arguments"]["seed"] for one in made] == [0, 1, 0, 1]
    same = {"dataset": "shapes", "backbone": "test_resnet", "pretrained": False, "epochs": 0, "seed": 1}
    assert client.finetune(**same).id == made[1]["id"]
    assert client.finetune(**same, inputs=penult.Images(size=24)).id == made[3]["id"]
    assert [one["id"] for one in answer("sweep", file)] == [one["id"] for one in made]
    assert {one.id for one in client.runs.list(tag="sweep")} == {one["id"] for one in made}
    header, *rows = run("sweep", file)[1].splitlines()
    assert header.split() == ["id", "state", "seed", "inputs.size"]
    assert len(rows) == 4
    # What only the server knows to be wrong, and of the last entry alone: nothing of the file is started.
    there = {one.id for one in client.jobs.list()}
    file.write_text(SWEEP.replace("seed = [0, 1]", "seed = [5, 6]") + "batch_size = 8\n")
    for words in ((), ("--dry-run",)):
        status, _, said = run("sweep", file, *words)
        assert status == 1
        assert "inputs.size = 24, batch_size = 8, seed = 5: batch_size has no effect" in said
    assert {one.id for one in client.jobs.list()} == there


def test_a_model_that_went_out_comes_back(client, trained, answer, tmp_path):
    answer("checkpoints", "export", "end", tmp_path / "model")
    job = answer("checkpoints", "import", tmp_path / "model", "--dataset", "shapes", "--name", "back")
    assert (job["kind"], job["state"]) == ("import_checkpoint", "succeeded")
    assert job["result"]["classes"] == list(trained.checkpoints[-1].classes)
    assert client.checkpoints.get("back").digest == job["result"]["digest"]
    assert answer("delete", "checkpoint", "back", "--yes")["goes"][0]["id"] == job["result"]["digest"]


def test_usage_is_that_of_the_client(client, trained, answer, run):
    found = answer("usage")
    assert {one["kind"]: one["bytes"] for one in found["kinds"]}["features"] == {
        one.kind: one.bytes for one in client.usage().kinds
    }["features"]
    assert [one["run"] for one in found["runs"]][:1] == [client.usage().runs[0].run]
    assert "features" in run("usage")[1]


def test_what_is_deleted_is_named_and_asked_about_first(client, rows, answer, run, monkeypatch):
    def uploaded(name: str):
        return client.features.upload(**{**rows, "features": rows["features"] * len(name)}, name=name)

    gone = uploaded("gone")
    preview = answer("delete", "features", "gone", "--dry-run")
    assert preview == as_json(client.features.delete("gone", dry_run=True))
    assert client.features.get("gone").digest == gone.digest
    status, said, complaint = run("features", "delete", "gone")
    assert (status, said) == (2, "")
    assert "Usage:" in complaint
    assert "--yes" in complaint
    monkeypatch.setattr("sys.stdin", Typed("n\n"))
    status, said, complaint = run("features", "delete", "gone")
    assert (status, said) == (1, "")
    assert gone.digest[:12] in complaint
    assert "nothing was done" in complaint
    assert client.features.get("gone").digest == gone.digest
    monkeypatch.setattr("sys.stdin", Typed("y\n"))
    assert run("features", "delete", "gone")[0] == 0
    assert answer("features", "--name", "gone") == []
    uploaded("going")
    assert answer("delete", "features", "going", "--yes")["dry_run"] is False
    assert answer("features", "--name", "going") == []
    assert run("delete", "features", "going", "--yes")[0] == 1


def test_what_others_depend_on_is_refused_in_the_words_of_options(client, trained, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", Typed(""))
    for options in (["--yes"], []):
        status, _, complaint = run("runs", "delete", "first", *options)
        assert status == 1
        assert "in_use" in complaint
        assert "--dependents" in complaint
        assert "dependents=" not in complaint
    assert client.runs.get("first").id == trained.id


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("finetune", "--dataset must be given, or a --recipe that has one"),
        ("finetune --dataset shapes", "or --start, a checkpoint or a refit, must be given"),
        ("finetune --dataset shapes {network} --epochs -1", "--epochs must be in 0 .."),
        ("finetune --dataset shapes {network} --by group", "--by has no effect on this run"),
        ("finetune --dataset shapes {network} --balance mixture", "--ratio must be given"),
        ("finetune --dataset shapes {network} --set schedule.warmup=3", "--set schedule.warmup must be"),
        ("finetune --dataset shapes {network} --set optimizer.momentum=3", "--set optimizer.momentum must be"),
        ("finetune --dataset shapes {network} --set inputs.max_tokens=3", "--set inputs.max_tokens has no effect"),
        (
            "finetune --dataset shapes {network} --head new",
            "it goes with --weights, a directory as backbone, or --start;",
        ),
        ("finetune --dataset shapes {network} --weights x.pt", "--weights must be an absolute path"),
        ("extract end --batch-size 0", "--batch-size must be"),
        ("spectra mine --top-k 0", "--top-k must be"),
        ("refit mine --l2 -1", "--l2 must be"),
        ("refit mine --preset afr", "--select-on feature set or --select-on half"),
        ("refit mine --ratio 2", "--ratio"),
        ("runs table --by colour --tag pilot", "--by must be one of"),
        ("runs table --split nothing --tag pilot", "no metrics of split 'nothing'"),
        ("features load {file}", "give --n-attributes, the number of attribute values A and --group-coding, one of"),
        ("features load {file}", "--column a="),
        ("features load {file} --n-attributes 2 --group-coding y*A+a --split a", "--column split="),
        ("checkpoints export end {folder}", "--overwrite"),
        ("checkpoints import {folder}", "by --on-server"),
        ("jobs watch abcdef", "there is no job 'abcdef'"),
    ],
)
def test_refusals_speak_of_options(trained, rows, run, tmp_path, line, said):
    file = tmp_path / "x.npz"
    np.savez(file, features=rows["features"], g=rows["y"] * 2 + rows["a"])
    words = {"network": "--backbone test_resnet --no-pretrained", "file": file, "folder": tmp_path}
    status, printed, complaint = run(*line.format(**words).split())
    assert (status, printed) == (1, "")
    assert said in complaint
    assert "()" not in complaint
    # No argument of Python's is left: `name=`, but for what follows the name of an option.
    advice = complaint.replace(str(tmp_path), "")
    assert not re.search(r"(?<![-\w] )(?<![\w.])[a-z_]+=(?![\w.]*\.\.\.)(?=[\s,]|'|\[|\{)", advice), advice


def test_jobs_and_doctor(root, answer, run):
    assert run("jobs")[0] == 0
    status, said, complaint = run("doctor")
    assert status == 0, said + complaint
    assert "numpy" in said
    found = answer("doctor")
    assert found["server"]["root"] == str(root)
    assert {one["topic"] for one in found["findings"]} >= {"python", "penult", "[server]", "server"}
    assert found["certificate_end"] is None


def test_a_command_that_only_looks_starts_no_job(table, tmp_path, capsys):
    root = tmp_path / "store"
    with penult.local(root, jobs="stop") as client:
        client.datasets.register("shapes", table)
        many = {"dataset": "shapes", "backbone": "test_resnet", "pretrained": False, "epochs": 5000}
        job = client.finetune(**many)
        record = read_record(root_file(root))
        assert record is not None
        server = os.pidfd_open(record.pid)
    # It stops with this client; a command that came before its end would find it at work.
    assert select.select([server], [], [], 120)[0]
    os.close(server)
    for command in (
        *(["jobs"], ["runs"], ["checkpoints"], ["features"], ["datasets"], ["results"]),
        *(["jobs", "show", job.id], ["datasets", "show", "shapes"], ["datasets", "describe"]),
    ):
        main([*command, "--root", str(root), "--json"])
    dry = tmp_path / "sweep.toml"
    dry.write_text('[common]\ndataset = "shapes"\nbackbone = "test_resnet"\n')
    assert main(["sweep", str(dry), "--dry-run", "--root", str(root)]) == 0
    capsys.readouterr()
    with looking(root) as client:
        (found,) = client.jobs.list(kind="finetune")
        assert found.state == "queued"
        found.cancel()


def test_errors_are_one_line_with_their_kind(run):
    status, said, complaint = run("spectra", "nothing")
    assert (status, said) == (1, "")
    assert len(complaint.strip().splitlines()) == 1
    assert "unknown_feature_set" in complaint
