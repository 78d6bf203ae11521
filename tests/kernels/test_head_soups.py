"""Soups of heads against plain NumPy, SciPy's solver and brute force over orders."""

import itertools

import numpy as np
import pytest
import scipy.optimize

from penult_kernels.weight_space.barriers import barrier
from penult_kernels.weight_space.head_soups import (
    fisher_of_head,
    learned_mixture,
    moments_soup,
    score_soups,
    shapley_values,
)


def case(rng: np.random.Generator, n_heads: int = 4, n: int = 300, n_classes: int = 3):
    """Logits of heads of which one is good, one is bad, and the others are in between; classes and groups."""
    X = rng.standard_normal((n, 6))
    truth = rng.standard_normal((n_classes, 6))
    y = (X @ truth.T + rng.gumbel(size=(n, n_classes))).argmax(1)
    heads = [
        truth * scale + rng.standard_normal(truth.shape) * noise
        for scale, noise in zip(np.linspace(1.2, -0.5, n_heads), np.linspace(0.3, 1.5, n_heads), strict=True)
    ]
    return X, np.stack([X @ one.T for one in heads]), y, rng.integers(0, 3, n)


def cross_entropy(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, y[:, None], 1)[:, 0]


def test_soups_are_scored_as_one_by_one(backend, rng: np.random.Generator):
    _, logits, y, g = case(rng)
    shares = rng.dirichlet(np.ones(4), size=7)
    found = score_soups(backend.array(logits), shares, y, g, 4)
    for one, accuracy, loss in zip(shares, found.accuracy, found.loss, strict=True):
        mixed = np.tensordot(one, logits, axes=1)
        for group in range(3):
            rows = g == group
            assert accuracy[group] == pytest.approx((mixed.argmax(1) == y)[rows].mean())
            assert loss[group] == pytest.approx(cross_entropy(mixed, y)[rows].mean())
    assert np.isnan(found.accuracy[:, 3]).all()


def test_learned_shares_are_the_best_and_say_so(backend, rng: np.random.Generator):
    for n_heads in (2, 4, 7):
        _, logits, y, _ = case(rng, n_heads)
        weight = rng.random(len(y))
        found = learned_mixture(backend.array(logits), y, weight)
        assert found.converged
        assert found.gap <= 1e-9
        assert found.shares.sum() == pytest.approx(1)
        assert found.shares.min() >= 0

        def loss(a: np.ndarray, logits=logits, y=y, weight=weight) -> float:
            return float(weight @ cross_entropy(np.tensordot(a, logits, axes=1), y) / weight.sum())

        simplex = {"type": "eq", "fun": lambda a: a.sum() - 1}
        start = np.full(n_heads, 1 / n_heads)
        best = scipy.optimize.minimize(
            loss, start, bounds=[(0, 1)] * n_heads, constraints=simplex, method="SLSQP", options={"ftol": 1e-12}
        )
        assert found.loss == pytest.approx(loss(found.shares), abs=1e-12)
        assert found.loss <= best.fun + 1e-9
        assert found.loss >= best.fun - 1e-6


def test_equal_heads_share_and_a_perfect_one_takes_all(rng: np.random.Generator):
    _, logits, y, _ = case(rng)
    alike = learned_mixture(logits[[0, 0, 0]], y, np.ones(len(y)))
    assert alike.gap <= 1e-12
    np.testing.assert_allclose(alike.shares, 1 / 3)
    perfect = np.stack([5 * np.eye(3)[y], -5 * np.eye(3)[y]])
    np.testing.assert_allclose(learned_mixture(perfect, y, np.ones(len(y))).shares, [1, 0], atol=1e-9)


def test_there_is_no_barrier_between_heads(rng: np.random.Generator):
    t = np.linspace(0, 1, 21)
    for _ in range(5):
        _, logits, y, _ = case(rng, 2)
        rows = np.stack([cross_entropy((1 - one) * logits[0] + one * logits[1], y) for one in t])
        assert barrier(rows, t).value <= 1e-12


def test_shapley_shares_are_the_mean_over_orders_and_add_up(rng: np.random.Generator):
    _, logits, y, g = case(rng)

    def score(shares: np.ndarray) -> np.ndarray:
        return -score_soups(logits, shares, y, g, 3).loss

    found = shapley_values(score, 4)
    value = {
        members: score(np.isin(np.arange(4), members)[None] / max(1, len(members)))[0]
        for size in range(5)
        for members in itertools.combinations(range(4), size)
    }
    expected = np.zeros((4, 3))
    orders = list(itertools.permutations(range(4)))
    for order in orders:
        for place, head in enumerate(order):
            before = tuple(sorted(order[:place]))
            expected[head] += value[tuple(sorted((*before, head)))] - value[before]
    np.testing.assert_allclose(found, expected / len(orders), atol=1e-12)
    np.testing.assert_allclose(found.sum(0), value[(0, 1, 2, 3)] + np.log(3), atol=1e-12)
    with pytest.raises(ValueError, match="got 13 heads"):
        shapley_values(score, 13)


def test_fisher_of_a_head_is_the_sum_over_classes(rng: np.random.Generator):
    X, logits, _, _ = case(rng)
    weight, bias = fisher_of_head(X, logits[0])
    p = np.exp(logits[0])
    p /= p.sum(1, keepdims=True)
    expected, of_bias = np.zeros((3, 6)), np.zeros(3)
    for c in range(3):
        score = np.eye(3)[c] - p  # the gradient of log p_c in the logits
        expected += np.einsum("n,nk,nj->kj", p[:, c], score**2, X**2) / len(X)
        of_bias += p[:, c] @ score**2 / len(X)
    np.testing.assert_allclose(weight, expected, rtol=1e-12)
    np.testing.assert_allclose(bias, of_bias, rtol=1e-12)


def test_heads_of_other_rows_meet_by_least_squares(rng: np.random.Generator):
    rows = [rng.standard_normal((20, 5)) * rng.uniform(0.2, 3, 5) for _ in range(3)]
    heads = rng.standard_normal((3, 2, 5))
    grams = np.stack([one.T @ one for one in rows])
    outputs = np.concatenate([one @ head.T for one, head in zip(rows, heads, strict=True)])
    expected = np.linalg.lstsq(np.concatenate(rows), outputs, rcond=None)[0].T
    np.testing.assert_allclose(moments_soup(heads, grams, ridge=0), expected, rtol=1e-9)
    same = moments_soup(heads, grams[[0, 0, 0]])
    np.testing.assert_allclose(same, heads.mean(0), rtol=1e-9)
    with pytest.raises(ValueError, match="grams"):
        moments_soup(heads, grams[:2])


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 4, 3)])
def test_logits_without_rows_or_heads_are_refused(shape):
    with pytest.raises(ValueError, match="not empty"):
        learned_mixture(np.zeros(shape), np.zeros(shape[1], dtype=np.int64), np.ones(shape[1]))


def test_soups_are_given_up_between_blocks(rng: np.random.Generator):
    _, logits, y, g = case(rng)

    def left() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        score_soups(logits, np.full((1, 4), 0.25), y, g, 3, left)
    with pytest.raises(InterruptedError):
        learned_mixture(logits, y, np.ones(len(y)), check=left)
