"""The command line against a real server."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import penult


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    with penult.local(root) as client:
        features = rng.standard_normal((200, 6)).astype(np.float32)
        client.features.upload(features=features, y=np.repeat([0, 1], 100), a=np.tile([0, 1], 100), name="mine")
        yield root


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "import sys; from penult.cli.main import main; sys.exit(main())", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)


def test_spectra_and_refit_as_json(root, tmp_path):
    picture = tmp_path / "spectra.png"
    done = run("spectra", "mine", "--root", str(root), "--top-k", "3", "--json", "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    with penult.local(root) as client:
        expected = client.spectra("mine", top_k=3).eigenvalues
    np.testing.assert_allclose([group["eigenvalues"] for group in answer["groups"]], expected)
    assert picture.stat().st_size > 5000
    done = run("refit", "mine", "--root", str(root), "--preset", "dfr", "--evaluate", "test=mine", "--json")
    assert done.returncode == 0, done.stderr
    assert 0 <= json.loads(done.stdout)["metrics"]["test"]["worst_group_accuracy"] <= 1


def test_jobs_and_doctor(root):
    assert run("jobs", "--root", str(root)).returncode == 0
    done = run("doctor", "--root", str(root))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "numpy" in done.stdout


def test_errors_are_one_line_with_their_kind(root):
    done = run("spectra", "nothing", "--root", str(root))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "unknown_feature_set" in done.stderr
