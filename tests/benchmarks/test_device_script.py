"""`device.sh` without a GPU: what it skips, how it fails, and that it keeps to its time."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("device.sh")


def run(folder: Path, python: str, seconds: int = 60) -> tuple[int, str]:
    """Exit status and table of a run with a stand-in for Python."""
    place = folder / "python"
    place.write_text(f"#!/bin/sh\n{python}\n")
    place.chmod(0o755)
    ended = subprocess.run(
        ["bash", str(SCRIPT), str(folder / "out")],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(place), "DEVICE_SECONDS": str(seconds)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    table = (folder / "out" / "table.md").read_text()
    assert ended.stdout.endswith(table)
    return ended.returncode, table


GPU = 'if [ "$1" = - ]; then cat >/dev/null; echo "Some GPU, CuPy 0"; exit 0; fi'


def test_without_a_device_it_says_what_it_skips(tmp_path):
    status, table = run(tmp_path, 'if [ "$1" = - ]; then cat >/dev/null; echo "No device: CuPy is not installed"; fi')
    assert status == 0
    assert table.count("skipped: CuPy is not installed") == 12
    assert "| counts | passed |" in table
    assert "No device: CuPy is not installed" in table


def test_everything_passes(tmp_path):
    status, table = run(tmp_path, f'{GPU}\necho "| one | 1 | 2 | 3 | |" >>"$DEVICE_TABLE"')
    assert status == 0
    assert "Some GPU, CuPy 0" in table
    assert table.count("| passed |") == 12
    assert "| one | 1 | 2 | 3 | |" in table


@pytest.mark.parametrize(("stage", "expected"), [("gpu tests/kernels", 1), ("-k spectra", 3), ("tests/e2e", 1)])
def test_a_failure_is_the_status_and_the_rest_is_run(tmp_path, stage, expected):
    status, table = run(tmp_path, f'{GPU}\ncase "$*" in *"{stage}"*) exit 1 ;; esac')
    assert status == expected
    assert table.count("failed (1)") == 1
    assert table.count("| passed |") == 11


def test_cuml_that_cannot_be_installed_is_no_failure(tmp_path):
    status, table = run(tmp_path, f'{GPU}\ncase "$*" in *"import cuml"*|*"pip install"*) exit 1 ;; esac')
    assert status == 0
    assert "| installing cuml | failed (1)" in table


def test_what_does_not_end_is_stopped_and_no_stage_begins_too_late(tmp_path):
    status, table = run(tmp_path, f'{GPU}\ncase "$*" in *"-m gpu"*) exec sleep 50 ;; esac', seconds=8)
    assert status == 1
    assert "| gpu tests | stopped after" in table
    assert table.count("skipped: no time left") >= 10
