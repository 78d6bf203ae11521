"""The memory that a query will need, checked before it is started."""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from penult_kernels import budget
from penult_kernels.moments.accumulation import accumulator_bytes
from penult_kernels.spectra.imbalance import Pair
from penult_proto.errors import ErrorKind
from penult_server.compute.backend import Backend
from penult_server.errors import ServiceError

_LIBRARY = ctypes.CDLL(None)
_TRIM = getattr(_LIBRARY, "malloc_trim", None)
MOST_FREE = 64 * 2**20
"""Bytes that are free inside this process and yet not given back: clearing them again would take a query's time."""
COPIES_OF_A_PRODUCT = 4
"""Matrices of the size of a second moment: it, the copy that is decomposed, and the workspace."""
RESIDUAL_BYTES = 4
"""Bytes of a feature of a resampled row, whose residual is float32."""
ROW_BYTES = 48
"""Bytes of a row of a part besides its features: its position, weight and share, and copies of these."""
BLOCK_BYTES = 20
"""Bytes of a feature of a row in a block: gathered in at most 4 bytes, converted to float64, and less its mean."""


def spectra_bytes(counts: Sequence[int], n_features: int, *, has_moments: bool) -> int:
    """Bytes for spectra, without resident features: moments of a group, or a block of its rows, and its products."""
    largest = max(counts, default=0)
    side = n_features if has_moments else min(largest, n_features)
    inputs = n_features * n_features * 8 if has_moments else _block_bytes(largest, n_features)
    return inputs + COPIES_OF_A_PRODUCT * side * side * 8


def weighted_bytes(counts: Sequence[int], n_features: int) -> int:
    """Bytes for spectra of weighted rows, without resident features: a part's moments are summed."""
    return spectra_bytes(counts, n_features, has_moments=False) + accumulator_bytes(1, n_features, 4)


def inference_bytes(pairs: Sequence[Pair], n_features: int) -> int:
    """Bytes for resampling, without resident features: residuals of the largest pair, and one batch of replicates."""
    if not pairs:
        return 0
    rows = max(pair.n_minority + pair.n_majority for pair in pairs)
    gram = COPIES_OF_A_PRODUCT * rows * rows * 8 if 2 * rows <= n_features else 0
    return gram + bootstrap_bytes(rows, n_features)


def bootstrap_bytes(n_rows: int, n_features: int) -> int:
    """Bytes for resampling one group of weighted rows, without resident features."""
    return (
        n_rows * n_features * RESIDUAL_BYTES + _block_bytes(n_rows, n_features) + _replicates_bytes(n_rows, n_features)
    )


def _block_bytes(n_rows: int, n_features: int) -> int:
    """Bytes of the rows that are converted at a time, and of what is known of each row."""
    return n_rows * ROW_BYTES + min(n_rows * n_features, budget.DEFAULT.product_rows_bytes // 8) * BLOCK_BYTES


def _replicates_bytes(n_rows: int, n_features: int) -> int:
    """Bytes of one batch of replicates, and of the inner products of rows where these are taken."""
    inner = n_rows * n_rows * 4 if n_rows < 2 * n_features else 0
    return 4 * budget.DEFAULT.replicates_bytes + 4 * budget.DEFAULT.projections_bytes + inner


def used_bytes(backend: Backend) -> int:
    """Bytes in use on the device; of "cpu" those of this process; 0 if the system does not report them."""
    if backend.name == "cupy":
        free, total = backend.xp.cuda.runtime.memGetInfo()
        return int(total) - int(free)
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.is_file() else 0


def available_bytes(backend: Backend) -> int | None:
    """Bytes of free memory on the device that are this worker's; None if the system does not report them.

    Of what is free each that shares it has as much: if all of them take theirs at once, there is enough.
    """
    if backend.name == "cupy":
        free, _total = backend.xp.cuda.runtime.memGetInfo()
        return int(free) // backend.sharers + int(backend.xp.get_default_memory_pool().free_bytes())
    return available_host_bytes(backend)


def available_host_bytes(backend: Backend) -> int | None:
    """Bytes of the machine's free memory that are this worker's; None if the system does not report them."""
    free = host_bytes()
    return None if free is None else free // backend.sharers


def host_bytes() -> int | None:
    """Bytes of free memory of the machine; None if the system does not report them."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None


def give_back() -> None:
    """Give memory that is free inside this process back to the system, where the C library can."""
    if _TRIM is not None:
        _TRIM(0)


class _Mallinfo2(ctypes.Structure):
    """What glibc says of its heap, each a size_t; `fordblks` are the free bytes."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


_MALLINFO = getattr(_LIBRARY, "mallinfo2", None)
if _MALLINFO is not None:
    _MALLINFO.restype = _Mallinfo2


def give_back_much() -> None:
    """Give memory back where more of it is free inside this process than small queries use again and again."""
    if _MALLINFO is not None and _MALLINFO().fordblks > MOST_FREE:
        give_back()


def require(needed: int, available: int | None, advice: str) -> None:
    """Raise ServiceError (OUT_OF_MEMORY) when `needed` bytes are more than there are."""
    if available is not None and needed > available:
        raise ServiceError(
            ErrorKind.OUT_OF_MEMORY,
            f"the answer needs about {needed / 2**30:.1f} GiB of memory in addition to the features, "
            f"{available / 2**30:.1f} GiB are free; {advice}",
            needed=needed,
            available=available,
        )
