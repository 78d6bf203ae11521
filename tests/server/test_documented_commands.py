"""What is written of running beyond one machine is what the programs take.

Blocks of a shell are run beside programs that only write down how they were called; every call of `ray` and `penult`
is then read by the real parser. Neither Slurm nor Kubernetes is at hand: of their own words nothing is known.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray_clusters import needs_ray

from penult_server.__main__ import make_parser
from penult_server.settings import Settings
from penult_server.upkeep.options import make_parser as make_store_parser

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "server/deploy"
SLURM = {"SLURM_JOB_NODELIST": "node-[1-4]", "SLURM_CPUS_PER_TASK": "64", "SLURM_NNODES": "4"}
NOTED = '{ printf "%s " "${0##*/}"; printf "%q " "$@"; echo; } >>"$CALLS"'
PROGRAMS = {
    "ray": NOTED,
    "penult": NOTED,
    "sleep": "",
    "scontrol": "echo node-1; echo node-2",
    "srun": f'{NOTED}; until [[ $1 == ray ]]; do shift; done; exec "$@"',
}


@pytest.fixture(scope="module")
def section() -> str:
    notes = (ROOT / "server/NOTES.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^## Beyond one machine: .*?(?=^## )", notes, flags=re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture(scope="module")
def calls(section, tmp_path_factory) -> list[list[str]]:
    """How the blocks call programs, each with its words."""
    place = tmp_path_factory.mktemp("documented")
    (place / "shared" / "data").mkdir(parents=True)
    for name, body in PROGRAMS.items():
        (place / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (place / name).chmod(0o755)
    noted = place / "calls"
    blocks = re.findall(r"^```\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    blocks.append("\n".join(one["command"][-1] for one in containers() if "command" in one))
    for block in blocks:
        script = re.sub("/(shared|store)(?=/)", str(place / "shared"), block)
        # `exec` would end the block; what is put behind is waited for.
        script = f"set -eu\n{script.replace('exec ', '')}\nwait\n"
        variables = {"PATH": f"{place}:/usr/bin:/bin", "CALLS": str(noted), "RAY_ADDRESS": "head:6379", **SLURM}
        subprocess.run(["/bin/bash", "-c", script], env=variables, check=True, timeout=60)
    return [shlex.split(line) for line in noted.read_text(encoding="utf-8").splitlines()]


def containers() -> list[dict]:
    """Those of the manifests for Kubernetes."""
    found = []
    for one in manifests():
        spec = one["spec"]
        groups = [spec.get("headGroupSpec"), *spec.get("workerGroupSpecs", []), spec]
        found += [inner for group in groups if group and "template" in group for inner in pods(group)]
    return found


def pods(group: dict) -> list[dict]:
    return group["template"]["spec"]["containers"]


def manifests() -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text(encoding="utf-8")))


def settings_of(words: list[str]) -> Settings:
    options = vars(make_parser().parse_args(words))
    assert options.pop("command") == "serve"
    return Settings(**options)


def test_the_blocks_call_servers_that_are_on_the_cluster(calls):
    served = [settings_of(words) for program, *words in calls if program == "penult" and words[0] == "serve"]
    assert [one.engine for one in served] == ["ray"] * 3
    assert [one.compute_workers for one in served] == [2, 0, 1]
    doctor = [words for program, *words in calls if program == "penult" and words[0] == "doctor"]
    assert doctor == [["doctor", "--cluster", "--root", doctor[0][-1]]]


def test_the_allocation_s_steps_make_one_cluster(calls):
    """One head, and a node on each other machine, of as many cores as the allocation has on it."""
    steps = [words for program, *words in calls if program == "srun"]
    assert sorted(words[words.index("-n") + 1] for words in steps) == ["1", "3"]
    started = [words for words in steps if "ray" in words]
    assert all(words[words.index("--num-cpus") + 1] == words[words.index("-c") + 1] == "64" for words in started)
    addresses = {words[words.index("--address") + 1] for words in started if "--address" in words}
    assert addresses == {"node-1:6379"}


def test_ray_takes_how_it_is_called(calls):
    needs_ray()
    script = (DEPLOY / "cluster_of_one.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    in_script = re.findall(r"(?<=behind \"\$1\" )ray start .*", script)
    assert len(in_script) == 1
    every = [words for program, *words in calls if program == "ray"] + [shlex.split(one)[1:] for one in in_script]
    every = [[word.replace("${CORES:-$(nproc)}", "2").replace("$ray", "6379") for word in words] for words in every]
    assert len(every) == 8
    # In a process of its own: Ray reads the environment as it is imported.
    check = f"from ray.scripts.scripts import cli\nfor w in {every!r}: cli.commands[w[0]].make_context(w[0], w[1:])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_the_text_names_is_an_option(section):
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", section, flags=re.DOTALL | re.MULTILINE))
    known = set(re.findall(r"--[\w-]+", make_parser().format_help() + served_help()))
    table = section.split("**A Ray cluster**")[0]
    options = {option for span in re.findall(r"`([^`\n]+)`", table) for option in re.findall(r"--[\w-]+", span)}
    assert options <= known | {"--cluster"}, options - known
    assert len(options) > 8
    store = [one.split() for one in spans if one.startswith("penult store ")]
    rest = {"move-registry": ["--registry", "postgresql://u@h/d"], "adopt-bucket": ["--store", "s3://b/p"]}
    assert {words[2] for words in store} >= {"move-to-bucket", "move-registry", "adopt-bucket"}
    for _, _, command, *words in store:
        make_store_parser().parse_args([command, "--root", "R", *rest.get(command, []), *words])


def served_help() -> str:
    parser = make_parser()
    (choices,) = [one.choices for one in parser._actions if one.choices]
    return choices["serve"].format_help()


def test_the_manifests_belong_together():
    claim, cluster, server, service = manifests()
    name = cluster["metadata"]["name"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    pod = server["spec"]["template"]["spec"]
    variables = {one["name"]: one for one in pod["containers"][0]["env"]}
    assert variables["RAY_ADDRESS"]["value"] == f"{name}-head-svc:6379"
    assert variables["RAY_AUTH_MODE"]["value"] == "token"
    assert variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": name, "key": "auth_token"}
    assert service["spec"]["selector"].items() <= server["spec"]["template"]["metadata"]["labels"].items()
    assert len(containers()) == 3
    for one in containers():
        assert one["image"] == "penult"
        assert {"name": "store", "mountPath": "/store"} in one["volumeMounts"]
    specs = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"], server["spec"]]
    user = re.search(r"--uid (\d+)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    for spec in (one["template"]["spec"] for one in specs):
        (store,) = [one for one in spec["volumes"] if one["name"] == "store"]
        assert store["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert user is not None
        assert spec["securityContext"]["fsGroup"] == int(user[1])


def test_the_script_is_one(tmp_path):
    subprocess.run(["/bin/bash", "-n", DEPLOY / "cluster_of_one.sh"], check=True)
