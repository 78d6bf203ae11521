"""What a query will need is said, and refused, before it is started."""

import numpy as np
import pytest

from penult_kernels.spectra.imbalance import Pair
from penult_proto.errors import ErrorKind
from penult_server.compute.backend import Backend
from penult_server.compute.memory import available_bytes, inference_bytes, require, spectra_bytes
from penult_server.errors import ServiceError


def test_spectra_need_one_product_at_a_time():
    assert spectra_bytes([10, 5000], 2000, has_moments=True) == 5 * 2000**2 * 8
    assert spectra_bytes([10, 500], 2000, has_moments=False) == 500 * 2000 * 4 + 4 * 500**2 * 8
    assert spectra_bytes([], 2000, has_moments=False) == 0


def test_replicates_need_the_rows_of_the_largest_pair():
    small, large = Pair(0, 0, 1, 10, 20), Pair(1, 2, 3, 1000, 30_000)
    assert inference_bytes([], 100) == 0
    needed = inference_bytes([small, large], 100) - inference_bytes([small], 100)
    assert needed == pytest.approx((31_000 - 30) * 100 * 12, rel=0.01)
    assert inference_bytes([small], 10**6) > inference_bytes([small], 10)


def test_what_does_not_fit_is_refused_with_the_numbers():
    require(5, 5, "never")
    require(2**60, None, "nobody knows")
    with pytest.raises(ServiceError, match=r"about 2\.0 GiB .* 1\.0 GiB are free; rest") as caught:
        require(2 * 2**30, 2**30, "rest")
    assert caught.value.kind == ErrorKind.OUT_OF_MEMORY


def test_this_machine_says_what_it_has():
    free = available_bytes(Backend(np, "numpy", "cpu"))
    assert free is None or free > 2**20
