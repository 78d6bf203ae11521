"""Agreement of partitions, beside scikit-learn's and SciPy's; chance, by shuffling rows."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn import metrics as sk

from penult_kernels.groupings.agreement import agreement, average_precision, rand_index, shared_rows, shuffled
from penult_kernels.groupings.matching import best_matching

SHAPES = [(2, 2), (2, 5), (6, 3), (1, 3), (4, 1), (1, 1)]


def partitions(seed: int, n_found: int, n_true: int, n: int = 300) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two partitions that agree in part."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, n_true, n)
    return np.where(rng.random(n) < 0.6, true % n_found, rng.integers(0, n_found, n)), true


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_scikit_learns(shape: tuple[int, int]) -> None:
    for seed in range(5):
        found, true = partitions(seed, *shape)
        ours = agreement(shared_rows(found, true, *shape))
        assert ours.ari == pytest.approx(sk.adjusted_rand_score(true, found), abs=1e-12)
        assert ours.nmi == pytest.approx(sk.normalized_mutual_info_score(true, found), abs=1e-12)
        assert ours.homogeneity == pytest.approx(sk.homogeneity_score(true, found), abs=1e-12)
        assert ours.completeness == pytest.approx(sk.completeness_score(true, found), abs=1e-12)


@pytest.mark.parametrize("shape", [*SHAPES, (7, 9), (20, 20)])
def test_matching_is_scipys(shape: tuple[int, int]) -> None:
    for seed in range(10):
        shared = np.random.default_rng(seed).integers(0, 30, shape)
        matched = best_matching(shared)
        rows = np.flatnonzero(matched >= 0)
        assert rows.size == np.unique(matched[rows]).size == min(shape)
        expected = shared[linear_sum_assignment(shared, maximize=True)].sum()
        assert shared[rows, matched[rows]].sum() == expected


def test_minority_is_found_by_its_best_part() -> None:
    # True part 1 has 10 rows: found part 2 holds 8 of them among its 16.
    ours = agreement(np.array([[50, 1], [30, 1], [8, 8]]))
    assert (ours.minority, ours.minority_found) == (1, 2)
    assert (ours.minority_precision, ours.minority_recall) == (0.5, 0.8)
    # Names of the parts do not matter.
    assert agreement(np.array([[8, 8], [50, 1], [30, 1]])).ari == pytest.approx(ours.ari)


def test_equal_partitions_agree_and_unassigned_rows_are_left_out() -> None:
    values = np.array([0, 0, 1, 1, 2, -1])
    ours = agreement(shared_rows(values, values, 3, 3))
    assert (ours.n_rows, ours.ari, ours.nmi, ours.matched_accuracy) == (5, 1.0, pytest.approx(1.0), 1.0)
    assert np.isnan(agreement(np.zeros((2, 2), np.int64)).ari)


def test_shuffled_tables_have_the_law_of_shuffled_rows() -> None:
    found, true = partitions(3, 3, 2, n=60)
    shared = shared_rows(found, true, 3, 2)
    tables = shuffled(shared, 4000, seed=1)
    assert (tables.sum(axis=2) == shared.sum(axis=1)).all()
    assert (tables.sum(axis=1) == shared.sum(axis=0)).all()
    rng = np.random.default_rng(2)
    by_rows = np.array([rand_index(shared_rows(rng.permutation(found), true, 3, 2)) for _ in range(4000)])
    drawn = rand_index(tables)
    # Standard errors are about 0.0003.
    assert abs(drawn.mean()) < 0.002
    assert abs(drawn.mean() - by_rows.mean()) < 0.002
    assert np.quantile(drawn, 0.9) == pytest.approx(np.quantile(by_rows, 0.9), abs=0.004)


def test_average_precision_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        is_positive, score = rng.random(200) < 0.2, np.round(rng.random(200), 1)
        expected = sk.average_precision_score(is_positive, score)
        assert average_precision(is_positive, score) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(average_precision(np.zeros(3, np.bool_), np.ones(3)))
