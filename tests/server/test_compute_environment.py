"""Threads of the compute worker: one of the BLAS, large products on its own; what users set themselves is respected."""

import os
import subprocess
import sys

import pytest

from penult_server.compute_environment import (
    BLAS_THREADS,
    PRODUCT_THREADS,
    compute_environment,
    job_environment,
    usable_cores,
)

COUNT = "import numpy, threadpoolctl; print([i['num_threads'] for i in threadpoolctl.threadpool_info()])"


def test_one_thread_of_the_blas_and_products_over_all_cores() -> None:
    found = compute_environment({}, 16)
    assert found[PRODUCT_THREADS] == "16"
    assert {found[name] for name in BLAS_THREADS if name in found} == {"1"}
    assert "OMP_NUM_THREADS" not in found
    clean = {name: value for name, value in os.environ.items() if name not in BLAS_THREADS}
    ran = subprocess.run([sys.executable, "-c", COUNT], env=clean | found, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[1]"


@pytest.mark.parametrize("name", BLAS_THREADS)
def test_a_number_of_threads_that_is_set_stays(name: str) -> None:
    found = compute_environment({name: "4"}, 16)
    assert PRODUCT_THREADS not in found
    assert not set(found) & set(BLAS_THREADS)


def test_arenas_that_are_set_stay() -> None:
    assert compute_environment({"MALLOC_ARENA_MAX": "3"}, 2)["MALLOC_ARENA_MAX"] == "3"


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1


ACTIVATIONS = """
import resource

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

b'1' * 2**26
before = faults()
for _ in range(4):
    b'1' * 2**26
print(faults() - before)
"""


def test_jobs_keep_the_memory_of_large_arrays():
    """Of four arrays of 64 MB, one after the other, pages are cleared anew by default, and not where they are kept."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}

    def page_faults(variables: dict[str, str]) -> int:
        command = [sys.executable, "-c", ACTIVATIONS]
        return int(subprocess.run(command, env=clean | variables, check=True, capture_output=True).stdout)

    assert page_faults(job_environment(clean)) < 100 < page_faults({})
    assert job_environment(clean | {"MALLOC_ARENA_MAX": "4"}) == {}
