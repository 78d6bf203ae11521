"""Minority, majority and ratio of each class."""

import numpy as np
import pytest

from penult_kernels.imbalance import Imbalance, imbalance


def test_smallest_over_largest_of_each_class(backend):
    # Waterbirds' groups: the minority is group 1 in class 0 and group 2 in class 1.
    found = imbalance(backend.array([2.0, 3.0, 8.0, 4.0]), backend.array([3498, 184, 56, 1057]), 2)
    assert found == (
        Imbalance(y=0, minority=1, majority=0, n_minority=184, n_majority=3498, ratio=1.5),
        Imbalance(y=1, minority=2, majority=3, n_minority=56, n_majority=1057, ratio=2.0),
    )


def test_empty_groups_do_not_count_and_lonely_groups_have_no_ratio():
    found = imbalance(np.array([1.0, np.nan, 4.0, 5.0, np.nan, np.nan]), np.array([9, 0, 3, 5, 0, 0]), 3)
    assert [(one.y, one.minority, one.majority) for one in found] == [(0, 2, 0)]
    assert imbalance(np.array([1.0, 2.0]), np.array([4, 4]), 1) == ()


def test_equal_groups_are_two_different_groups():
    (found,) = imbalance(np.array([1.0, 2.0, 4.0]), np.array([5, 5, 5]), 3)
    assert (found.minority, found.majority, found.ratio) == (0, 2, 0.25)


@pytest.mark.parametrize("largest", [[1.0, 0.0], [np.nan, 1.0], [1.0, np.nan]])
def test_what_does_not_exist_is_nan(largest):
    (found,) = imbalance(np.array(largest), np.array([1, 2]), 2)
    assert np.isnan(found.ratio)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="divide the 3 groups, got 2"):
        imbalance(np.ones(3), np.ones(3, dtype=np.int64), 2)
    with pytest.raises(ValueError, match="counts must have one entry"):
        imbalance(np.ones(4), np.ones(3, dtype=np.int64), 2)
