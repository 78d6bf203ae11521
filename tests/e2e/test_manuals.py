"""The manuals of server, wire and client: short, their links exist, and their code runs as it is written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from penult.errors import CLASSES

ROOT = Path(__file__).parents[2]
MOST_LINES = {"client/README.md": 150, "protos/README.md": 60, "server/README.md": 150}


def blocks(manual: str) -> dict[str, str]:
    """Blocks of Python by the name that stands behind the backticks."""
    return dict(
        re.findall(r"^```python ([\w-]+)\n(.*?)^```$", (ROOT / manual).read_text(), flags=re.DOTALL | re.MULTILINE)
    )


def printed(manual: str, name: str, directory: Path) -> str:
    """What a block of a manual prints; a warning fails it."""
    command = [sys.executable, "-W", "error", "-c", blocks(manual)[name]]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("manual", MOST_LINES)
def test_a_manual_is_short(manual):
    assert len((ROOT / manual).read_text().splitlines()) <= MOST_LINES[manual]


@pytest.mark.parametrize("manual", [*MOST_LINES, "server/NOTES.md", "NOTES.md"])
def test_links_lead_somewhere(manual):
    for place, heading in re.findall(r"\]\(([^)#:]+)(?:#([^)]*))?\)", (ROOT / manual).read_text()):
        target = (ROOT / manual).parent / place
        assert target.exists(), place
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]


def test_a_server_in_this_process_and_its_store(tmp_path):
    *_, last = printed("server/README.md", "server-in-process", tmp_path).splitlines()
    assert last == "(4, 4) (8, 8)"


def test_the_frames_of_a_worker(tmp_path):
    said = printed("server/README.md", "worker-frames", tmp_path)
    assert said.split()[:5] == ["device:", '"cpu"', "array_backend:", '"numpy"', "processor:"]


def test_the_wire(tmp_path):
    assert "penalty_scale: PENALTY_SCALE_SUM" in printed("protos/README.md", "wire", tmp_path)


def test_the_client_at_a_glance(tmp_path):
    said = printed("client/README.md", "glance", tmp_path)
    assert "Certificate(converged=True" in said
    assert '"dfr" : ' in said


def test_the_client_lists_every_kind_of_error():
    text = (ROOT / "client/README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| (`[^|]*`) \|$", text.split("## Errors")[1], flags=re.MULTILINE)
    listed = {kind: name for name, kinds in rows for kind in re.findall(r"`(\w+)`", kinds)}
    assert listed == {kind: one.__name__ for kind, one in CLASSES.items()}


@pytest.mark.parametrize("manual", ["server/README.md", "server/NOTES.md"])
def test_files_that_the_server_s_manuals_name_are_there(manual):
    places = (ROOT, ROOT / "protos", ROOT / "server/penult_server")
    for named in re.findall(r"`([\w/]+/\w+\.py)`", (ROOT / manual).read_text()):
        assert any((place / named).exists() for place in places), named
