"""What is read off neighbours: votes against scikit-learn, duplicates against SciPy, planted noise and minorities."""

import math

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import binom, skew, weibull_min
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier

from penult_kernels.metrics.accuracy import group_metrics
from penult_kernels.neighbours import duplicates, noise, rates
from penult_kernels.neighbours.votes import logits_of_shares, vote_shares


def graph(rows, among=None, k=8):
    """Positions and cosine distances of the k nearest, by brute force; a row is no neighbour of itself."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    others = unit if among is None else among / np.linalg.norm(among, axis=1, keepdims=True)
    distance = np.clip(1 - unit @ others.T, 0, None)
    if among is None:
        np.fill_diagonal(distance, np.inf)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distance, order, axis=1)


@pytest.fixture
def classes(rng):
    y = rng.integers(0, 3, 300)
    return y, rng.standard_normal((300, 6)) + 1.5 * np.eye(3, 6)[y]


def test_votes_are_scikit_learns(rng, classes):
    y, rows = classes
    position, distance = graph(rows[200:], rows[:200], 50)
    for k, shares in vote_shares(y[:200][position], distance, 3, [50, 1, 10], temperature=0.07):
        oracle = KNeighborsClassifier(
            n_neighbors=k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
        ).fit(rows[:200], y[:200])
        np.testing.assert_allclose(shares, oracle.predict_proba(rows[200:]), atol=1e-9)
        found = group_metrics(logits_of_shares(shares), y[200:], y[200:], 3)
        assert found.average_accuracy == oracle.score(rows[200:], y[200:])
        if k > 1:
            expected = log_loss(y[200:], oracle.predict_proba(rows[200:]), labels=[0, 1, 2])
            assert found.probabilities.loss == pytest.approx(expected, rel=1e-6)


def test_a_small_temperature_asks_the_nearest(classes):
    y, rows = classes
    position, distance = graph(rows, k=10)
    ((_, shares),) = vote_shares(y[position], distance, 3, [10], temperature=1e-6)
    np.testing.assert_array_equal(shares.argmax(axis=1), y[position[:, 0]])


def test_votes_by_weight_and_without_neighbours():
    classes = np.array([[0, 1, 1], [1, -1, -1], [-1, -1, -1]])
    distance = np.array([[0.1, 0.1, 0.1], [0.2, np.nan, np.nan], [np.nan] * 3])
    weights = np.array([[8.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    (_, first), (_, last) = vote_shares(classes, distance, 2, [1, 3], temperature=0.1, weights=weights)
    np.testing.assert_allclose(first, [[1, 0], [0, 1], [np.nan, np.nan]])
    np.testing.assert_allclose(last, [[0.8, 0.2], [0, 1], [np.nan, np.nan]])
    assert math.isfinite(group_metrics(logits_of_shares(last[:2]), np.array([1, 0]), np.array([1, 0]), 2).loss)


def test_equal_rows_are_found_whatever_their_type():
    for dtype in ("float16", "float32", "float64"):
        rows = np.array([[1, 0.5], [0, 1], [1, 0.5], [-0.0, 1], [2, 1], [1, 0.5]], dtype=dtype)
        pairs = duplicates.equal_pairs(duplicates.row_hashes(rows))
        assert sorted(map(tuple, pairs.tolist())) == [(0, 2), (0, 5), (1, 3)]
        np.testing.assert_array_equal(duplicates.leaders(6, pairs), [0, 1, 0, 1, 4, 0])
        across = duplicates.equal_pairs(duplicates.row_hashes(rows), duplicates.row_hashes(rows[[4, 5]]))
        assert sorted(map(tuple, across.tolist())) == [(0, 1), (4, 0)]


def test_distinct_rows_have_no_duplicates_and_planted_ones_are_found(rng):
    rows = rng.standard_normal((400, 16))
    position, distance = graph(rows)
    threshold = duplicates.threshold_within(distance[:, 0])
    assert not len(duplicates.equal_pairs(duplicates.row_hashes(rows)))
    assert not len(duplicates.near_pairs(position, distance, threshold)[0])
    planted = np.concatenate([rows, rows[:20] + 1e-3 * rng.standard_normal((20, 16))])
    position, distance = graph(planted)
    pairs, apart = duplicates.near_pairs(position, distance, duplicates.threshold_within(distance[:, 0]))
    assert len(pairs) == 40
    pairs, apart = duplicates.merged(pairs, apart, is_one_set=True)
    assert sorted(map(tuple, pairs.tolist())) == [(place, 400 + place) for place in range(20)]
    assert np.all(np.diff(apart) >= 0)


def test_components_are_scipys(rng):
    for n_pairs in (0, 5, 40, 300):
        pairs = rng.integers(0, 200, (n_pairs, 2))
        found = duplicates.components(pairs, 200)
        ones = (np.ones(n_pairs), (pairs[:, 0], pairs[:, 1]))
        n_expected, expected = connected_components(coo_matrix(ones, shape=(200, 200)), directed=False)
        assert len(np.unique(found)) == n_expected
        assert len(set(zip(found.tolist(), expected.tolist(), strict=True))) == n_expected
    chain = np.stack([np.arange(999), np.arange(1, 1000)], axis=1)
    assert not duplicates.components(chain[::-1], 1000).any()


def test_the_threshold_between_splits_is_not_moved_by_duplicates(rng):
    nearest = weibull_min(10.0).rvs(20_000, random_state=rng)
    expected = np.quantile(nearest, 0.001)
    assert duplicates.threshold_between(nearest) == expected
    nearest[:400] = 1e-6 * rng.random(400)
    assert duplicates.threshold_between(nearest) == pytest.approx(expected, rel=0.02)
    assert duplicates.threshold_between(np.zeros(5)) == 0


def test_random_splits_cut_as_many_pairs_as_their_sizes_say(rng):
    pairs = np.stack([np.arange(0, 100, 2), np.arange(1, 100, 2)], axis=1)
    found = duplicates.shuffled_crossings(pairs, 300, 100, n_shuffles=500, seed=3)
    assert found.mean() == pytest.approx(50 * 2 * 300 * 100 / (400 * 399), rel=0.03)
    np.testing.assert_array_equal(found, duplicates.shuffled_crossings(pairs, 300, 100, n_shuffles=500, seed=3))
    assert not duplicates.shuffled_crossings(pairs[:0], 3, 1, n_shuffles=2, seed=0).any()


def test_binomial_tails_are_scipys(rng):
    trials = rng.integers(0, 65, 200)
    successes = np.minimum(rng.integers(0, 65, 200), trials)
    p = np.concatenate([[0.0, 1.0, 0.0, 1.0], rng.random(196)])
    found = noise.binomial_tail(successes, trials, p)
    np.testing.assert_allclose(found, binom.sf(successes - 1, trials, p), atol=1e-12)


def test_folds_deal_out_every_class():
    y = np.repeat([0, 1, 2], [50, 13, 2])
    fold = noise.stratified_folds(y, 5, seed=1)
    for label in range(3):
        counts = np.bincount(fold[y == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(fold, noise.stratified_folds(y, 5, seed=1))
    assert not np.array_equal(fold, noise.stratified_folds(y, 5, seed=2))


def test_wrong_labels_are_told_from_a_minority(rng):
    y, a, rows, is_flipped = minority_and_flips(rng)
    position, distance = graph(rows, k=20)
    ((_, shares),) = vote_shares(y[position], distance, 2, [20], temperature=0.07)
    is_other = noise.contradicted(y, shares.argmax(axis=1), None)
    is_minority = noise.of_minority(y, a, y[position], a[position])
    flagged = is_other & ~is_minority
    recall, precision = (flagged & is_flipped).sum() / is_flipped.sum(), (flagged & is_flipped).sum() / flagged.sum()
    assert recall > 0.9
    assert precision > 0.9
    planted = (y != a) & ~is_flipped
    assert (flagged & planted).sum() / planted.sum() < 0.1
    assert not noise.of_minority(y, np.full_like(a, -1), y[position], a[position]).any()


def minority_and_flips(rng):
    """Two classes that a strong attribute goes with, but for 40 rows each; 40 labels of the majority are wrong."""
    y = np.repeat([0, 0, 1, 1], [400, 40, 40, 400])
    a = np.repeat([0, 1, 0, 1], [400, 40, 40, 400])
    rows = rng.standard_normal((880, 8)) * 0.5
    rows[:, 0] += 2.0 * (2 * y - 1)
    rows[:, 1] += 4.0 * (2 * a - 1)
    is_flipped = np.zeros(880, dtype=bool)
    is_flipped[rng.choice(np.flatnonzero(y == a), 40, replace=False)] = True
    return np.where(is_flipped, 1 - y, y), a, rows, is_flipped


def test_rates_of_a_space_that_an_attribute_organises(rng):
    y, a = rng.integers(0, 2, 500), rng.integers(0, 2, 500)
    rows = rng.standard_normal((500, 6)) + 5 * np.eye(2, 6)[a]
    position, _ = graph(rows, k=10)
    by_attribute = rates.shared(a, a[position])
    by_class = rates.shared(y, y[position])
    assert by_attribute.mean() > 0.95
    assert by_class.mean() == pytest.approx(rates.shared_by_chance(y, y, is_own_pool=True).mean(), abs=0.05)
    means = rates.group_means(by_attribute, np.where(y == 1, -1, a), 3)
    np.testing.assert_allclose(means[:2], [by_attribute[(y == 0) & (a == one)].mean() for one in (0, 1)])
    assert np.isnan(means[2])


def test_chance_is_exact_and_rows_without_a_value_count_nowhere():
    own, pool = np.array([0, 0, 1, 2]), np.array([0, 0, 1, 2, -1])
    np.testing.assert_allclose(rates.shared_by_chance(own, pool[:4], is_own_pool=True), [1 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(rates.shared_by_chance(own, pool, is_own_pool=False), [0.5, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(rates.shared(np.array([1, 1]), np.array([[1, -1, 0], [-1, -1, -1]])), [0.5, np.nan])


def test_hubness_is_scipys_skewness(rng):
    position = rng.integers(-1, 30, (50, 4))
    counts = np.bincount(position[position >= 0], minlength=40)
    assert rates.hubness(position, 40) == pytest.approx(skew(counts))
    assert np.isnan(rates.hubness(np.arange(10)[:, None], 10))
