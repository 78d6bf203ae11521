"""Heads from moments alone, against scikit-learn on the rows themselves."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid

from penult_kernels.arrays import to_host
from penult_kernels.linear.closed_forms import lda, nearest_mean, ridge
from penult_kernels.moments.accumulation import moments_of


def sample(rng):
    """Two classes by two attributes, uneven, away from zero."""
    g = np.repeat(np.arange(4), [30, 8, 12, 40])
    features = rng.standard_normal((90, 5)) @ rng.standard_normal((5, 5)) + 3 + rng.standard_normal((4, 5))[g]
    return features, g // 2, g


def repeated(features, y, g):
    """Rows so often that every group counts alike."""
    times = np.lcm.reduce(np.bincount(g)) // np.bincount(g)
    rows = np.repeat(np.arange(len(y)), times[g])
    return features[rows], y[rows]


@pytest.mark.parametrize("share", [None, [0.25] * 4])
@pytest.mark.parametrize("standardize", [False, True])
def test_ridge(rng, share, standardize):
    features, y, g = sample(rng)
    heads = ridge(moments_of(features, g, 4), 2, l2=[0.01, 2.0], group_share=share, standardize=standardize)
    rows, labels = (features, y) if share is None else repeated(features, y, g)
    scale = rows.std(axis=0) if standardize else 1.0
    for l2, head in zip((0.01, 2.0), heads, strict=True):
        oracle = Ridge(alpha=l2 * len(labels), tol=1e-12).fit(rows / scale, np.eye(2)[labels])
        np.testing.assert_allclose(head.weight, oracle.coef_ / scale, atol=1e-9)
        np.testing.assert_allclose(head.bias, oracle.intercept_, atol=1e-8)


@pytest.mark.parametrize("share", [None, [0.25] * 4])
@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_lda(rng, share, shrinkage):
    features, y, g = sample(rng)
    head = lda(moments_of(features, g, 4), 2, shrinkage=shrinkage, group_share=share)
    rows, labels = (features, y) if share is None else repeated(features, y, g)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(rows, labels)
    np.testing.assert_allclose(
        rows @ (head.weight[1] - head.weight[0]) + head.bias[1] - head.bias[0],
        oracle.decision_function(rows),
        atol=1e-7,
    )


def test_nearest_mean(rng):
    features, y, g = sample(rng)
    head = nearest_mean(moments_of(features, g, 4), 2)
    predicted = np.argmax(features @ head.weight.T + head.bias, axis=1)
    np.testing.assert_array_equal(predicted, NearestCentroid().fit(features, y).predict(features))
    rows, labels = repeated(features, y, g)
    head = nearest_mean(moments_of(features, g, 4), 2, group_share=[1, 1, 1, 1])
    predicted = np.argmax(rows @ head.weight.T + head.bias, axis=1)
    np.testing.assert_array_equal(predicted, NearestCentroid().fit(rows, labels).predict(rows))


def test_nearest_mean_in_standardised_columns(rng):
    features, y, g = sample(rng)
    features = features * np.geomspace(0.01, 100, 5)
    head = nearest_mean(moments_of(features, g, 4), 2, standardize=True)
    within = np.sqrt(sum(features[y == k].var(axis=0) * (y == k).mean() for k in range(2)))
    predicted = np.argmax(features @ head.weight.T + head.bias, axis=1)
    oracle = NearestCentroid().fit(features / within, y).predict(features / within)
    np.testing.assert_array_equal(predicted, oracle)


def test_runs_alike_on_every_backend(backend, rng):
    features, _, g = sample(rng)
    here, there = moments_of(features, g, 4), moments_of(backend.array(features), backend.array(g), 4)
    for make in (
        lambda moments: ridge(moments, 2, l2=[0.1], standardize=True)[0],
        lambda moments: lda(moments, 2, shrinkage=0.1),
        lambda moments: nearest_mean(moments, 2, standardize=True),
    ):
        found, expected = make(there), make(here)
        assert backend.owns(found.weight)
        np.testing.assert_allclose(to_host(found.weight), expected.weight, atol=1e-10)
        np.testing.assert_allclose(to_host(found.bias), expected.bias, atol=1e-9)


def test_what_makes_no_sense_is_refused(rng):
    features, _, g = sample(rng)
    moments = moments_of(features, g, 4)
    with pytest.raises(ValueError, match="l2"):
        ridge(moments, 2, l2=[0.0])
    with pytest.raises(ValueError, match="multiple"):
        ridge(moments, 3, l2=[1.0])
    with pytest.raises(ValueError, match="shrinkage"):
        lda(moments, 2, shrinkage=2.0)
    with pytest.raises(ValueError, match="singular"):
        lda(moments_of(features[:4], np.arange(4), 4), 2)
    with pytest.raises(ValueError, match="no row"):
        nearest_mean(moments_of(features[g != 1], g[g != 1], 4), 2, group_share=[1, 1, 1, 1])
    with pytest.raises(ValueError, match="positive sum"):
        nearest_mean(moments, 2, group_share=[-1, 1, 1, 1])
    with pytest.raises(ValueError, match="prior"):
        lda(moments, 2, shrinkage=0.1, prior=[0.5, 0.0])
