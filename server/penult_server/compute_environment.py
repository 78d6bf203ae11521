"""Threads and memory of the compute worker, which are settled before it starts: libraries read them as they load."""

import os
from collections.abc import Mapping

BLAS_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OMP_NUM_THREADS",
)
"""Environment variables that set the number of threads of the BLAS libraries that NumPy is built with."""
PRODUCT_THREADS = "PENULT_PRODUCT_THREADS"
"""Environment variable with the number of threads over which the worker itself splits large products."""


def compute_environment(ours: Mapping[str, str], n_cores: int) -> dict[str, str]:
    """Variables that the compute worker's environment has in addition to `ours`.

    The BLAS has one thread, and the worker splits what is large itself: threads of the BLAS wait for each other in
    every product, and twenty L1 refits that take 0.2 s took 2 to 23 s with two of them while another process was busy.
    Where a number of threads is set already, the BLAS has that many and nothing is split.
    """
    # One arena: in those of other threads glibc gives freed memory back at once, and clearing fresh pages of the same
    # 30 MB took a tenth of the time of DFR's fits.
    memory = {"MALLOC_ARENA_MAX": ours.get("MALLOC_ARENA_MAX", "1")}
    if any(name in ours for name in BLAS_THREADS):
        return memory
    # OpenMP's own is left alone: what else uses it does not spin (OMP_WAIT_POLICY).
    return memory | dict.fromkeys(BLAS_THREADS[:-1], "1") | {PRODUCT_THREADS: str(n_cores)}


def usable_cores() -> int:
    """Cores that this process and its children may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
