"""SSA by heads: what it labels, the caps of its pseudo-labels, the refusals."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from penult_kernels.groupings.ssa import Few, attribute_probabilities, capped, spread_attribute
from penult_kernels.linear.problem import Head


def drawn(n: int, seed: int, *, d: int = 10, agree: float = 0.9):
    """Features that say class and attribute; class; attribute."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < agree, y, 1 - y)
    features = 0.5 * rng.standard_normal((n, d))
    features[:, 0] += 1.0 * y
    features[:, 1] += 2.0 * a
    return features, y, a


def spread(backend, features, y, few, **more):
    given = Few(features=backend.array(few[0]), y=few[1], a=few[2])
    return spread_attribute(backend.array(features), backend.array(y), given, n_classes=2, n_values=2, **more)


def test_the_attribute_is_found(backend):
    features, y, a = drawn(300, 0)
    found = spread(backend, features, y, drawn(100, 1), rounds=1)
    said = found.probability.argmax(axis=1)
    assert found.probability.shape == (300, 2)
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, atol=1e-12)
    assert np.mean(said == a) > 0.9
    for g in range(4):
        own = 2 * y + a == g
        assert np.mean(said[own] == a[own]) > 0.8


def test_without_rounds_a_fold_has_the_head_of_the_labelled_half(backend):
    features, y, _ = drawn(90, 0)
    few = drawn(120, 1)
    found = spread(backend, features, y, few, rounds=0, l2=0.01)
    assert found.rounds == [0, 0, 0]
    first = found.heads[0]
    for head in found.heads:
        np.testing.assert_array_equal(head.weight, first.weight)
    np.testing.assert_allclose(found.probability, attribute_probabilities([first], features), atol=1e-12)
    # Some half of the labelled rows has this optimum: that half's own standardisation and penalty.
    draw = np.random.default_rng(0)
    half = np.zeros(120, np.bool_)
    group = 2 * few[1] + few[2]
    for g in range(4):
        own = draw.permutation(np.flatnonzero(group == g))
        half[own[: -(-own.size // 2)]] = True
    rows = few[0][half]
    z = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    oracle = LogisticRegression(C=2 / (0.01 * half.sum()), tol=1e-10).fit(z, few[2][half])
    expected = oracle.predict_proba((features - rows.mean(axis=0)) / rows.std(axis=0))
    np.testing.assert_allclose(found.probability, expected, atol=0.01)


def test_no_group_has_more_pseudo_labels_than_the_rarest():
    rng = np.random.default_rng(0)
    surest = rng.uniform(0.5, 1, 300)
    value = rng.integers(0, 2, 300)
    p = np.where(np.arange(2) == value[:, None], surest[:, None], 1 - surest[:, None])
    y = (rng.random(300) < 0.2).astype(np.int64)
    kept, said = capped(p, y, tau=0.8, n_classes=2, rarest=3)
    np.testing.assert_array_equal(said, value)
    group = 2 * y + value
    most = np.count_nonzero((group == 3) & (surest >= 0.8))
    counts = np.bincount(group[kept], minlength=4)
    assert counts[3] == most > 0
    assert counts.max() == most
    for g in range(4):
        left = np.setdiff1d(np.flatnonzero(group == g), kept)
        assert surest[left].max(initial=0) <= max(0.8, surest[kept[group[kept] == g]].min())


def test_a_seed_is_an_answer():
    features, y, _ = drawn(60, 0)
    one, same, other = (spread_attribute(features, y, few(), n_classes=2, n_values=2, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.probability, same.probability)
    assert not np.array_equal(one.probability, other.probability)


def few() -> Few:
    features, y, a = drawn(40, 1)
    return Few(features=features, y=y, a=a)


def test_probabilities_are_the_mean_over_the_heads(backend):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((5, 3))
    heads = [Head(weight=rng.standard_normal((4, 3)), bias=rng.standard_normal(4)) for _ in range(2)]
    found = attribute_probabilities(heads, backend.array(features))
    logits = [np.exp(features @ head.weight.T + head.bias) for head in heads]
    expected = np.mean([one / one.sum(axis=1, keepdims=True) for one in logits], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("n", "values", "message"),
    [
        (2, 2, "3 folds need as many rows, got 2"),
        (30, 3, "value of the attribute needs two labelled rows; 2 has fewer"),
    ],
)
def test_refusals(n: int, values: int, message: str):
    features, y, _ = drawn(n, 0)
    with pytest.raises(ValueError, match=message):
        spread_attribute(features, y, few(), n_classes=2, n_values=values)
