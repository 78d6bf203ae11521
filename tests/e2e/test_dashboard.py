"""The example dashboard prints what the stored runs say; panel, which shows it live, is not needed for that."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

SCRIPT = Path(__file__).parents[2] / "client" / "examples" / "dashboard.py"


def loaded():
    spec = importlib.util.spec_from_file_location("dashboard", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored_run(balance: str, worst: float, split: str = "test"):
    spec = SimpleNamespace(dataset="birds", backbone="resnet", balance=balance, epochs=1)
    metrics = SimpleNamespace(worst_group_accuracy=worst)
    return SimpleNamespace(spec=spec, history=[SimpleNamespace(split=split)], metrics=lambda _: metrics)


def test_recipes_are_ranked_by_their_mean_over_seeds():
    runs = [stored_run("none", 0.2), stored_run("mixture", 0.6), stored_run("none", 0.4), stored_run("x", 1.0, "val")]
    client = SimpleNamespace(runs=SimpleNamespace(list=lambda dataset: runs))
    found = loaded().table(client, None, "test")
    assert found == [("birds, resnet, mixture, 1 epochs", [0.6]), ("birds, resnet, none, 1 epochs", [0.2, 0.4])]


def test_it_runs_as_a_user_runs_it(client):
    root = client.connection.root
    command = [sys.executable, "-W", "error", str(SCRIPT), "--store", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["recipe", "seeds", "mean", "least", "most"]
