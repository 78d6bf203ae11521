"""Balanced refits: which rows, which weights, which mean."""

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.metrics import group_metrics
from penult_kernels.newton import ConvergenceWarning
from penult_kernels.refit import BalancedFit, balanced_refit, fit_softmax
from penult_kernels.selection import BalanceBy, BalanceMethod, EmptyLabelError

COUNTS = (60, 12, 9, 40)
EVERY_METHOD = pytest.mark.parametrize("method", list(BalanceMethod))


@pytest.fixture
def rows(rng):
    """Features whose first column tells the class, and second, louder, the attribute."""
    g = rng.permutation(np.repeat(np.arange(4), COUNTS))
    y, a = g // 2, g % 2
    features = rng.standard_normal((g.size, 6))
    features[:, 0] += 2 * y
    features[:, 1] += 4 * a
    return features, y, g


def refit(rows, method, *, by=BalanceBy.GROUP, **options) -> BalancedFit:
    features, y, g = rows
    return balanced_refit(features, y, g, 2, 4, method=method, by=by, **({"l2": 0.01, "seed": 3} | options))


def assert_same_head(found, expected, atol=1e-12):
    np.testing.assert_allclose(to_host(found.weight), to_host(expected.weight), atol=atol)
    np.testing.assert_allclose(to_host(found.bias), to_host(expected.bias), atol=atol)


@EVERY_METHOD
def test_every_method_runs_alike_everywhere(backend, rows, method):
    features, y, g = rows
    there = refit((backend.array(features), backend.array(y), backend.array(g)), method, ratio=2.0, repeats=2)
    assert backend.owns(there.weight)
    assert_same_head(there, refit(rows, method, ratio=2.0, repeats=2), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "by", "expected"),
    [
        ("none", "group", 121),
        ("subsetting", "group", 36),
        ("subsetting", "class", 98),
        ("upsampling", "group", 121),
        ("upweighting", "group", 121),
        ("mixture", "group", 18 + 12 + 9 + 18),
    ],
)
def test_rows_of_a_draw(rows, method, by, expected):
    assert refit(rows, BalanceMethod(method), by=BalanceBy(by), ratio=2.0).n_rows == expected


@pytest.mark.parametrize("method", ["none", "upweighting"])
def test_methods_without_randomness_are_one_fit(rows, method):
    features, y, g = rows
    once = refit(rows, BalanceMethod(method), repeats=1)
    often = refit(rows, BalanceMethod(method), repeats=20, seed=99)
    assert_same_head(often, once, atol=0)
    assert often.certificate == once.certificate
    weights = None if method == "none" else 1 / np.array(COUNTS)[g]
    assert_same_head(once, fit_softmax(features, y, 2, l2=0.01, sample_weight=weights), atol=1e-6)


@pytest.mark.parametrize("method", ["subsetting", "upsampling", "mixture"])
def test_repeats_average_independent_draws(rows, method):
    one, two, three = (refit(rows, BalanceMethod(method), ratio=2.0, repeats=n) for n in (1, 2, 3))
    second = 2 * two.weight - one.weight
    third = 3 * three.weight - 2 * two.weight
    # Draw r is the same whatever the number of draws, and another than draw r - 1.
    assert not np.allclose(second, one.weight, atol=1e-3)
    assert not np.allclose(third, second, atol=1e-3)
    assert_same_head(refit(rows, BalanceMethod(method), ratio=2.0, repeats=3), three, atol=0)
    assert not np.allclose(refit(rows, BalanceMethod(method), ratio=2.0, repeats=3, seed=4).weight, three.weight)
    assert three.certificate.passes > two.certificate.passes > one.certificate.passes
    assert three.certificate.gap >= two.certificate.gap >= one.certificate.gap


def test_draws_average_to_the_weighted_fit(rows):
    many = refit(rows, BalanceMethod.UPSAMPLING, repeats=60, l2=1.0)
    assert_same_head(many, refit(rows, BalanceMethod.UPWEIGHTING, l2=1.0), atol=0.02)


def test_balancing_groups_raises_the_worst_group(rows):
    features, y, g = rows
    plain = refit(rows, BalanceMethod.NONE)
    balanced = refit(rows, BalanceMethod.SUBSETTING, repeats=10)
    worst = [
        group_metrics(features @ head.weight.T + head.bias, y, g, 4).worst_group_accuracy for head in (plain, balanced)
    ]
    assert worst[1] > worst[0] + 0.05


def test_wide_features_go_through_the_row_space(rng):
    g = np.repeat(np.arange(4), (30, 8, 8, 30))
    features = rng.standard_normal((g.size, 200)).astype(np.float32)
    found = balanced_refit(
        features, g // 2, g, 2, 4, method=BalanceMethod.SUBSETTING, by=BalanceBy.GROUP, l2=0.01, repeats=2, seed=0
    )
    assert found.weight.shape == (2, 200)
    assert found.certificate.converged
    assert found.n_rows == 32


def test_not_converging_in_one_draw_shows(rows):
    with pytest.warns(ConvergenceWarning):
        found = refit(rows, BalanceMethod.SUBSETTING, repeats=2, tolerance=1e-12, max_iterations=1)
    assert not found.certificate.converged
    assert found.certificate.iterations == 1


def test_what_is_missing_is_named(rows):
    features, y, g = rows
    keep = g != 1
    for method in BalanceMethod:
        if method is BalanceMethod.NONE:
            assert refit((features[keep], y[keep], g[keep]), method).certificate.converged
            continue
        with pytest.raises(EmptyLabelError, match="label 1 has none") as caught:
            refit((features[keep], y[keep], g[keep]), method)
        assert caught.value.label == 1
    keep = y == 0
    with pytest.raises(EmptyLabelError, match="label 1 has none"):
        refit((features[keep], y[keep], g[keep]), BalanceMethod.NONE)


def test_misuse_is_refused(rows):
    features, y, g = rows
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        refit(rows, BalanceMethod.NONE, repeats=0)
    with pytest.raises(ValueError, match=r"g must be y \* 2 \+ a"):
        refit((features, 1 - y, g), BalanceMethod.NONE)
