"""Systems on many supports of one matrix, and models of draws that have corrections of their own."""

import numpy as np
import pytest

from penult_kernels.linear.l1 import shared_model
from penult_kernels.linear.l1.pivoted import Corrections, Pivoted
from penult_kernels.linear.l1.quadratic import minimize_quadratic
from penult_kernels.linear.l1.shared_model import Asked, Lesson, SharedModel

E = 30


def definite(rng) -> np.ndarray:
    root = rng.standard_normal((E, 2 * E))
    return root @ root.T / (2 * E)


def corrections(rng, matrix: np.ndarray, count: int) -> Corrections:
    """Those that steps leave: one taken away along a change, one added."""
    found = Corrections(E)
    for _ in range(count):
        change = rng.standard_normal(E)
        of_model = matrix @ change + found.times(change)
        found.signs += [-1.0, 1.0]
        found.vectors += [of_model / np.sqrt(change @ of_model), 1.5 * rng.random() * matrix @ change]
    return found


def dense(matrix: np.ndarray, one: Corrections) -> np.ndarray:
    return matrix + sum(sign * np.outer(vector, vector) for sign, vector in zip(one.signs, one.vectors, strict=True))


def test_systems_are_those_of_the_whole_matrix(rng):
    """Supports that are the base, that have more, less and other entries, and none; then another base."""
    matrix, base = definite(rng), np.arange(E) < 12
    pivoted = Pivoted(matrix, base)
    supports = np.stack([base, ~base, np.arange(E) < 15, np.arange(E) < 3, rng.random(E) < 0.5, np.zeros(E, np.bool_)])
    own = [corrections(rng, matrix, count) for count in (0, 1, 2, 0, 3, 1)]
    right = rng.standard_normal((len(own), E))
    for _ in range(2):
        x, y = pivoted.solve(own, supports, right)
        for k, one in enumerate(own):
            at, whole = np.flatnonzero(supports[k]), dense(matrix, one)
            expected = np.zeros(E)
            expected[at] = np.linalg.solve(whole[np.ix_(at, at)], right[k, at])
            np.testing.assert_allclose(x[k], expected, atol=1e-9)
            np.testing.assert_allclose(y[k], whole @ expected, atol=1e-9)
        pivoted.pivot(rng.random(E) < 0.5)


def test_the_base_follows_the_supports(rng):
    pivoted = Pivoted(definite(rng), np.zeros(E, np.bool_))
    supports = np.repeat([np.arange(E) < 20], 9, axis=0)
    supports[0] = ~supports[0]
    pivoted.follow(supports[:1] & False)
    assert not pivoted.base.any()
    pivoted.follow(supports)
    np.testing.assert_array_equal(pivoted.base, supports[1])


@pytest.mark.parametrize("guesses", [15, 0])
def test_models_of_all_draws_are_minimised_as_one_by_one(rng, monkeypatch, guesses):
    """Also where guesses of signs end without an answer; and what a draw has learned, it has along that step."""
    monkeypatch.setattr(shared_model, "MAX_GUESSES", guesses)
    matrix, l1, l2 = definite(rng), np.full(E, 0.2), np.full(E, 0.05)
    l1[-1] = l2[-1] = 0.0
    model = SharedModel(matrix.copy(), l1, l2, rng.random(E) - 0.5)
    asked, expected = [], []
    for count in range(4):
        own = Corrections(E)
        for _ in range(count):
            change = rng.standard_normal(E)
            lesson = Lesson(change, 2 * matrix @ change, own)
            model.learn([lesson])
            np.testing.assert_allclose((dense(matrix, own)) @ change, lesson.of_gradient)
        gradient, start, chosen = rng.standard_normal(E), rng.standard_normal(E), rng.random(E) < 0.8
        start[~chosen] = 0.0
        asked.append(Asked(start, gradient, chosen, own))
        at = np.flatnonzero(chosen)
        found = np.zeros(E)
        whole = dense(matrix + np.diag(l2), own)
        found[at] = minimize_quadratic(whole[np.ix_(at, at)], gradient[at], start[at], l1[at])
        expected.append(found)
    np.testing.assert_allclose(model.minimize(asked), expected, atol=1e-8)
