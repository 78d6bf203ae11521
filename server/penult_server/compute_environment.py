"""Threads and memory of workers, which are settled before they start: libraries read them as they load."""

import ctypes
import os
import platform
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
KEPT_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
"""Environment variables by which glibc keeps what a process frees, in the one arena from which it can be large."""
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Numbers by which `mallopt` sets these in a process that runs (glibc's malloc.h); its values are ints."""
SHARED_CORES = {"OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
"""Environment variables of every process that computes: idle threads of OpenMP must not spin, for several processes
share the cores, and a step of two spinning threads on busy cores took six times its processor time."""
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


def job_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Variables that the environment of processes of jobs has in addition to `ours`.

    By default glibc gives the memory of every large activation back to the system when it is free, and the system
    clears its pages again for the next one: a third of the processor time of forward passes on a CPU. Here freed memory
    stays with the process, whose peak is a twentieth higher. Where one of these is set already, nothing is changed.
    """
    if any(name in ours for name in KEPT_MEMORY) or "GLIBC_TUNABLES" in ours:
        return {}
    return dict(KEPT_MEMORY)


def keep_memory(ours: Mapping[str, str]) -> None:
    """`job_environment` for a process that has started already, as those of a cluster have; nothing without glibc."""
    if not job_environment(ours) or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1)):
        libc.mallopt(option, value)


def usable_cores() -> int:
    """Cores that this process and its children may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
