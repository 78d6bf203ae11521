"""Copies of rows to a CUDA device while earlier rows are multiplied, and centering by one kernel.

Nothing here runs without a GPU; `stream_moments` uses it where the arrays are CuPy's.
"""

import importlib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.moments.centering import center_rows
from penult_server.compute.backend import Backend

SLOTS = 2
"""Pinned buffers, and buffers on the device: one is filled while the other is in use."""
BLOCK = (128, 2)
"""Threads of a block: columns, rows."""
MOST_ROW_BLOCKS = 4096


def copied_ahead(blocks: Iterator[NDArray[Any]], backend: Backend) -> Iterator[Any]:
    """The blocks on the device, each copied on a separate stream while the one before is in use.

    A block is valid until the next one is asked for: its buffer is then filled again.
    """
    slots: list[_Slot] = []
    copies = backend.xp.cuda.Stream(non_blocking=True)
    before: _Slot | None = None
    for position, block in enumerate(blocks):
        if len(slots) < SLOTS:
            slots.append(_Slot(block, backend))
        slot = slots[position % SLOTS]
        slot.fill(block, copies)
        if before is not None:
            yield before.wait()
            before.release()
        before = slot
    if before is not None:
        yield before.wait()
        before.release()


class _Slot:
    """A pinned buffer, one on the device, and the events that say when each may be touched."""

    def __init__(self, block: NDArray[Any], backend: Backend) -> None:
        cupyx: Any = importlib.import_module("cupyx")
        cuda = backend.xp.cuda
        self._current = cuda.get_current_stream
        self._pinned: NDArray[Any] = cupyx.empty_pinned(block.shape, dtype=block.dtype)
        self._device = backend.xp.empty(block.shape, dtype=block.dtype)
        self._copied = cuda.Event(disable_timing=True)
        self._used = cuda.Event(disable_timing=True)
        self._n = 0
        # The device buffer may still be in use by what was allocated there before, on the current stream.
        self._used.record(self._current())

    def fill(self, block: NDArray[Any], copies: Any) -> None:
        """Start the copy of a block, at most as long as the first; the host returns at once."""
        self._n = len(block)
        self._copied.synchronize()
        self._pinned[: self._n] = block
        copies.wait_event(self._used)
        self._device[: self._n].set(self._pinned[: self._n], stream=copies)
        self._copied.record(copies)

    def wait(self) -> Any:
        """The block on the device; the current stream waits for its copy, the host does not."""
        self._current().wait_event(self._copied)
        return self._device[: self._n]

    def release(self) -> None:
        """Record that nothing queued later reads the block."""
        self._used.record(self._current())


OWN_SOURCES = ("center_rows",)
"""CUDA sources of our own, each of which `compute.warming` compiles ahead."""


def own_source(name: str) -> str:
    """The text of one of them."""
    return resources.files("penult_kernels").joinpath(f"cuda/{name}.cu").read_text(encoding="utf-8")


class CudaCenter:
    """`center_rows` as one CUDA kernel, for rows stored as float32 or float64."""

    def __init__(self, backend: Backend) -> None:
        self._module = backend.xp.RawModule(code=own_source("center_rows"), options=("--std=c++17",))

    def __call__(self, rows: Any, mean: Any, root_weights: Any, out: Any) -> None:
        """Write (rows - mean) * root_weights[:, None] into `out`; both `rows` and `out` are contiguous."""
        if rows.dtype.name not in ("float32", "float64"):
            center_rows(rows, mean, root_weights, out)
            return
        n_rows, n_features = rows.shape
        kernel = self._module.get_function(f"center_rows_{rows.dtype.name}_{out.dtype.name}")
        grid = (-(-n_features // BLOCK[0]), min(-(-n_rows // BLOCK[1]), MOST_ROW_BLOCKS))
        weights = np.intp(0) if root_weights is None else root_weights
        kernel(grid, BLOCK, (rows, mean, weights, out, np.int64(n_rows), np.int64(n_features)))
