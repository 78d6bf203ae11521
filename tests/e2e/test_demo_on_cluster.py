"""The demo by the script of the manual, on Ray, S3 and PostgreSQL of this machine, beside the plain one: the same bits.

Both take minutes of all cores: `pytest -m slow tests/e2e/test_demo_on_cluster.py`. DEMO_ROOT names a root on which the
plain one has been made already, by the same version on this machine.
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


def test_the_demo_on_ray_a_bucket_and_postgresql_has_the_bits_of_one_machine(tmp_path):
    pytest.importorskip("moto.server", reason="needs moto[s3,server], of the extra dev")
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql)")
    dump = [sys.executable, str(ROOT / "tests/e2e/demo_contents.py")]
    variables = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = ["bash", str(ROOT / "server/deploy/cluster_of_one.sh"), str(tmp_path / "cluster")]
    through = [*dump, str(tmp_path / "cluster/root"), str(tmp_path / "cluster.json")]
    subprocess.run([*script, *through], env=variables, check=True, timeout=SECONDS)
    if not (plain := os.environ.get("DEMO_ROOT")):
        plain = str(tmp_path / "plain")
        subprocess.run(["penult", "demo", "--root", plain], env=variables, check=True, timeout=SECONDS)
    subprocess.run([*dump, plain, str(tmp_path / "plain.json")], env=variables, check=True, timeout=SECONDS)
    found, expected = (
        json.loads((tmp_path / name).read_text(encoding="utf-8")) for name in ("cluster.json", "plain.json")
    )
    assert list(found) == list(expected)
    for what, digests in expected.items():
        assert found[what] == digests, what
    assert {len(expected[what]) for what in ("weights", "results", "groupings")} == {3, 11, 2}
    assert sum(name.startswith("features") for name in expected) == 6
    # The cluster's lies in the bucket, and no file of it in the root.
    assert not list((tmp_path / "cluster/root").glob("checkpoints/*/*.safetensors"))
