"""The client needs its base dependencies only, and is quick to import."""

import os
import re
import subprocess
import sys
import textwrap
from importlib.metadata import distribution, requires
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from packaging.requirements import Requirement

import penult
import penult_proto


def base_distributions() -> set[str]:
    """The base dependencies and what they need in turn."""
    wanted, found = ["penult"], set()
    while wanted:
        name = wanted.pop()
        for line in requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                canonical = re.sub(r"[-_.]+", "-", requirement.name).lower()
                if canonical not in found:
                    found.add(canonical)
                    wanted.append(canonical)
    return found


@pytest.fixture(scope="module")
def clean_site(tmp_path_factory) -> Path:
    """A directory like the site-packages of `pip install penult`: the base and nothing else, by links."""
    site = tmp_path_factory.mktemp("site")
    for name in base_distributions():
        for file in distribution(name).files or []:
            source = Path(str(file.locate()))
            if ".." in file.parts or not source.is_file():
                continue
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
    (site / "penult").symlink_to(Path(penult.__file__).parent)
    (site / "penult_proto").symlink_to(Path(penult_proto.__file__).parent)
    return site


def run_clean(site: Path, code: str) -> str:
    """Run code in an interpreter that sees the base install and the standard library alone."""
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(site)!r})\n{textwrap.dedent(code)}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=site.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_base_is_small():
    assert base_distributions() == {
        "click",
        "googleapis-common-protos",
        "grpcio",
        "numpy",
        "protobuf",
        "tqdm",
        "typing-extensions",
    }


def test_the_client_works_in_a_clean_environment(clean_site):
    """All of it is importable and callable; only pictures, frames and a server of one's own need more."""
    code = """
        import penult
        from penult.client import Client
        try:
            penult.connect("127.0.0.1:1", token="x", timeout=1)
        except penult.Unavailable as error:
            print(error.kind)
        try:
            penult.local("store")
        except ImportError as error:
            print(error)
        heavy = {"torch", "zarr", "pandas", "matplotlib", "cupy", "timm", "transformers", "penult_server"}
        print(sorted(heavy & set(sys.modules)))
    """
    lines = run_clean(clean_site, code).splitlines()
    assert lines[0] == "unreachable"
    assert "pip install '.[server]'" in lines[1]
    assert lines[2] == "[]"


def seconds_of(site: Path, *codes: str) -> list[float]:
    """What each of them takes after the other in one process, of the processor: others may be busy beside it."""
    timed = "".join(f"\n{code}\ntimes.append(time.process_time())" for code in codes)
    said = run_clean(site, f"import time\ntimes = [time.process_time()]{timed}\nprint(*times)")
    times = list(map(float, said.split()))
    return [after - before for before, after in pairwise(times)]


def test_importing_is_quick(clean_site):
    assert min(seconds_of(clean_site, "import penult")[0] for _ in range(5)) < 0.3


LIBRARIES = "import grpc, numpy, google.protobuf.json_format, google.rpc.error_details_pb2"
EVERYTHING = "import penult; penult.connect, penult.local, penult.Client, penult.Spectra, penult.Refit"
MOST_MODULES = 220
"""Of our own, when all that a script usually needs is loaded; there were 215 on 2026-12-01."""


def test_using_it_loads_few_modules_beside_the_libraries_it_stands_on(clean_site):
    code = f"""
        import sys
        {LIBRARIES}
        theirs = set(sys.modules)
        {EVERYTHING}
        print(len(theirs), sum(name.startswith("penult") for name in set(sys.modules) - theirs))
    """
    theirs, own = map(int, run_clean(clean_site, code).split())
    assert own <= MOST_MODULES < theirs


def test_using_it_takes_less_time_than_the_libraries_it_stands_on(clean_site, at_full_size):
    """Held on a quiet machine alone (`make bench`): what runs beside it slows the many small files of ours more."""
    if not at_full_size:
        pytest.skip("asks for a quiet machine: make bench")
    rounds = [seconds_of(clean_site, LIBRARIES, EVERYTHING) for _ in range(9)]
    assert median(own / theirs for theirs, own in rounds) < 1


def test_the_front_loads_no_framework():
    heavy = {"torch", "cupy", "timm", "transformers"}
    code = f"import sys, penult_server.front.server; print(sorted({heavy!r} & set(sys.modules)))"
    environment = os.environ | {"GRPC_ENABLE_FORK_SUPPORT": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_no_room_is_a_package():
    """A top-level package called `kernels` would hide the one that transformers imports."""
    root = Path(penult.__file__).parents[2]
    for folder in ("client", "kernels", "protos", "server", "tests"):
        assert not (root / folder / "__init__.py").exists()
