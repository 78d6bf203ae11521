"""What a query will need is said, and refused, before it is started."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from penult_kernels.rows import ArrayRows
from penult_kernels.spectra.imbalance import Pair
from penult_kernels.spectra.inference import infer_imbalance
from penult_kernels.spectra.spectrum import spectrum_from_rows
from penult_kernels.spectra.weighted import largest_interval, weighted_spectrum
from penult_proto.errors import ErrorKind
from penult_server.compute.backend import Backend
from penult_server.compute.memory import (
    available_bytes,
    bootstrap_bytes,
    inference_bytes,
    require,
    spectra_bytes,
    weighted_bytes,
)
from penult_server.errors import ServiceError


def test_spectra_need_one_product_at_a_time():
    assert spectra_bytes([10, 5000], 2000, has_moments=True) == 5 * 2000**2 * 8
    assert spectra_bytes([10, 500], 2000, has_moments=False) == 500 * (2000 * 20 + 48) + 4 * 500**2 * 8
    assert spectra_bytes([], 2000, has_moments=False) == 0


def test_replicates_need_the_rows_of_the_largest_pair():
    small, large = Pair(0, 0, 1, 10, 20), Pair(1, 2, 3, 1000, 30_000)
    assert inference_bytes([], 100) == 0
    needed = inference_bytes([small, large], 100) - inference_bytes([small], 100)
    assert needed == pytest.approx((31_000 - 30) * (100 * 24 + 48), rel=0.01)
    assert inference_bytes([small], 10**6) > inference_bytes([small], 10)


@pytest.mark.parametrize("n_features", [64, 3000])
def test_no_more_is_needed_than_was_said(set_budget, n_features):
    """Of the parts of a set in memory, whose rows are not gathered: blocks, products, residuals and replicates."""
    set_budget(product_rows_bytes=2**20, replicates_bytes=2**20, projections_bytes=2**20, rows_per_single_pass=512)
    n = 1_500_000 // n_features
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, n_features), dtype=np.float32)
    features[:, 0] *= 20
    few, many = (ArrayRows(features, np.arange(k, n, 2)[: n // 3]) for k in (0, 1))
    size, weight = few.shape[0], rng.random(few.shape[0])
    spectra = spectra_bytes([size], n_features, has_moments=False)
    asked = {
        "spectrum": (lambda: spectrum_from_rows(few), spectra),
        "vectors": (lambda: spectrum_from_rows(few, top_k=5, vectors=True), spectra),
        "weighted": (lambda: weighted_spectrum(few, weight), weighted_bytes([size], n_features)),
        "interval": (lambda: largest_interval(few, weight, replicates=2), bootstrap_bytes(size, n_features)),
        "imbalance": (
            lambda: infer_imbalance(few, many, replicates=2),
            inference_bytes([Pair(0, 0, 1, size, size)], n_features),
        ),
    }
    for name, (work, said) in asked.items():
        assert traced_peak(work) <= said, name


def traced_peak(work: Callable[[], object]) -> int:
    """The most that is allocated at a time while `work` is done again: what it imports does not count."""
    work()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_does_not_fit_is_refused_with_the_numbers():
    require(5, 5, "never")
    require(2**60, None, "nobody knows")
    with pytest.raises(ServiceError, match=r"about 2\.0 GiB .* 1\.0 GiB are free; rest") as caught:
        require(2 * 2**30, 2**30, "rest")
    assert caught.value.kind == ErrorKind.OUT_OF_MEMORY


def test_this_machine_says_what_it_has():
    free = available_bytes(Backend(np, "numpy", "cpu"))
    assert free is None or free > 2**20
