"""Nearest neighbours: float64 oracles on rows that float32 gets wrong, and what must not change an answer."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree
from sklearn.neighbors import NearestNeighbors

from penult_kernels.neighbours import search
from penult_kernels.neighbours.nearest import Nearest
from penult_kernels.neighbours.recall import recall_of, shares_found
from penult_kernels.neighbours.search import Apart, nearest
from penult_kernels.neighbours.space import Metric, ZeroRowsError
from penult_kernels.products import spread_over
from penult_kernels.rows import ArrayRows

ROWS = {
    "normal": lambda rng: rng.standard_normal((150, 7)),
    "copies": lambda rng: np.repeat(rng.standard_normal((15, 5)), 10, axis=0)[rng.permutation(150)],
    "grid": lambda rng: rng.integers(1, 4, (150, 3)).astype(float),
    "one row": lambda rng: np.ones((150, 4)),
    "far": lambda rng: rng.standard_normal((150, 7)) + 1000,
    "clusters": lambda rng: np.repeat(rng.standard_normal((3, 6)), 50, axis=0) + 1e-4 * rng.standard_normal((150, 6)),
    "huge": lambda rng: rng.standard_normal((150, 7)) * 1e25,
    "tiny": lambda rng: rng.standard_normal((150, 7)) * 1e-25,
    "one huge": lambda rng: rng.standard_normal((150, 7)) * np.where(np.arange(150) == 5, 1e12, 1)[:, None],
}


@pytest.fixture(params=[16, 1024], ids=["many tiles", "one tile"], autouse=True)
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ROWS_OF_A_TILE", request.param)
    monkeypatch.setattr(search, "DEVICE_ROWS_OF_A_TILE", request.param)


def distances(queries: np.ndarray, among: np.ndarray, metric: Metric) -> np.ndarray:
    """(n, m) in float64, the differences taken first."""
    q, x = queries.astype(np.float64), among.astype(np.float64)
    if metric == Metric.INNER:
        return -(q[:, None] * x[None]).sum(axis=2)
    if metric == Metric.COSINE:
        q, x = (one / np.sqrt(np.square(one).sum(axis=1, keepdims=True)) for one in (q, x))
    squares = np.square(q[:, None] - x[None]).sum(axis=2)
    return np.sqrt(squares) if metric == Metric.L2 else squares / 2


def check(found: Nearest, every: np.ndarray, k: int) -> None:
    """The k smallest of each row of `every`, equal ones in the order of their numbers; inf is none."""
    order = np.argsort(every, axis=1, kind="stable")[:, :k]
    expected = np.take_along_axis(every, order, axis=1)
    scale = np.abs(every[np.isfinite(every)]).max()
    np.testing.assert_allclose(
        found.distance, np.where(np.isinf(expected), np.nan, expected), rtol=0, atol=1e-13 * scale
    )
    assert np.array_equal(found.position < 0, np.isinf(expected))
    # Where the rounding of float64 alone orders two rows, either is right: each position has the distance that is said.
    own = np.take_along_axis(every, np.maximum(found.position, 0), axis=1)
    np.testing.assert_allclose(np.where(found.position < 0, np.inf, own), expected, rtol=0, atol=1e-13 * scale)
    assert all(len(set(row[row >= 0].tolist())) == (row >= 0).sum() for row in found.position)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("name", ROWS)
def test_of_a_set_itself(name: str, metric: Metric, rng):
    x = ROWS[name](rng).astype(np.float32)
    every = distances(x, x, metric)
    np.fill_diagonal(every, np.inf)
    for k in (1, 5, 40):
        check(nearest(ArrayRows(x), k, metric), every, k)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("name", ROWS)
def test_of_other_rows(name: str, metric: Metric, rng):
    x = ROWS[name](rng).astype(np.float32)
    queries = np.concatenate([x[:20], (x[:20] + x[20:40]) / 2]).astype(np.float32)
    check(nearest(ArrayRows(x), 6, metric, queries=ArrayRows(queries)), distances(queries, x, metric), 6)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("name", ["normal", "copies", "far"])
def test_every_array_library(name: str, metric: Metric, rng, backend: Any):
    x = ROWS[name](rng).astype(np.float32)[:60]
    every = distances(x, x, metric)
    np.fill_diagonal(every, np.inf)
    check(nearest(ArrayRows(backend.array(x)), 5, metric), every, 5)
    some = np.arange(1, 60, 2)
    part = ArrayRows(backend.array(x), some)
    check(nearest(part, 5, metric), every[np.ix_(some, some)], 5)
    check(nearest(part, 5, metric, queries=ArrayRows(backend.array(x[::2]))), distances(x[::2], x[some], metric), 5)


def test_codes_keep_rows_apart(rng):
    x = ROWS["normal"](rng).astype(np.float32)
    codes = rng.integers(0, 4, 150)
    every = np.where(codes[:, None] == codes[None], np.inf, distances(x, x, Metric.L2))
    check(nearest(ArrayRows(x), 5, Metric.L2, apart=Apart(queries=codes, among=codes)), every, 5)
    some = np.flatnonzero(codes < 2)
    found = nearest(
        ArrayRows(x), 149, Metric.L2, queries=ArrayRows(x, some), apart=Apart(queries=codes[some], among=codes)
    )
    check(found, every[some], 149)


def test_equal_distances_come_in_the_order_that_is_given(rng):
    x = ROWS["copies"](rng).astype(np.float32)
    order = rng.permutation(150)
    found = nearest(ArrayRows(x), 9, Metric.L2, order=order)
    assert (found.distance == 0).all()
    assert (np.diff(order[found.position], axis=1) > 0).all()


def test_a_row_with_copies_is_never_its_own_neighbour(rng):
    x = ROWS["copies"](rng).astype(np.float32)
    for metric in (Metric.L2, Metric.COSINE):
        found = nearest(ArrayRows(x), 20, metric)
        assert not (found.position == np.arange(150)[:, None]).any()
        assert (found.distance[:, :9] == 0).all()


def test_scikit_learn_and_scipy(rng):
    x = rng.standard_normal((200, 3)).astype(np.float32)
    distance, index = cKDTree(x.astype(np.float64)).query(x.astype(np.float64), 6)
    found = nearest(ArrayRows(x), 5, Metric.L2)
    assert np.array_equal(found.position, index[:, 1:])
    np.testing.assert_allclose(found.distance, distance[:, 1:], rtol=1e-14)
    theirs = NearestNeighbors(n_neighbors=6, algorithm="brute", metric="cosine").fit(x.astype(np.float64))
    distance, index = theirs.kneighbors()
    found = nearest(ArrayRows(x), 6, Metric.COSINE)
    assert np.array_equal(found.position, index)
    np.testing.assert_allclose(found.distance, distance, atol=1e-15)


@pytest.mark.parametrize("offset", [0, 1, 10, 100])
def test_a_mean_far_from_zero_costs_no_neighbour(offset: float, rng):
    """Of rows whose mean is so many times as long as their deviations, FAISS and scikit-learn lose up to 4 %."""
    x = rng.standard_normal((600, 40)) * np.arange(1, 41) ** -0.5
    x = (x + offset * np.sqrt(np.square(x).sum(axis=1).mean() / 40)).astype(np.float32)
    every = distances(x, x, Metric.L2)
    np.fill_diagonal(every, np.inf)
    found = nearest(ArrayRows(x), 11, Metric.L2)
    assert np.array_equal(found.position, np.argsort(every, axis=1, kind="stable")[:, :11])


def test_translated_rows_have_the_same_neighbours(rng):
    x = np.round(rng.standard_normal((300, 9)) * 1024) / 1024
    first, second = (nearest(ArrayRows((x + by).astype(np.float32)), 8, Metric.L2) for by in (0, 1000))
    assert np.array_equal(first.position, second.position)
    assert np.array_equal(first.distance, second.distance)


@pytest.mark.parametrize("metric", Metric)
def test_permuted_rows_have_permuted_neighbours(metric: Metric, rng):
    x = rng.standard_normal((300, 9)).astype(np.float32)
    shuffled = rng.permutation(300)
    plain, permuted = nearest(ArrayRows(x), 8, metric), nearest(ArrayRows(x[shuffled]), 8, metric)
    assert np.array_equal(shuffled[permuted.position], plain.position[shuffled])
    assert np.array_equal(permuted.distance, plain.distance[shuffled])


def test_half_precision_is_taken_as_it_is(rng):
    x = rng.standard_normal((200, 9)).astype(np.float16)
    half, full = nearest(ArrayRows(x), 8, Metric.COSINE), nearest(ArrayRows(x.astype(np.float32)), 8, Metric.COSINE)
    assert np.array_equal(half.position, full.position)
    assert np.array_equal(half.distance, full.distance)


def test_panels_and_threads_change_nothing(rng, monkeypatch: pytest.MonkeyPatch):
    x = rng.standard_normal((500, 9)).astype(np.float32)
    once = nearest(ArrayRows(x), 8, Metric.L2)
    in_panels = nearest(ArrayRows(x), 8, Metric.L2, memory=1)
    assert np.array_equal(once.position, in_panels.position)
    try:
        spread_over(3)
        threaded = nearest(ArrayRows(x), 8, Metric.L2)
    finally:
        spread_over(0)
    assert np.array_equal(once.position, threaded.position)
    assert np.array_equal(once.distance, threaded.distance)


def test_zero_rows_have_no_cosine(rng):
    x = rng.standard_normal((50, 3)).astype(np.float32)
    x[[4, 9]] = 0
    with pytest.raises(ZeroRowsError, match="2 rows are zero, such as row 4") as caught:
        nearest(ArrayRows(x), 3, Metric.COSINE)
    assert caught.value.rows.tolist() == [4, 9]


def test_memory_is_points_a_tile_and_the_answer(rng, monkeypatch: pytest.MonkeyPatch):
    """Beside the rows themselves: what is found of each, the points of a panel, and a tile."""
    monkeypatch.setattr(search, "ROWS_OF_A_TILE", 256)
    n, d, k = 3000, 64, 16
    x = rng.standard_normal((n, d)).astype(np.float32)
    nearest(ArrayRows(x[:64]), k, Metric.L2)
    tracemalloc.start()
    try:
        nearest(ArrayRows(x), k, Metric.L2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    width = k + 8
    answer = n * (k * 16 + 2 * width * 12)
    points = n * d * 4
    tile = 3 * search.ROWS_OF_A_TILE**2 * 13
    assert peak < answer + points + tile + 2**22


def test_shares_found_count_equally_near_rows():
    exact = np.array([[1.0, 2.0, 2.0], [0.0, 1.0, np.nan], [np.nan] * 3])
    found = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, np.nan], [np.nan] * 3])
    np.testing.assert_allclose(shares_found(found, exact), [2 / 3, 1, np.nan])
    everything = recall_of(exact, exact, seed=0)
    assert everything.value == 1
    assert everything.low < 1
    assert everything.n_rows == 2


def test_the_interval_of_recall_covers_the_recall_of_all_rows(rng):
    shares = np.where(rng.random(20_000) < 0.1, rng.integers(5, 10, 20_000), 10) / 10
    covered = 0
    for seed in range(60):
        sample = rng.choice(shares, 256, replace=False)
        exact = np.tile(np.arange(10.0), (256, 1))
        found = np.where(np.arange(10)[None] < 10 * sample[:, None], exact, np.inf)
        certificate = recall_of(found, exact, seed=seed)
        covered += certificate.low <= shares.mean() <= certificate.high
    assert covered >= 54
