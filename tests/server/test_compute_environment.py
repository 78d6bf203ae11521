"""Threads of the compute worker: one of the BLAS, large products on its own; what users set themselves is respected."""

import os
import subprocess
import sys

import pytest

from penult_server.compute_environment import BLAS_THREADS, PRODUCT_THREADS, compute_environment, usable_cores

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
