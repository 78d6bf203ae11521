"""Minorities at a ratio: between the groups as they are and balanced groups, as a subset, as draws and as weights."""

import numpy as np
import pytest

from penult_kernels.sampling.balancing import BalanceMethod, draw_epoch, kept_rows, loss_weights
from penult_kernels.sampling.group_ratio import GroupRatio, classes_of
from penult_kernels.sampling.plans import balanced_draw, inverse_frequencies

COUNTS = {
    "waterbirds": (3498, 184, 56, 1057),
    "celeba": (71629, 66874, 22880, 1387),
    "three": (100, 80, 30, 60, 60, 50),
}
CLASS_OF = {"waterbirds": (0, 0, 1, 1), "celeba": (0, 0, 1, 1), "three": (0, 0, 0, 1, 1, 1)}
MINORITIES = {"waterbirds": (1, 2), "celeba": (3,), "three": (2,)}
SUBSETTING, UPSAMPLING, UPWEIGHTING = (
    BalanceMethod.SUBSETTING,
    BalanceMethod.UPSAMPLING,
    BalanceMethod.UPWEIGHTING,
)


def made(name, scale=1):
    labels = np.repeat(np.arange(len(COUNTS[name])), np.asarray(COUNTS[name]) // scale)
    return np.random.default_rng(0).permutation(labels), np.array(CLASS_OF[name])


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("r", [0.05, 0.3, 1.0])
def test_shares(name, r):
    class_of = np.array(CLASS_OF[name])
    shares = GroupRatio(ratio=r, class_of=class_of).shares(np.array(COUNTS[name]))
    for one in np.unique(class_of):
        own = [g for g in range(class_of.size) if class_of[g] == one]
        assert shares[own].sum() == pytest.approx(1 / np.unique(class_of).size)
        minority = [g for g in own if g in MINORITIES[name]]
        others = [shares[g] for g in own if g not in minority]
        assert others == pytest.approx([others[0]] * len(others))
        assert [shares[g] for g in minority] == pytest.approx([r * others[0]] * len(minority))


def test_a_subset_of_the_paper():
    """2 min_g n_g rows a class, (1 - q) and q of them, rounded up; r = 1 is subsetting by group with the same seed."""
    labels, class_of = made("waterbirds")
    for r in (0.05, 0.25, 1.0):
        kept = kept_rows(labels, 4, method=SUBSETTING, seed=3, group_ratio=GroupRatio(ratio=r, class_of=class_of))
        q = r / (1 + r)
        sizes = [int(np.ceil(round(one * 112, 9))) for one in (1 - q, q, q, 1 - q)]
        assert np.bincount(labels[kept]).tolist() == sizes
    np.testing.assert_array_equal(kept, kept_rows(labels, 4, method=SUBSETTING, seed=3))


def test_subsets_of_one_seed_are_nested_in_the_minorities():
    labels, class_of = made("waterbirds")
    small, large = (
        kept_rows(labels, 4, method=SUBSETTING, seed=5, group_ratio=GroupRatio(ratio=r, class_of=class_of))
        for r in (0.1, 0.6)
    )
    assert set(small[labels[small] == 2]) < set(large[labels[large] == 2])
    assert set(large[labels[large] == 0]) < set(small[labels[small] == 0])


def test_weights_and_draws_have_the_shares():
    labels, class_of = made("celeba", scale=100)
    ratio = GroupRatio(ratio=0.2, class_of=class_of)
    shares = ratio.shares(np.bincount(labels))
    weights = loss_weights(labels, 4, method=UPWEIGHTING, group_ratio=ratio)
    assert np.bincount(labels, weights=weights) / labels.size == pytest.approx(shares)
    batch = inverse_frequencies(labels, 4, method=UPSAMPLING, group_ratio=ratio)
    np.testing.assert_allclose(batch, weights)
    every = np.arange(labels.size)
    rng = np.random.default_rng(1)
    drawn = np.concatenate(
        [draw_epoch(labels, 4, every, method=UPSAMPLING, rng=rng, group_ratio=ratio) for _ in range(30)]
    )
    frequency = np.bincount(labels[drawn], minlength=4) / drawn.size
    assert frequency == pytest.approx(shares, abs=4 * np.sqrt(0.25 / drawn.size))


def test_a_ratio_of_one_weighs_as_balancing_by_group():
    labels, class_of = made("three")
    ratio = GroupRatio(ratio=1.0, class_of=class_of)
    np.testing.assert_allclose(
        loss_weights(labels, 6, method=UPWEIGHTING, group_ratio=ratio), loss_weights(labels, 6, method=UPWEIGHTING)
    )


def test_groups_left_out_keep_the_ratio_of_the_others():
    labels, class_of = made("waterbirds", scale=4)
    among = np.flatnonzero(labels != 1)
    draw = balanced_draw(
        labels,
        4,
        among=among,
        method=UPWEIGHTING,
        ratio=1.0,
        seed=0,
        repeat=0,
        may_be_absent=np.ones(4, np.bool_),
        group_ratio=GroupRatio(ratio=0.25, class_of=class_of),
    )
    total = np.bincount(labels[draw.rows], weights=draw.weight, minlength=4)
    assert total / total.sum() == pytest.approx([0.5, 0, 0.1, 0.4])


@pytest.mark.parametrize("r", [0.0, -0.1, 1.5, np.nan, np.inf])
def test_other_ratios_are_refused(r):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        GroupRatio(ratio=r, class_of=np.array([0, 0]))


def test_groups_of_several_classes_are_refused():
    assert classes_of(np.array([0, 1, 1]), np.array([1, 0, 0]), 3).tolist() == [1, 0, -1]
    with pytest.raises(ValueError, match="rows of several"):
        classes_of(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
