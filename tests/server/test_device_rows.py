"""Rows on their way to a GPU."""

import array_api_compat.cupy
import cupy
import cupyx
import numpy as np
import pytest

from penult_kernels.moments.centering import center_rows
from penult_server.compute.backend import Backend
from penult_server.compute.rows.device_rows import CudaCenter, copied_ahead

HAS_GPU = bool(cupy.cuda.is_available())
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="no CUDA device")]


def test_what_is_called_exists():
    for owner, names in (
        (cupy.cuda, ("Event", "Stream", "get_current_stream")),
        (cupy.cuda.Event, ("record", "synchronize")),
        (cupy.cuda.Stream, ("wait_event",)),
        (cupy, ("RawModule",)),
        (cupy.ndarray, ("set",)),
        (cupyx, ("empty_pinned",)),
    ):
        assert [name for name in names if not hasattr(owner, name)] == []


@pytest.mark.parametrize("n_blocks", [0, 1, 2, 7], ids=str)
@pytest.mark.parametrize("_", [pytest.param(None, marks=needs_gpu)], ids=["cupy"])
def test_blocks_arrive_in_order_and_whole(n_blocks, _):
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((512 if i < n_blocks - 1 else 100, 300)) for i in range(n_blocks)]
    backend = Backend(array_api_compat.cupy, "cupy", "gpu")
    # What is queued on a block before the next is asked for reads that block, however late it runs.
    sums = [block.T @ block for block in copied_ahead(iter(blocks), backend)]
    assert len(sums) == n_blocks
    for found, block in zip(sums, blocks, strict=True):
        np.testing.assert_allclose(found.get(), block.T @ block, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stored", ["float16", "float32", "float64"])
@pytest.mark.parametrize("product", ["float32", "float64"])
@pytest.mark.parametrize("_", [pytest.param(None, marks=needs_gpu)], ids=["cupy"])
def test_the_kernel_centers_as_arrays_do(stored, product, _):
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((1000, 300)) + 100).astype(stored)
    mean, roots = rows.mean(axis=0, dtype=np.float64), rng.random(1000)
    for weights in (None, roots):
        expected, found = np.empty((1000, 300), product), cupy.empty((1000, 300), product)
        center_rows(rows, mean, weights, expected)
        on_device = None if weights is None else cupy.asarray(weights)
        CudaCenter(Backend(array_api_compat.cupy, "cupy", "gpu"))(
            cupy.asarray(rows), cupy.asarray(mean), on_device, found
        )
        np.testing.assert_allclose(found.get(), expected, rtol=1e-5, atol=1e-5)
