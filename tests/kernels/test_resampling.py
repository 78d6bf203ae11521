"""Draws: what they are, and that a replicate does not depend on the others."""

import numpy as np
import pytest

from penult_kernels.spectra.resampling import Resample, bootstrap_counts, subsample

STREAM = (3, Resample.MATCH)


def test_a_subsample_holds_different_rows_in_order():
    drawn = subsample(20, 7, range(50), seed=1, stream=STREAM)
    assert drawn.shape == (50, 7)
    assert (np.diff(drawn, axis=1) > 0).all()
    assert drawn.min() >= 0
    assert drawn.max() < 20
    np.testing.assert_array_equal(subsample(5, 5, range(2), seed=1, stream=STREAM), [[0, 1, 2, 3, 4]] * 2)


def test_every_row_is_as_likely():
    drawn = subsample(12, 4, range(3000), seed=0, stream=STREAM)
    share = np.bincount(drawn.reshape(-1), minlength=12) / 3000
    np.testing.assert_allclose(share, 4 / 12, atol=0.04)
    counts = bootstrap_counts(12, range(3000), seed=0, stream=STREAM)
    np.testing.assert_array_equal(counts.sum(axis=1), 12)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(counts.var(axis=0), 1 - 1 / 12, atol=0.15)


@pytest.mark.parametrize(
    "draw",
    [
        lambda r, **key: subsample(30, 10, r, **key),
        lambda r, **key: bootstrap_counts(30, r, **key),
    ],
)
def test_a_replicate_is_its_own(draw):
    whole = draw(range(8), seed=5, stream=STREAM)
    np.testing.assert_array_equal(draw(range(3, 6), seed=5, stream=STREAM), whole[3:6])
    assert draw(range(0), seed=5, stream=STREAM).shape == (0, whole.shape[1])
    for other in ({"seed": 6, "stream": STREAM}, {"seed": 5, "stream": (4, Resample.MATCH)}):
        assert not np.array_equal(draw(range(8), **other), whole)
    assert not np.array_equal(draw(range(8), seed=5, stream=(3, Resample.PERMUTATION)), whole)


def test_more_rows_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"0 \.\.\. 3, the rows there are, got 4"):
        subsample(3, 4, range(1), seed=0, stream=STREAM)
