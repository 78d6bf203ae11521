"""Mixtures beside scikit-learn's from the same start, Domino's with zero weights, and GEORGE's decisions."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from penult_kernels.arrays import to_host
from penult_kernels.groupings.george import Thresholds, kept_parts, last_best, mean_over_clusters, merged
from penult_kernels.groupings.mixture import best_of, bic, fit_mixtures, hard, log_density, responsibilities
from penult_kernels.groupings.views import CategoricalView, GaussianView


def blobs(rng, n=400, p=4, k=3, apart=2.0):
    label = rng.integers(0, k, n)
    return rng.standard_normal((k, p))[label] * apart + rng.standard_normal((n, p)) * (1 + label[:, None]), label


def gaussian(backend, x, kind, **options):
    return GaussianView(rows=backend.array(x), center=backend.array(x.mean(axis=0)), covariance_type=kind, **options)


class FromResponsibilities(GaussianMixture):
    """scikit-learn's mixture, started at given responsibilities."""

    def _initialize_parameters(self, X, random_state, xp=None):
        self._initialize(X, self.start)


def theirs_of(x, start, kind, **options):
    mixture = FromResponsibilities(start.shape[1], covariance_type=kind, **options)
    mixture.start = start.astype(np.float64)
    return mixture.fit(x)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_from_the_same_start_it_ends_as_scikit_learn(backend, rng, set_budget, kind):
    set_budget(rows_per_tile=96)
    x, label = blobs(rng)
    x += 100.0
    starts = [hard(rng.integers(0, 3, 400), 3), hard(label, 3), rng.dirichlet(np.ones(2), 400)]
    view = gaussian(backend, x, kind)
    for start, ours in zip(starts, fit_mixtures([view], starts), strict=True):
        theirs = theirs_of(x, start, kind)
        found = ours.views[0]
        assert backend.owns(found.mean)
        np.testing.assert_allclose(to_host(ours.weight), theirs.weights_, atol=1e-9)
        np.testing.assert_allclose(to_host(found.mean) + x.mean(axis=0), theirs.means_, atol=1e-8)
        np.testing.assert_allclose(to_host(found.covariance), theirs.covariances_, atol=1e-8)
        assert ours.bound == pytest.approx(theirs.lower_bound_, abs=1e-9)
        assert (ours.n_iterations, ours.converged) == (theirs.n_iter_, theirs.converged_)
        np.testing.assert_allclose(responsibilities(ours, [view]), theirs.predict_proba(x), atol=1e-8)
        assert log_density(ours, [view]) == pytest.approx(theirs.score(x), abs=1e-9)
        assert bic(ours, [view]) == pytest.approx(theirs.bic(x), rel=1e-9)


def test_domino_with_zero_weights_is_a_gaussian_mixture(backend, rng):
    x, label = blobs(rng)
    soft = rng.dirichlet(np.ones(3), 400)
    start = hard(rng.integers(0, 4, 400), 4)
    views = [
        gaussian(backend, x, "diag"),
        CategoricalView(rows=backend.array(np.eye(3)[label]), weight=0.0),
        CategoricalView(rows=backend.array(soft), weight=0.0),
    ]
    (ours,) = fit_mixtures(views, [start])
    theirs = theirs_of(x, start, "diag")
    np.testing.assert_allclose(responsibilities(ours, views), theirs.predict_proba(x), atol=1e-8)
    assert ours.n_iterations == theirs.n_iter_
    np.testing.assert_allclose(to_host(ours.views[2].probability).sum(axis=1), 1)


def test_domino_by_its_formula(rng):
    """One round of the mixture of features, labels and predictions, written out."""
    x, label = blobs(rng, n=60)
    y, soft = np.eye(3)[label], rng.dirichlet(np.ones(3), 60)
    start = rng.dirichlet(np.ones(2), 60)
    views = [
        GaussianView(rows=x, center=x.mean(axis=0), covariance_type="diag"),
        CategoricalView(rows=y, weight=0.7),
        CategoricalView(rows=soft, weight=3.0),
    ]
    (ours,) = fit_mixtures(views, [start], max_iterations=1)

    def parameters(shares):
        n_k = shares.sum(axis=0)
        mean = shares.T @ x / n_k[:, None]
        variance = np.stack([shares[:, s] @ (x - mean[s]) ** 2 / n_k[s] for s in range(2)]) + 1e-6
        return n_k / 60, mean, variance, shares.T @ y / n_k[:, None], shares.T @ soft / n_k[:, None]

    weight, mean, variance, of_y, of_soft = parameters(start)
    joint = np.stack(
        [
            np.log(weight[s])
            + multivariate_normal(mean[s], np.diag(variance[s])).logpdf(x)
            + 0.7 * np.log(y @ of_y[s])
            + 3.0 * np.log(soft @ of_soft[s])
            for s in range(2)
        ],
        axis=1,
    )
    assert ours.bound == pytest.approx(logsumexp(joint, axis=1).mean(), rel=1e-9)
    after = parameters(np.exp(joint - logsumexp(joint, axis=1, keepdims=True)))
    np.testing.assert_allclose(ours.weight, after[0], rtol=1e-9)
    np.testing.assert_allclose(ours.views[0].covariance, after[2], rtol=1e-8)
    np.testing.assert_allclose(ours.views[1].probability, after[3], atol=1e-12)
    np.testing.assert_allclose(ours.views[2].probability, after[4], atol=1e-12)


def test_predictions_as_a_gaussian_with_a_weight(rng):
    """A view of weight w counts as w independent sights of the same evidence."""
    x, label = blobs(rng, n=80, p=2)
    q = rng.dirichlet(np.ones(2), 80)
    start = hard(label, 3)

    def predictions(weight):
        return GaussianView(rows=q, center=q.mean(axis=0), covariance_type="full", floor=1e-3, weight=weight)

    features = GaussianView(rows=x, center=x.mean(axis=0), covariance_type="diag")
    (ours,) = fit_mixtures([features, predictions(3.0)], [start], max_iterations=5, tolerance=0.0)
    (thrice,) = fit_mixtures([features, *[predictions(1.0)] * 3], [start], max_iterations=5, tolerance=0.0)
    np.testing.assert_allclose(ours.views[0].mean, thrice.views[0].mean, atol=1e-9)
    assert ours.bound == pytest.approx(thrice.bound)


def test_planted_components_are_found_and_the_best_start_kept(rng):
    label = rng.choice(2, 500, p=[0.9, 0.1])
    x = np.where(label == 0, 0.0, 8.0)[:, None] + rng.standard_normal((500, 2))
    view = GaussianView(rows=x, center=x.mean(axis=0), covariance_type="full")
    runs = fit_mixtures([view], [hard(rng.integers(0, 2, 500), 2), hard(label, 2)])
    best = best_of(runs)
    assert best.bound == max(run.bound for run in runs)
    assert adjusted_rand_score(label, np.argmax(responsibilities(best, [view]), axis=1)) > 0.95


def test_a_component_without_rows_and_one_of_equal_rows(backend, rng):
    x = np.concatenate([np.full((30, 2), 5.0), rng.standard_normal((30, 2))])
    start = np.zeros((60, 3))
    start[:30, 0], start[30:, 1] = 1.0, 1.0
    for kind in ("full", "diag"):
        (found,) = fit_mixtures([gaussian(backend, x, kind)], [start])
        assert np.isfinite(to_host(found.views[0].covariance)).all()
        assert found.bound > 0
        np.testing.assert_allclose(to_host(found.weight), [0.5, 0.5, 0.0], atol=1e-6)


def test_translation_scaling_and_order(rng):
    x, label = blobs(rng)
    start = hard(rng.permutation(label), 3)
    order = rng.permutation(400)

    def shares(rows, start, floor=1e-6):
        view = GaussianView(rows=rows, center=rows.mean(axis=0), covariance_type="full", floor=floor)
        return responsibilities(fit_mixtures([view], [start])[0], [view])

    expected = shares(x, start)
    np.testing.assert_allclose(shares(x + 1000.0, start), expected, atol=1e-7)
    np.testing.assert_allclose(shares(x * 2.0, start, 4e-6), expected, atol=1e-9)
    np.testing.assert_allclose(shares(x[order], start[order]), expected[order], atol=1e-9)


def test_cancelling_ends_the_fit(rng):
    def stop() -> None:
        raise TimeoutError

    x, label = blobs(rng)
    with pytest.raises(TimeoutError):
        fit_mixtures(
            [GaussianView(rows=x, center=x.mean(axis=0), covariance_type="diag")], [hard(label, 3)], check=stop
        )


def test_of_equal_scores_the_larger_number_of_clusters():
    assert last_best([0.3, 0.5, 0.5, 0.1]) == 2


def test_small_clusters_count_as_much_as_large_ones():
    assert mean_over_clusters(np.array([0.0, 0.0, 0.0, 0.8]), np.array([0, 0, 0, 1])) == pytest.approx(0.4)


def test_a_part_is_kept_when_all_four_conditions_hold():
    """Cluster 0 has parts 0 (all right), 1 (no rise of its silhouette); cluster 1 has 2 (low loss), 3 (few rows)."""
    parts = np.repeat([0, 1, 2, 3], [30, 40, 30, 10])
    before = np.full(110, 0.2)
    after = np.repeat([0.5, 0.2, 0.5, 0.5], [30, 40, 30, 10])
    losses = np.repeat([2.0, 1.0, 1.0, 3.0], [30, 40, 30, 10])
    every = np.arange(110)

    def kept(held_out=None, **thresholds):
        found = kept_parts(parts, every, before, after, losses, held_out, 2, 2, Thresholds(**thresholds))
        return found.reshape(-1).tolist()

    assert kept() == [True, False, False, False]
    assert kept(n_rows=10) == [True, False, False, True]
    assert kept(n_rows=10, share=0.2) == [True, False, False, False]
    assert kept(silhouette=0.5) == [False] * 4
    assert kept(held_out=parts[:20]) == [False] * 4
    assert kept(held_out=parts[:25]) == [True, False, False, False]


def test_left_over_parts_share_a_group_of_their_cluster():
    kept = np.array([[False, True, False], [False, False, False], [True, True, True]])
    np.testing.assert_array_equal(merged(kept, np.ones((3, 3), np.int64)), [[0, 1, 0], [2, 2, 2], [3, 4, 5]])


def test_parts_without_rows_make_no_group():
    kept = np.array([[True, False, True], [False, False, False]])
    np.testing.assert_array_equal(merged(kept, np.array([[5, 0, 9], [0, 4, 0]])), [[0, 1, 1], [2, 2, 2]])
