"""Which groups are compared, and their ratio."""

import numpy as np
import pytest

from penult_kernels.spectra.imbalance import Pair, class_pairs, group_pairs, spectral_ratio


def test_smallest_over_largest_of_each_class(backend):
    # Waterbirds' groups: the minority is group 1 in class 0 and group 2 in class 1.
    found = group_pairs(backend.array([3498, 184, 56, 1057]), 2)
    assert found == (Pair(0, 1, 0, 184, 3498), Pair(1, 2, 3, 56, 1057))
    largest = backend.array([2.0, 3.0, 8.0, 4.0])
    assert [spectral_ratio(largest, pair) for pair in found] == [1.5, 2.0]


def test_empty_groups_do_not_count_and_lonely_groups_have_no_ratio():
    found = group_pairs(np.array([9, 0, 3, 5, 0, 0, 0, 2, 1]), 3)
    assert [(one.y, one.minority, one.majority) for one in found] == [(0, 2, 0), (2, 8, 7)]
    assert group_pairs(np.array([4, 4]), 1) == ()


def test_equal_groups_are_two_different_groups():
    (found,) = group_pairs(np.array([5, 5, 5]), 3)
    assert (found.minority, found.majority) == (0, 2)
    assert spectral_ratio(np.array([1.0, 2.0, 4.0]), found) == 0.25


def test_every_two_classes_that_have_rows():
    assert class_pairs(np.array([7, 0, 3, 7])) == (
        Pair(-1, 2, 0, 3, 7),
        Pair(-1, 0, 3, 7, 7),
        Pair(-1, 2, 3, 3, 7),
    )
    assert class_pairs(np.array([7, 0])) == ()


@pytest.mark.parametrize("largest", [[1.0, 0.0], [np.nan, 1.0], [1.0, np.nan]])
def test_what_does_not_exist_is_nan(largest):
    assert np.isnan(spectral_ratio(np.array(largest), Pair(0, 0, 1, 1, 2)))


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="divide the 3 groups, got 2"):
        group_pairs(np.ones(3, dtype=np.int64), 2)
    with pytest.raises(ValueError, match="counts must hold whole numbers"):
        class_pairs(np.ones(3))
