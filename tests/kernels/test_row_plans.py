"""Draws, halves and rankings of rows."""

import numpy as np
import pytest

from penult_kernels.sampling.balancing import BalanceMethod, EmptyLabelError
from penult_kernels.sampling.plans import balanced_draw, halves, inverse_frequencies, loss_ends, top_rows

LABELS = np.repeat([0, 1, 2], [50, 30, 8])[np.random.default_rng(3).permutation(88)]
AMONG = np.flatnonzero(np.arange(88) % 5 != 0)


def draw(method, *, seed=0, repeat=0, ratio=1.0, among=AMONG):
    return balanced_draw(LABELS, 3, among=among, method=method, ratio=ratio, seed=seed, repeat=repeat)


@pytest.mark.parametrize("method", list(BalanceMethod))
def test_a_draw_stays_among_its_rows_and_depends_on_seed_and_repeat_alone(method):
    found, again = draw(method, repeat=2, ratio=2.0), draw(method, repeat=2, ratio=2.0)
    assert set(found.rows) <= set(AMONG)
    assert np.all(np.diff(found.rows) > 0)
    assert found.key == again.key
    is_fixed = method in (BalanceMethod.NONE, BalanceMethod.UPWEIGHTING)
    assert (draw(method, repeat=3, ratio=2.0).key == found.key) == is_fixed
    assert (draw(method, seed=1, repeat=2, ratio=2.0).key == found.key) == is_fixed


def test_subsets_are_balanced_and_weights_balance():
    smallest = np.bincount(LABELS[AMONG]).min()
    subset = draw(BalanceMethod.SUBSETTING)
    assert np.bincount(LABELS[subset.rows]).tolist() == [smallest] * 3
    weighted = draw(BalanceMethod.UPWEIGHTING)
    np.testing.assert_allclose(np.bincount(LABELS[weighted.rows], weights=weighted.weight), AMONG.size / 3)
    drawn = draw(BalanceMethod.UPSAMPLING)
    assert drawn.weight.sum() == AMONG.size


def test_a_label_without_rows_is_named():
    with pytest.raises(EmptyLabelError, match="label 2"):
        draw(BalanceMethod.SUBSETTING, among=np.flatnonzero(LABELS < 2))


@pytest.mark.parametrize("n", [2, 7, 100])
def test_halves_part_the_rows(n):
    scored, fitted = halves(n, seed=4)
    assert sorted([*scored, *fitted]) == list(range(n))
    assert fitted.size - scored.size == n % 2
    if n == 100:
        assert not np.array_equal(scored, halves(n, seed=5)[0])


def test_one_row_has_no_halves():
    with pytest.raises(ValueError, match="at least two rows"):
        halves(1, seed=0)


def test_the_largest_scores_are_taken_and_ties_go_to_the_first():
    assert top_rows(np.array([1.0, 5.0, 5.0, 9.0, 5.0]), 3).tolist() == [1, 2, 3]
    for k in (0, 6):
        with pytest.raises(ValueError, match="top_k"):
            top_rows(np.ones(5), k)
    with pytest.raises(ValueError, match="NaN"):
        top_rows(np.array([1.0, np.nan]), 1)


def test_draws_by_inverse_frequency_are_balanced():
    chances = inverse_frequencies(LABELS, 3, method=BalanceMethod.UPSAMPLING)
    np.testing.assert_allclose(np.bincount(LABELS, weights=chances / chances.sum()), 1 / 3)


def test_loss_ends_take_equally_many_of_both_sides():
    y = np.asarray([0, 0, 0, 0, 0, 1, 1, 1, 1])
    is_error = np.asarray([1, 1, 0, 0, 0, 0, 0, 1, 0], np.bool_)
    losses = np.asarray([0.9, 2.0, 0.3, 0.1, 0.2, 0.4, 0.4, 3.0, 0.5])
    # Class 0: of two errors and three correct rows; class 1 has one error, and of equal losses the first counts.
    np.testing.assert_array_equal(loss_ends(losses, is_error, y, 2, 1), [1, 3, 5, 7])
    np.testing.assert_array_equal(loss_ends(losses, is_error, y, 2, 2), [0, 1, 3, 4, 5, 7])
    np.testing.assert_array_equal(loss_ends(losses, is_error, y, 2, 100), [0, 1, 3, 4, 5, 7])


@pytest.mark.parametrize(
    ("is_error", "k", "says"),
    [
        ([0, 0, 1, 0], 0, "top_k must be at least 1"),
        ([0, 0, 1, 0], 2, "class 0 has 0 misclassified and 2 correct rows"),
    ],
)
def test_loss_ends_need_both_sides(is_error, k, says):
    with pytest.raises(ValueError, match=says):
        loss_ends(np.ones(4), np.asarray(is_error, np.bool_), np.asarray([0, 0, 1, 1]), 2, k)
