"""The first script of the README, as it is written: real network, real images, real service."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
REPORT = """
import json
print(json.dumps({
    "run": run.id,
    "checkpoints": [one.digest for one in run.checkpoints],
    "sets": {split: one.digest for split, one in sets.items()},
    "erm": run.history[-1].metrics.worst_group_accuracy,
    "dfr": refit.metrics["test"].worst_group_accuracy,
    "refit": refit.digest,
    "mine": mine.digest,
    "exact": bool((back.features == X).all() and (back.y == y).all() and (back.a == a).all()),
}))
"""


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def script() -> str:
    """The README's first script with a report of what it got at its end, inside the `with`."""
    block = next(block for block in python_blocks() if "penult.local(" in block)
    return block.rstrip("\n") + "\n" + "".join(f"    {line}\n" for line in REPORT.strip().splitlines())


def start(code: str, directory: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code], cwd=directory, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> dict:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("main-job")


@pytest.fixture(scope="module")
def reports(directory):
    """The script in two processes at once, on one store."""
    processes = [start(script(), directory) for _ in range(2)]
    return [finish(process) for process in processes]


@pytest.mark.timeout(900)
def test_two_processes_at_once_share_one_computation(reports):
    assert reports[0] == reports[1]


def test_the_group_gap_is_there_and_the_refit_narrows_it(reports):
    """Finetuning leans on the ground; a balanced last layer repairs most of it (README: measured values)."""
    report = reports[0]
    assert report["erm"] < 0.75
    assert report["dfr"] > 0.8
    assert len(report["checkpoints"]) == 3
    assert list(report["sets"]) == ["train", "val", "test"]


def test_uploads_come_back_exactly(reports):
    assert reports[0]["exact"]


def test_the_same_script_against_a_server_in_another_process(reports, directory, serve):
    """On the store that the embedded servers left: everything is answered from it."""
    server = serve(directory / "store")
    connected = script().replace('penult.local("store")', f'penult.connect("{server.record["address"]}")')
    assert connected != script()
    assert finish(start(connected, directory)) == reports[0]
    assert len(server.connect().jobs.list()) == 2


def test_other_code_blocks_of_the_readme_compile():
    for block in python_blocks():
        compile(block, str(README), "exec")
