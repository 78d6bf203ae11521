"""Moments against numpy.cov, and what must not change them."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from penult_kernels import budget
from penult_kernels.arrays import to_host
from penult_kernels.finite import NotFiniteError
from penult_kernels.moments.accumulation import MomentAccumulator, moments_of
from penult_kernels.moments.moments import Moments, covariance, empty_moments, merge, pool, unions
from penult_kernels.moments.packing import pack_symmetric, packed_length, unpack_symmetric
from penult_kernels.moments.partials import empty_partial, merge_into, whole
from penult_kernels.products import spread_over


@pytest.fixture
def spread():
    """`spread_over` for one test."""
    yield spread_over
    spread_over(0)


SIZES = (7, 0, 1, 12, 3)


def sample(rng: np.random.Generator, *, n_features: int = 4, offset: float = 0.0):
    """Rows of five groups, one of them empty, one of a single row; in random order."""
    g = rng.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    return rng.standard_normal((g.size, n_features)) + offset + g[:, None], g


def host(moments: Moments) -> list[np.ndarray]:
    return [to_host(array) for array in (moments.count, moments.weight, moments.mean, moments.m2)]


def assert_same(found: Moments, expected: Moments, rtol: float = 1e-12) -> None:
    for a, b in zip(host(found), host(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("correction", [0, 1])
def test_covariance_equals_numpy(backend, rng, correction):
    features, g = sample(rng)
    found = moments_of(backend.array(features), backend.array(g), 5)
    assert all(backend.owns(array) for array in (found.count, found.mean, found.m2))
    assert to_host(found.count).tolist() == list(SIZES)
    result = to_host(covariance(found.m2, found.count, correction=correction))
    for k in range(5):
        rows = features[g == k]
        if len(rows) <= correction:
            assert np.isnan(result[k]).all()
        else:
            expected = np.cov(rows.T, ddof=correction) if len(rows) > 1 else np.zeros((4, 4))
            np.testing.assert_allclose(result[k], expected, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(to_host(found.mean)[k], rows.mean(axis=0), rtol=1e-13)


def test_covariance_of_one_matrix_takes_a_plain_count(backend):
    result = covariance(backend.array(np.eye(2)), 4, correction=1)
    np.testing.assert_allclose(to_host(result), np.eye(2) / 3)


def test_labels_may_stay_on_the_host(backend, rng):
    features, g = sample(rng)
    x = backend.array(features)
    assert_same(moments_of(x, g, 5), moments_of(x, backend.array(g), 5), rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_distant_mean_loses_nothing_beyond_the_storage_type(backend, rng, dtype):
    stored = (rng.standard_normal((300, 3)) + 1e6).astype(dtype)
    found = moments_of(backend.array(stored), np.zeros(300, dtype=np.int64), 1)
    # Exact integers of Python stand in for infinite precision: stored values are multiples of 2^-40.
    exact = [[int(value * 2**40) for value in row] for row in stored.astype(np.float64).tolist()]
    n = len(exact)
    for i in range(3):
        for j in range(3):
            sums = sum(r[i] for r in exact), sum(r[j] for r in exact)
            n_times_m2 = n * sum(r[i] * r[j] for r in exact) - sums[0] * sums[1]
            scale = 300.0
            assert float(to_host(found.m2)[0, i, j]) == pytest.approx(n_times_m2 / n / 2**80, abs=1e-11 * scale)


def test_half_precision_features_are_widened_first(rng):
    features = (rng.standard_normal((5000, 2)) + 300).astype(np.float16)
    found = moments_of(features, np.zeros(5000, dtype=np.int64), 1)
    np.testing.assert_allclose(found.m2[0] / 5000, np.cov(features.astype(np.float64).T, ddof=0), rtol=1e-12)


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_short_buffers_add_up(rng, set_budget, capacity):
    features, g = sample(rng, offset=1e3)
    whole = moments_of(features, g, 5)
    set_budget(buffer_rows=capacity)
    assert_same(moments_of(features, g, 5), whole, rtol=1e-10)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, sum(SIZES)), max_size=6), capacity=st.integers(1, 8))
def test_cutting_the_stream_into_chunks_changes_no_bit(cuts, capacity):
    features, g = sample(np.random.default_rng(0), offset=1e3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "DEFAULT", replace(budget.DEFAULT, buffer_rows=capacity))
        accumulator = MomentAccumulator(5, 4, dtype=features.dtype)
        for x, k in zip(np.split(features, sorted(cuts)), np.split(g, sorted(cuts)), strict=True):
            accumulator.add(x, k)
        assert_same(accumulator.finish(), moments_of(features, g, 5), rtol=0)


@pytest.mark.parametrize("order", ["far first", "far last", "drifting", "one row far"])
@pytest.mark.parametrize("capacity", [1, 16, 2048])
def test_means_that_move_by_millions_lose_nothing(rng, set_budget, order, capacity):
    """Against sums in extended precision, element by element, relative to the standard deviations."""
    set_budget(buffer_rows=capacity)
    offsets = {
        "far first": np.where(np.arange(400) < 200, 1e6, 0.0),
        "far last": np.where(np.arange(400) < 399, 0.0, -1e6),
        "drifting": np.linspace(-1e6, 1e6, 400),
        "one row far": np.where(np.arange(400) == 0, 1e6, 0.0),
    }[order]
    features = rng.standard_normal((400, 3)) + offsets[:, None]
    exact = features.astype(np.longdouble)
    exact = exact - exact.mean(axis=0)
    expected = (exact.T @ exact).astype(np.float64)
    found = moments_of(features, np.zeros(400, dtype=np.int64), 1).m2[0]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize(("dtype", "offset"), [(np.float32, 0), (np.float32, 1e6), (np.float64, 1e6)])
def test_float32_products_keep_float32_precision_at_any_mean(backend, rng, dtype, offset):
    stored = (rng.standard_normal((3000, 6)) + offset).astype(dtype)
    features = backend.array(stored)
    accumulator = MomentAccumulator(
        1, 6, dtype=features.dtype, products="float32", xp=backend.xp, device=backend.device
    )
    accumulator.add(features, np.zeros(3000, dtype=np.int64))
    expected = np.cov(stored.astype(np.float64).T, ddof=0)
    found = to_host(accumulator.finish().m2)[0] / 3000
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6 * expected.max())


def test_a_weight_is_a_number_of_equal_rows(backend, rng):
    features, g = sample(rng, offset=1e3)
    weights = rng.integers(0, 4, g.size)
    found = moments_of(backend.array(features), g, 5, backend.array(weights.astype(np.float64)))
    repeated = moments_of(np.repeat(features, weights, axis=0), np.repeat(g, weights), 5)
    assert to_host(found.weight).tolist() == to_host(repeated.weight).tolist() == to_host(repeated.count).tolist()
    assert to_host(found.count).tolist() == np.bincount(g[weights > 0], minlength=5).tolist()
    for name in ("mean", "m2"):
        np.testing.assert_allclose(to_host(getattr(found, name)), getattr(repeated, name), rtol=1e-11, atol=1e-9)


def test_weighted_and_plain_calls_mix_and_merge(rng):
    features, g = sample(rng)
    weights = rng.random(g.size)
    accumulator = MomentAccumulator(5, 4, dtype=features.dtype)
    accumulator.add(features, g)
    accumulator.add(features, g, weights)
    found = accumulator.finish()
    assert_same(found, merge(moments_of(features, g, 5), moments_of(features, g, 5, weights)), rtol=1e-11)
    together = moments_of(np.tile(features, (2, 1)), np.tile(g, 2), 5, np.r_[np.ones(g.size), weights])
    assert_same(found, together, rtol=0)
    np.testing.assert_allclose(
        found.m2[3] / found.weight[3],
        np.cov(features[g == 3].T, aweights=1 + weights[g == 3], ddof=0),
        rtol=1e-11,
        atol=1e-14,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named(backend, rng, value):
    features, g = sample(rng)
    features[17, 2] = value
    accumulator = MomentAccumulator(5, 4, dtype=backend.xp.float64, xp=backend.xp, device=backend.device)
    for x, k in zip(np.split(features, [9, 11]), np.split(g, [9, 11]), strict=True):
        accumulator.add(backend.array(x), k)
    with pytest.raises(NotFiniteError, match=rf"got {value} in row 17, column 2") as caught:
        accumulator.finish()
    assert (caught.value.row, caught.value.column) == (17, 2)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, sum(SIZES)), max_size=6), seed=st.integers(0, 2**32))
def test_any_split_merged_in_any_order_is_the_whole(cuts, seed):
    rng = np.random.default_rng(seed)
    features, g = sample(rng, offset=1e3)
    parts = [
        moments_of(x, k, 5) for x, k in zip(np.split(features, sorted(cuts)), np.split(g, sorted(cuts)), strict=True)
    ]
    while len(parts) > 1:
        i = int(rng.integers(len(parts) - 1))
        parts[i : i + 2] = [merge(parts[i], parts[i + 1])] if rng.random() < 0.5 else [merge(*parts[i : i + 2][::-1])]
    assert_same(parts[0], moments_of(features, g, 5), rtol=1e-10)


def test_merging_with_nothing_changes_nothing(backend, rng):
    features, g = sample(rng)
    found = moments_of(backend.array(features), g, 5)
    nothing = empty_moments(5, 4, xp=backend.xp, device=backend.device)
    assert_same(merge(found, nothing), found, rtol=0)
    assert_same(merge(nothing, found), found, rtol=0)


def test_pooling_equals_relabelling(backend, rng):
    features, g = sample(rng, offset=1e3)
    labels = np.array([1, 0, 1, 3, 1])
    found = pool(moments_of(backend.array(features), g, 5), labels.tolist(), 4)
    assert backend.owns(found.m2)
    assert_same(found, moments_of(backend.array(features), labels[g], 4), rtol=1e-10)


def test_pooling_every_group_into_its_own_is_the_identity(rng):
    found = moments_of(*sample(rng), 5)
    assert_same(pool(found, range(5), 5), found, rtol=0)


def test_unions_may_overlap(backend, rng):
    features, g = sample(rng, offset=1e3)
    found = unions(moments_of(backend.array(features), g, 5), [[0, 2], [4, 2, 3], [], [1]])
    for k, groups in enumerate([[0, 2], [4, 2, 3]]):
        rows = features[np.isin(g, groups)]
        np.testing.assert_allclose(to_host(found.m2)[k], np.cov(rows.T, ddof=0) * len(rows), rtol=1e-9, atol=1e-9)
    assert to_host(found.count).tolist() == [8, 16, 0, 0]
    assert not to_host(found.m2)[2:].any()


@settings(max_examples=30, deadline=None)
@given(n_features=st.integers(1, 12), tile=st.integers(1, 13))
def test_packed_triangles_unpack_to_the_same(n_features, tile):
    whole = np.random.default_rng(n_features).standard_normal((2, n_features, n_features))
    whole = whole + np.swapaxes(whole, 1, 2)
    packed = pack_symmetric(whole, tile)
    assert packed.shape == (2, packed_length(n_features, tile))
    np.testing.assert_array_equal(unpack_symmetric(packed, n_features, tile), whole)


def test_packing_on_every_backend(backend):
    whole = np.arange(36.0).reshape(6, 6) + np.arange(36.0).reshape(6, 6).T
    packed = pack_symmetric(backend.array(whole), 4)
    assert backend.owns(packed)
    np.testing.assert_array_equal(to_host(unpack_symmetric(packed, 6, 4)), whole)
    np.testing.assert_array_equal(pack_symmetric(whole, 1), whole[np.triu_indices(6)])
    with pytest.raises(ValueError, match="strips of 4 has 28 numbers, got 27"):
        unpack_symmetric(np.zeros(27), 6, 4)


@pytest.mark.parametrize("products", ["float64", "float32"])
def test_parts_of_the_rows_are_merged(backend, rng, products):
    features, g = sample(rng, offset=1e3)
    accumulator = MomentAccumulator(
        5, 4, dtype=backend.xp.float64, xp=backend.xp, device=backend.device, products=products
    )
    total = empty_partial(5, 4, xp=backend.xp, device=backend.device)
    for rows in (slice(0, 9), slice(9, 9), slice(9, 21), slice(21, None)):
        accumulator.add(backend.array(features[rows]), g[rows])
        merge_into(total, accumulator.part())
        accumulator.restart()
    expected = moments_of(features, g, 5)
    assert_same(whole(total), expected, rtol=1e-10 if products == "float64" else 1e-5)
    np.testing.assert_array_equal(to_host(whole(total).m2), np.swapaxes(to_host(whole(total).m2), 1, 2))
    assert not to_host(whole(accumulator.part()).m2).any()
    with pytest.raises(ValueError, match="got"):
        merge_into(total, empty_partial(2, 4, xp=backend.xp, device=backend.device))


def test_parts_have_the_same_bits_in_an_accumulator_that_was_used_before(rng):
    features, g = sample(rng, offset=1e3)
    used, fresh = (MomentAccumulator(5, 4, dtype=np.float64) for _ in range(2))
    used.add(features[::-1], g[::-1])
    used.part()
    used.restart()
    for one in (used, fresh):
        one.add(features[5:], g[5:])
    assert_same(used.finish(), fresh.finish(), rtol=0)


@pytest.mark.parametrize("products", ["float64", "float32"])
def test_threads_change_no_bit(products, rng, set_budget, spread):
    """Portions are multiplied by any thread and added in their order."""
    set_budget(buffer_rows=7)
    features = rng.standard_normal((2000, 70)) + 1e3
    g = rng.choice(3, 2000, p=[0.9, 0.08, 0.02])
    found = []
    for threads in (1, 2, 3, 8):
        spread(threads)
        accumulator = MomentAccumulator(3, 70, dtype=np.float64, products=products)
        for first in range(0, 2000, 300):
            accumulator.add(features[first : first + 300], g[first : first + 300])
        found.append(accumulator.finish())
    for one in found[1:]:
        assert_same(one, found[0], rtol=0)


@pytest.mark.parametrize("n_features", [100, 300, 384])
def test_threads_of_the_blas_change_no_bit(rng, n_features):
    """A syrk of 300 columns has other bits on two threads than on one, of 320 it has not."""
    features, g = rng.standard_normal((2500, n_features)).astype(np.float32), rng.integers(0, 2, 2500)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, "blas"):
            found.append(moments_of(features, g, 2))
    for one in found[1:]:
        assert_same(one, found[0], rtol=0)


def test_an_error_of_a_thread_is_the_callers(set_budget, spread):
    set_budget(buffer_rows=7)

    def fails(*_):
        raise MemoryError("no room")

    spread(2)
    accumulator = MomentAccumulator(3, 70, dtype=np.float64, center=fails)
    with pytest.raises(MemoryError, match="no room"):  # noqa: PT012
        accumulator.add(np.ones((60, 70)), np.zeros(60, dtype=np.int64))
        accumulator.part()


def test_permuting_rows_changes_nothing(rng):
    features, g = sample(rng)
    order = rng.permutation(g.size)
    assert_same(moments_of(features[order], g[order], 5), moments_of(features, g, 5))


def test_no_rows():
    assert moments_of(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), 2).m2.tolist() == np.zeros((2, 3, 3)).tolist()
    assert pool(empty_moments(2, 3), [0, 0], 1).count.tolist() == [0]


@pytest.mark.parametrize(
    ("g", "message"),
    [([0, 2], "0 ... 1, got 0 ... 2"), ([-1, 0], "got -1"), ([0], r"shape \(2,\), got \(1,\)"), ([0.0, 1.0], "whole")],
)
def test_wrong_groups_are_refused(g, message):
    with pytest.raises(ValueError, match=message):
        moments_of(np.zeros((2, 3)), np.array(g), 2)


def test_other_misuse_is_refused():
    with pytest.raises(ValueError, match=r"shape \(N, D\), got shape \(3,\)"):
        moments_of(np.zeros(3), np.zeros(3, dtype=np.int64), 1)
    with pytest.raises(ValueError, match="dtype int64"):
        moments_of(np.zeros((3, 1), dtype=np.int64), np.zeros(3, dtype=np.int64), 1)
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 4\)"):
        merge(empty_moments(2, 3), empty_moments(2, 4))
    with pytest.raises(ValueError, match="n_groups must be at least 1, got 0"):
        moments_of(np.zeros((0, 1)), np.zeros(0, dtype=np.int64), 0)
    with pytest.raises(ValueError, match="n_pools must be at least 1, got 0"):
        pool(empty_moments(2, 3), [0, 0], 0)
    with pytest.raises(ValueError, match="correction must be 0"):
        covariance(np.eye(2), 3, correction=-1)
    with pytest.raises(ValueError, match="twice"):
        unions(empty_moments(2, 3), [[0, 0]])
    with pytest.raises(ValueError, match=r"0 \.\.\. 1, got 2"):
        unions(empty_moments(2, 3), [[2]])
    with pytest.raises(ValueError, match="float64 with 3 columns, as announced; got float32 with 3"):
        MomentAccumulator(1, 3, dtype=np.float64).add(np.zeros((1, 3), np.float32), np.zeros(1, dtype=np.int64))
    for weights, message in [([1.0], "one entry per row"), ([1, -1], "got -1.0 in row 1"), ([np.nan, 1], "row 0")]:
        with pytest.raises(ValueError, match=message):
            moments_of(np.zeros((2, 3)), np.zeros(2, dtype=np.int64), 1, np.array(weights))


def test_an_accumulator_s_memory_goes_with_it():
    """Not at a collection of circles: a server makes one for every upload."""
    gc.disable()
    try:
        accumulator = MomentAccumulator(2, 40, dtype=np.dtype(np.float32))
        accumulator.add(np.ones((100, 40), np.float32), np.arange(100) % 2)
        accumulator.part()
        left = weakref.ref(accumulator)
        del accumulator
        assert left() is None
    finally:
        gc.enable()
