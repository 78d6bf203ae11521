"""Balancing: counts, uniformity, nesting, seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from penult_kernels.sampling.balancing import (
    BalanceMethod,
    EmptyLabelError,
    _cap,
    draw_epoch,
    kept_rows,
    loss_weights,
)

COUNTS = (50, 20, 7)
RATIO_OF_ALL = 50 / 7
EVERY_METHOD = pytest.mark.parametrize("method", list(BalanceMethod))
counts_of_labels = st.lists(st.integers(1, 30), min_size=1, max_size=5)


@pytest.fixture
def labels(rng) -> np.ndarray:
    return rng.permutation(np.repeat(np.arange(3), COUNTS))


def counts_of(labels: np.ndarray) -> list[int]:
    return np.bincount(labels, minlength=3).tolist()


def test_the_methods_have_these_names():
    assert [str(method) for method in BalanceMethod] == ["none", "subsetting", "upsampling", "upweighting", "mixture"]


@pytest.mark.parametrize(
    ("method", "ratio", "expected"),
    [
        ("none", 1.0, [50, 20, 7]),
        ("upsampling", 1.0, [50, 20, 7]),
        ("upweighting", 1.0, [50, 20, 7]),
        ("subsetting", 1.0, [7, 7, 7]),
        ("subsetting", 3.0, [7, 7, 7]),
        ("mixture", 1.0, [7, 7, 7]),
        ("mixture", 2.0, [14, 14, 7]),
        ("mixture", 2.95, [20, 20, 7]),
        ("mixture", 100.0, [50, 20, 7]),
    ],
)
def test_rows_kept(labels, method, ratio, expected):
    rows = kept_rows(labels, 3, method=BalanceMethod(method), ratio=ratio, seed=0)
    assert rows.dtype == np.int64
    assert np.all(np.diff(rows) > 0)
    assert counts_of(labels[rows]) == expected


@given(counts=counts_of_labels, seed=st.integers(0, 2**63), ratios=st.tuples(*[st.floats(1, 40)] * 2))
def test_mixture_grows_from_subsetting_to_everything(counts, seed, ratios):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))

    def kept(method: BalanceMethod, ratio: float = 1.0) -> np.ndarray:
        return kept_rows(labels, len(counts), method=method, ratio=ratio, seed=seed)

    np.testing.assert_array_equal(kept(BalanceMethod.MIXTURE, 1.0), kept(BalanceMethod.SUBSETTING))
    assert kept(BalanceMethod.MIXTURE, max(counts) / min(counts)).size == labels.size
    assert set(kept(BalanceMethod.MIXTURE, min(ratios))) <= set(kept(BalanceMethod.MIXTURE, max(ratios)))


@settings(max_examples=300)
@given(smallest=st.integers(1, 10**6), factor=st.integers(1, 10**5), extra=st.integers(0, 10**5))
def test_a_ratio_of_counts_gives_back_the_count(smallest, factor, extra):
    largest = smallest * factor + extra
    assert _cap(smallest, largest / smallest) == largest
    assert largest == smallest or _cap(smallest, (largest - 0.01) / smallest) == largest - 1


def test_seeds_repeat_and_differ(labels):
    def kept(seed: int) -> list[int]:
        return kept_rows(labels, 3, method=BalanceMethod.SUBSETTING, seed=seed).tolist()

    assert kept(4) == kept(4)
    assert kept(4) != kept(5)


def test_every_row_of_a_label_is_as_likely(labels):
    kept = np.zeros(labels.size, dtype=int)
    for seed in range(600):
        kept[kept_rows(labels, 3, method=BalanceMethod.SUBSETTING, seed=seed)] += 1
    for label in (0, 1):
        assert chisquare(kept[labels == label]).pvalue > 1e-4
    assert np.all(kept[labels == 2] == 600)


def test_the_global_random_state_is_left_alone(labels):
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    kept_rows(labels, 3, method=BalanceMethod.MIXTURE, seed=1)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_upweighting_gives_every_label_the_same_total(labels):
    weights = loss_weights(labels, 3, method=BalanceMethod.UPWEIGHTING)
    np.testing.assert_allclose(np.bincount(labels, weights=weights), labels.size / 3)
    assert weights.mean() == pytest.approx(1.0)


@EVERY_METHOD
def test_all_other_weights_are_one(labels, method):
    if method is not BalanceMethod.UPWEIGHTING:
        assert loss_weights(labels, 3, method=method).tolist() == [1.0] * labels.size


@pytest.mark.parametrize("method", ["none", "subsetting", "upweighting"])
def test_an_epoch_without_replacement_is_a_shuffle(labels, rng, method):
    rows = kept_rows(labels, 3, method=BalanceMethod(method), seed=0)
    epoch = draw_epoch(labels, 3, rows, method=BalanceMethod(method), rng=rng)
    assert sorted(epoch) == rows.tolist()
    assert epoch.tolist() != rows.tolist()


@pytest.mark.parametrize("method", ["upsampling", "mixture"])
def test_an_epoch_with_replacement_draws_by_inverse_count(labels, rng, method):
    rows = kept_rows(labels, 3, method=BalanceMethod(method), ratio=2.0, seed=0)
    epochs = [draw_epoch(labels, 3, rows, method=BalanceMethod(method), rng=rng) for _ in range(400)]
    assert all(epoch.size == rows.size for epoch in epochs)
    drawn = np.concatenate(epochs)
    assert set(drawn) == set(rows)
    probability = 1 / np.bincount(labels[rows])[labels[rows]]
    expected = drawn.size * probability / probability.sum()
    assert chisquare(np.bincount(drawn, minlength=labels.size)[rows], expected).pvalue > 1e-4


def test_epochs_advance_with_the_generator(labels, rng):
    rows = np.arange(labels.size)
    first, second = (draw_epoch(labels, 3, rows, method=BalanceMethod.UPSAMPLING, rng=rng) for _ in range(2))
    assert first.tolist() != second.tolist()


@EVERY_METHOD
def test_an_empty_label_is_named(method):
    labels = np.array([0, 0, 2])
    rows = np.arange(3)
    calls = [
        lambda: kept_rows(labels, 3, method=method, seed=0),
        lambda: loss_weights(labels, 3, method=method),
        lambda: draw_epoch(labels, 3, rows, method=method, rng=np.random.default_rng(0)),
    ]
    for call in calls:
        if method is BalanceMethod.NONE:
            assert len(call()) == 3
        else:
            with pytest.raises(EmptyLabelError, match="label 1 has none") as caught:
                call()
            assert caught.value.label == 1


@pytest.mark.parametrize("ratio", [0.5, np.nan, np.inf, -1.0])
def test_impossible_ratios_are_refused(labels, ratio):
    with pytest.raises(ValueError, match="ratio must be a finite number of at least 1"):
        kept_rows(labels, 3, method=BalanceMethod.MIXTURE, ratio=ratio, seed=0)


def test_labels_out_of_range_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\.\. 1, got 0 \.\.\. 2"):
        kept_rows(labels, 2, method=BalanceMethod.NONE, seed=0)
