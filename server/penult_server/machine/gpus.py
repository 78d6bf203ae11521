"""GPUs: which there are, and errors after which a process cannot use its own any more."""

import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from penult_server.machine.causes import chain

VISIBLE = "CUDA_VISIBLE_DEVICES"
EXIT_LOST = 70
"""Exit status of a worker that has lost its GPU."""
_DEVICE_FILE = re.compile(r"nvidia(\d+)")
_ERROR_TYPES = frozenset({"CUDARuntimeError", "CUDADriverError", "AcceleratorError"})
"""Names of the frameworks' classes; torch before 2.8 has a RuntimeError that begins with "CUDA error"."""
_LOST = re.compile(
    "illegal memory access|illegal address|unspecified launch failure|launch failed|launch timed out|"
    "misaligned address|illegal instruction|hardware stack error|invalid program counter|address space|"
    "device-side assert|uncorrectable|context is destroyed|unknown error",
    re.IGNORECASE,
)


def visible_gpus(variables: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[str, ...]:
    """The GPUs that this process may use, named as in CUDA_VISIBLE_DEVICES; none where they cannot be told."""
    if VISIBLE in variables:
        return tuple(name for one in variables[VISIBLE].split(",") if (name := one.strip()) and name != "-1")
    found = [_DEVICE_FILE.fullmatch(path.name) for path in devices.glob("nvidia*")]
    # CUDA numbers them from 0, whatever their files are called where a container has some of them.
    return tuple(map(str, range(sum(one is not None for one in found))))


def use_only(names: Sequence[str]) -> None:
    """From now on this process, which has not used a GPU yet, and its children see these alone; without names, all."""
    if names:
        os.environ[VISIBLE] = ",".join(names)


def is_lost(error: BaseException) -> bool:
    """Whether an error means that this process's GPU context is gone: every later call to it would fail."""
    return any(_says_lost(one) for one in chain(error))


def leave_if_lost(error: BaseException) -> None:
    """End this process, without a word to those who wait, when the error says that its GPU context is gone.

    They are told that the worker died, and the next worker has a context of its own.
    """
    if is_lost(error):
        sys.stderr.write("the GPU failed in a way that only another process can use it again; this worker ends\n")
        traceback.print_exception(error)
        sys.stderr.flush()
        os._exit(EXIT_LOST)


def _says_lost(error: BaseException) -> bool:
    is_of_gpu = type(error).__name__ in _ERROR_TYPES or str(error).startswith("CUDA error")
    return is_of_gpu and _LOST.search(str(error)) is not None
