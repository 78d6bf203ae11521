"""Task vectors compared in pieces, against NumPy on whole tensors; gains against counting and SciPy's binomial test."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest

from penult_kernels.weight_space.gained import exact_mcnemar, gained
from penult_kernels.weight_space.piece import Piece
from penult_kernels.weight_space.task_vectors import TaskVectors


def compared(backend, networks: list[np.ndarray], base: np.ndarray, cuts=()) -> TaskVectors:
    found = TaskVectors(len(networks))
    bounds = [0, *cuts, base.size]
    for start, stop in pairwise(bounds):
        parents = [backend.array(one[start:stop]) for one in networks]
        found.add(Piece(name="w", start=start, size=base.size, parents=parents, base=backend.array(base[start:stop])))
    return found


def drawn(n: int, seed: int, k: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    base = rng.standard_normal(n).astype(np.float32)
    return [(base + rng.standard_normal(n) * (i + 1)).astype(np.float32) for i in range(k)], base


@pytest.mark.parametrize("cuts", [(), (1, 7, 8), (30,)])
def test_task_vectors_in_pieces_are_those_of_whole_tensors(backend, cuts):
    networks, base = drawn(50, 0)
    found = compared(backend, networks, base, cuts)
    deltas = np.stack(networks).astype(np.float64) - base
    np.testing.assert_allclose(found.norms(), np.linalg.norm(deltas, axis=1), rtol=1e-12)
    scaled = deltas / np.linalg.norm(deltas, axis=1, keepdims=True)
    np.testing.assert_allclose(found.cosines(), scaled @ scaled.T, rtol=1e-12)
    assert found.base_norm() == pytest.approx(np.linalg.norm(base.astype(np.float64)), rel=1e-12)
    stacked = np.stack(networks).astype(np.float64)
    expected = np.sqrt(stacked.var(axis=1).mean() / stacked.mean(axis=0).var())
    assert found.variance_factor() == pytest.approx(expected, rel=1e-12)


def test_blocks_add_up_to_their_entries_together(backend):
    one, two = drawn(40, 1), drawn(9, 2)
    total = compared(backend, *one) + compared(backend, *two)
    both = [np.concatenate(pair) for pair in zip(one[0], two[0], strict=True)]
    whole = compared(backend, both, np.concatenate([one[1], two[1]]))
    np.testing.assert_allclose(total.cosines(), whole.cosines(), rtol=1e-12)
    assert (total.n_entries, total.base_norm()) == (49, pytest.approx(whole.base_norm()))


def test_networks_that_have_not_moved_have_no_direction_and_lose_nothing(backend):
    _, base = drawn(20, 3)
    found = compared(backend, [base, base + 1], base)
    assert np.isnan(found.cosines()[0]).all()
    assert found.cosines()[1, 1] == 1
    equal = compared(backend, [base, base], base)
    assert equal.variance_factor() == pytest.approx(1, abs=1e-12)
    assert np.isnan(compared(backend, [0 * base, 0 * base], base).variance_factor())


def test_what_is_gained_is_counted(backend):
    rng = np.random.default_rng(4)
    right, made = rng.random((3, 200)) < 0.6, rng.random(200) < 0.7
    found = gained(backend.array(right), backend.array(made))
    assert found.gained == sum(not any(column) and one for column, one in zip(right.T, made, strict=True))
    assert found.lost == sum(all(column) and not one for column, one in zip(right.T, made, strict=True))
    assert (found.all_right, found.all_wrong) == (right.all(axis=0).sum(), (~right).all(axis=0).sum())
    assert found.p_value == pytest.approx(binomtest(found.gained, found.gained + found.lost).pvalue, rel=1e-9)
    with pytest.raises(ValueError, match="must be"):
        gained(backend.array(right), backend.array(made[:5]))


@pytest.mark.parametrize(("one", "other"), [(0, 0), (5, 5), (0, 7), (300, 420), (20_000, 19_000)])
def test_the_exact_test_is_the_binomial_one(one, other):
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert exact_mcnemar(one, other) == pytest.approx(expected, rel=1e-6)
