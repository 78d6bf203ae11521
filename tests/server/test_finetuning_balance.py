"""Which examples a run draws: the definitions of the balancings as identities between whole epochs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finetuning_data import COUNTS, MemoryDataset, grouping_of, squares
from numpy.testing import assert_allclose, assert_array_equal

from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.errors_of import Errors, repeated
from penult_server.finetuning.examples import TrainingSet, balance, epoch_order

CONFIG = FinetuneConfig(backbone="test_vit", epochs=1, seed=5)
FULL = 5.0
"""Largest over smallest group of COUNTS."""


def chosen(dataset: MemoryDataset, **change: object) -> TrainingSet:
    return balance(replace(CONFIG, **change), dataset)


@pytest.mark.parametrize("by", list(BalanceBy))
def test_mixture_at_ratio_1_draws_from_what_subsetting_keeps(by: BalanceBy) -> None:
    dataset = squares()
    mixture = chosen(dataset, method=BalanceMethod.MIXTURE, by=by, ratio=1.0)
    subsetting = chosen(dataset, method=BalanceMethod.SUBSETTING, by=by)
    assert_array_equal(mixture.rows, subsetting.rows)
    config = replace(CONFIG, method=BalanceMethod.SUBSETTING, by=by)
    assert_array_equal(np.sort(epoch_order(subsetting, config, 0)), subsetting.rows)


@pytest.mark.parametrize("ratio", [0.0, FULL, 100.0])
def test_mixture_at_the_full_ratio_is_upsampling(ratio: float) -> None:
    dataset = squares()
    orders = [
        epoch_order(
            chosen(dataset, method=method, by=BalanceBy.GROUP, ratio=ratio),
            replace(CONFIG, method=method, by=BalanceBy.GROUP, ratio=ratio),
            epoch,
        )
        for method in (BalanceMethod.MIXTURE, BalanceMethod.UPSAMPLING)
        for epoch in (0, 3)
    ]
    assert_array_equal(orders[0], orders[2])
    assert_array_equal(orders[1], orders[3])
    assert not np.array_equal(orders[0], orders[1])


@pytest.mark.parametrize("by", list(BalanceBy))
def test_weights_are_the_counts_inverse(by: BalanceBy) -> None:
    dataset = squares()
    training = chosen(dataset, method=BalanceMethod.UPWEIGHTING, by=by)
    counts = np.array(COUNTS["train"] if by is BalanceBy.GROUP else [12, 12])
    assert_allclose(training.weights * counts[training.labels], training.weights[0] * counts[training.labels[0]])
    assert_array_equal(training.rows, np.arange(24))


def test_the_subset_is_a_function_of_dataset_and_seed() -> None:
    config = {"method": BalanceMethod.SUBSETTING, "by": BalanceBy.GROUP}
    # Nothing but the seed matters: not the backbone, the epochs, or what was drawn before.
    first = chosen(squares(), **config)
    again = chosen(squares(), **config, backbone="test_resnet", epochs=7, learning_rate=1.0)
    assert_array_equal(first.rows, again.rows)
    others = [chosen(squares(), **config, seed=seed).rows for seed in range(20)]
    assert len({rows.tobytes() for rows in others}) > 10


def test_the_dataset_s_own_ratio_needs_every_label() -> None:
    dataset = squares({"train": [5, 0, 4, 6], "test": [1, 1, 1, 1]})
    with pytest.raises(ServiceError, match="upper, blue") as caught:
        chosen(dataset, method=BalanceMethod.MIXTURE, by=BalanceBy.GROUP, ratio=0.0)
    assert caught.value.kind is ErrorKind.EMPTY_GROUP


@pytest.mark.parametrize("method", [method for method in BalanceMethod if method is not BalanceMethod.NONE])
def test_groups_without_an_example_can_be_left_out(method: BalanceMethod) -> None:
    """Where no split has one they are; where another has, only on request. The others are balanced as on their own."""
    config = {"method": method, "by": BalanceBy.GROUP, "ratio": 1.5}
    nowhere, elsewhere = squares({"train": [5, 0, 4, 6]}), squares({"train": [5, 0, 4, 6], "test": [1, 1, 1, 1]})
    with pytest.raises(ServiceError, match=r"upper, blue.* missing_groups='skip'") as caught:
        chosen(elsewhere, **config)
    assert caught.value.kind is ErrorKind.EMPTY_GROUP
    for training in (chosen(nowhere, **config), chosen(elsewhere, **config, missing_groups="skip")):
        assert [(note.id, "'upper, blue'" in note.text) for note in training.notes] == [("absent_groups", True)]
        drawn = np.concatenate([
            epoch_order(training, replace(CONFIG, **config), epoch) for epoch in range(200)
        ])  # fmt: skip
        shares = np.bincount(training.g[drawn], weights=training.weights[drawn], minlength=4)
        assert_allclose(shares / shares.sum(), [1 / 3, 0, 1 / 3, 1 / 3], atol=0.03)
    assert chosen(squares(), method=method, by=BalanceBy.GROUP).notes == ()


def test_repeated_errors_stand_as_often_as_asked() -> None:
    training = repeated(chosen(squares()), Errors(rows=np.array([3, 7]), notes=()), 5)
    order = epoch_order(training, CONFIG, 0)
    expected = np.ones(24, dtype=np.int64)
    expected[[3, 7]] = 5
    assert_array_equal(np.bincount(order, minlength=24), expected)


METHODS = [method for method in BalanceMethod if method is not BalanceMethod.NONE]


@pytest.mark.parametrize("method", METHODS)
def test_a_grouping_stands_in_for_the_attribute(tmp_path: Path, method: BalanceMethod) -> None:
    """Of the attribute's own values, to the last bit; also for the order of every epoch."""
    dataset = squares()
    change = {"method": method, "by": BalanceBy.GROUP, "ratio": 2.0}
    stored = chosen(dataset, **change)
    config = replace(CONFIG, grouping=grouping_of(tmp_path, dataset), **change)
    found = balance(config, dataset, tmp_path)
    for name in ("y", "g", "labels", "rows", "weights"):
        assert_array_equal(getattr(found, name), getattr(stored, name))
    assert (found.n_labels, found.n_groups) == (stored.n_labels, stored.n_groups)
    assert_array_equal(epoch_order(found, config, 1), epoch_order(stored, config, 1))
    assert [note.id for note in found.notes] == [NoteId.GROUPS_USED]


@pytest.mark.parametrize("method", METHODS)
def test_examples_in_no_group_are_not_trained_on(tmp_path: Path, method: BalanceMethod) -> None:
    dataset = squares()
    left_out = [1, 2, 11]
    grouping = grouping_of(tmp_path, dataset, left_out=left_out)
    config = replace(CONFIG, grouping=grouping, method=method, by=BalanceBy.GROUP, ratio=2.0)
    training = balance(config, dataset, tmp_path)
    assert not np.isin(left_out, training.rows).any()
    assert not np.isin(left_out, epoch_order(training, config, 0)).any()
    errors = Errors(rows=np.array([0, 1, 2]), notes=())
    assert not np.isin(left_out, repeated(training, errors, 3).rows).any()
    if method is BalanceMethod.UPWEIGHTING:
        counts = np.bincount(training.g[training.rows], minlength=4)
        assert_allclose((training.weights * np.isin(np.arange(24), training.rows)).sum(), counts.sum())
    assert [note.id for note in training.notes] == [NoteId.GROUPS_USED, NoteId.ROWS_WITHOUT_GROUP]


def test_a_grouping_of_another_dataset_is_refused(tmp_path: Path) -> None:
    dataset = squares()
    grouping = grouping_of(tmp_path, dataset, digest="0" * 64)
    config = replace(CONFIG, grouping=grouping, method=BalanceMethod.UPWEIGHTING, by=BalanceBy.GROUP)
    with pytest.raises(ServiceError, match="is not of dataset 'squares' as it is now") as caught:
        balance(config, dataset, tmp_path)
    assert caught.value.kind == ErrorKind.OTHER_ROWS


@pytest.mark.parametrize("method", [BalanceMethod.SUBSETTING, BalanceMethod.UPSAMPLING, BalanceMethod.UPWEIGHTING])
def test_minorities_at_a_ratio(method: BalanceMethod) -> None:
    """Of the groups of a class the minority has r / (1 + r), in what is kept, drawn or weighed; classes are equal."""
    dataset, r = squares(), 0.25
    change = {"method": method, "by": BalanceBy.GROUP, "group_ratio": r}
    training = chosen(dataset, **change)
    config = replace(CONFIG, **change)
    drawn = np.concatenate([epoch_order(training, config, epoch) for epoch in range(200)])
    total = np.bincount(training.g[drawn], weights=training.weights[drawn], minlength=4)
    counts = np.array(COUNTS["train"])
    expected = np.empty(4)
    for pair in ([0, 1], [2, 3]):
        small, large = sorted(pair, key=lambda g: counts[g])
        q = r / (1 + r) if counts[small] <= counts[large] / 2 else 0.5
        expected[small], expected[large] = q / 2, (1 - q) / 2
    loose = 0.15 if method is BalanceMethod.SUBSETTING else 0.03
    assert_allclose(total / total.sum(), expected, atol=loose)
    assert_array_equal(epoch_order(training, config, 3), epoch_order(chosen(dataset, **change), config, 3))


@pytest.mark.parametrize("value", [0.0, 1.5, np.nan])
def test_other_group_ratios_are_refused(value: float) -> None:
    with pytest.raises(ServiceError, match=r"group_ratio must be finite and in \(0, 1\]"):
        replace(CONFIG, method=BalanceMethod.UPSAMPLING, by=BalanceBy.GROUP, group_ratio=value)
