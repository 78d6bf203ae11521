"""The demo by the script of the manual, on Ray, S3 and PostgreSQL of this machine, beside the plain one: the same bits.

`pytest -m slow tests/e2e/test_demo_on_cluster.py`: in small, and whole, which takes ten minutes of two cores.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from postgres_server import binaries
from ray_clusters import needs_ray

ROOT = Path(__file__).parents[2]
SECONDS = 3000
needs_ray()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * SECONDS)]
COUNTS = {
    "small": {"weights": 2, "features": 3, "results": 2, "groupings": 1},
    "whole": {"weights": 3, "features": 6, "results": 11, "groupings": 2},
}


@pytest.mark.parametrize("how", COUNTS)
def test_the_demo_on_ray_a_bucket_and_postgresql_has_the_bits_of_one_machine(tmp_path, how):
    pytest.importorskip("moto.server", reason="needs moto[s3,server], of the extra dev")
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql)")
    variables = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = ["bash", str(ROOT / "server/deploy/cluster_of_one.sh"), str(tmp_path / "cluster")]
    made = {}
    for name, root, before in (("plain", tmp_path / "plain", []), ("cluster", tmp_path / "cluster/root", script)):
        demo = [sys.executable, str(ROOT / "tests/e2e/demo_contents.py"), root, tmp_path / f"{name}.json", how]
        subprocess.run([*before, *demo], env=variables, check=True, timeout=SECONDS)
        made[name] = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    for what, digests in made["plain"].items():
        assert made["cluster"][what] == digests, what
    assert {what: len(digests) for what, digests in made["cluster"].items()} == COUNTS[how]
    files = [name for one in made["plain"]["features"].values() for name in one]
    assert any(name.startswith("moments") for name in files) == (how == "small"), "where they are less than the rows"
    # The cluster's lie in the bucket: no weights and no rows in the root.
    assert not [
        *(tmp_path / "cluster/root").glob("checkpoints/*/*.safetensors"),
        *(tmp_path / "cluster/root").glob("features/*/features"),
    ]
