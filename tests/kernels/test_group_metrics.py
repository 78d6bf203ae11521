"""Accuracies and loss by group, against scikit-learn and counting by hand."""

from dataclasses import astuple

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, log_loss, recall_score

from penult_kernels.metrics.accuracy import GroupMetrics, group_metrics

FIELDS = GroupMetrics.__dataclass_fields__


def sample(rng: np.random.Generator, *, n: int = 200):
    """Logits of three classes with two attributes; group 3 is empty."""
    g = rng.choice([0, 1, 2, 4, 5], size=n, p=[0.4, 0.1, 0.3, 0.15, 0.05])
    y = g // 2
    return rng.standard_normal((n, 3)) + 1.5 * np.eye(3)[y], y, g


def assert_same(found: GroupMetrics, expected: GroupMetrics) -> None:
    for name in FIELDS:
        if name == "probabilities":
            continue
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, err_msg=name)


def test_equals_scikit_learn(backend, rng):
    logits, y, g = sample(rng)
    found = group_metrics(backend.array(logits), backend.array(y), backend.array(g), 6)
    predicted = logits.argmax(axis=1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.count.tolist() == np.bincount(g, minlength=6).tolist()
    assert found.average_accuracy == pytest.approx(accuracy_score(y, predicted), rel=1e-14)
    assert found.worst_class_accuracy == pytest.approx(recall_score(y, predicted, average=None).min())
    assert found.loss == pytest.approx(log_loss(y, probabilities), rel=1e-12)
    by_hand = [accuracy_score(y[g == k], predicted[g == k]) if k != 3 else np.nan for k in range(6)]
    np.testing.assert_allclose(found.group_accuracy, by_hand, rtol=1e-14)
    assert found.worst_group == np.nanargmin(by_hand)
    assert found.worst_group_accuracy == np.nanmin(by_hand)


def test_without_training_shares_there_is_no_weighted_average(rng):
    logits, y, g = sample(rng)
    found = group_metrics(logits, y, g, 6)
    assert np.isnan(found.weighted_average_accuracy)
    assert found.average_weights.size == 0
    own = group_metrics(logits, y, g, 6, average_weights=found.count)
    assert own.weighted_average_accuracy == pytest.approx(own.average_accuracy, rel=1e-14)


def test_training_counts_weigh_the_average_whatever_their_scale(backend):
    # Two groups of one class, accuracies 1 and 0, trained on 3:1.
    logits, y, g = np.array([[0.0], [0.0]]), np.array([0, 0]), np.array([0, 1])
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    for weights in ([3498, 184, 0, 0], [0.95, 0.05, 0, 0]):
        found = group_metrics(
            backend.array(logits), y, g, 4, average_weights=backend.array(np.array(weights, dtype=float))
        )
        assert found.weighted_average_accuracy == pytest.approx(weights[0] / sum(weights))
        assert found.average_accuracy == 0.5


def test_an_empty_group_with_a_weight_leaves_no_weighted_average():
    found = group_metrics(np.eye(2), np.array([0, 1]), np.array([0, 2]), 4, average_weights=np.ones(4))
    assert np.isnan(found.weighted_average_accuracy)
    assert np.isnan(found.group_accuracy).tolist() == [False, True, False, True]
    assert (found.worst_group, found.worst_group_accuracy, found.worst_class_accuracy) == (0, 1.0, 1.0)


def test_repeated_and_permuted_rows_and_shifted_logits_change_nothing_relative(rng):
    logits, y, g = sample(rng)
    found = group_metrics(logits, y, g, 6)
    order = rng.permutation(y.size)
    moved = group_metrics(logits[order] + 1e3, y[order], g[order], 6)
    assert_same(moved, found)
    assert astuple(moved.probabilities) == pytest.approx(astuple(found.probabilities), rel=1e-10)
    twice = group_metrics(np.vstack([logits, logits]), np.tile(y, 2), np.tile(g, 2), 6)
    assert twice.loss == pytest.approx(found.loss)
    np.testing.assert_array_equal(twice.correct, 2 * found.correct)


def test_extreme_logits_keep_the_loss_finite():
    logits = np.array([[1e4, 0.0], [1e4, 0.0]], dtype=np.float32)
    assert group_metrics(logits, np.array([0, 1]), np.array([0, 1]), 2).loss == 5e3


def test_nan_logits_are_wrong_and_show_in_the_loss(backend):
    logits = backend.array([[np.nan, 0.0], [1.0, 0.0]])
    found = group_metrics(logits, np.array([0, 0]), np.array([0, 0]), 2)
    assert found.correct.tolist() == [1, 0]
    assert np.isnan(found.loss)


def test_no_rows_are_nan_everywhere(backend):
    none = np.zeros(0, dtype=np.int64)
    found = group_metrics(backend.array(np.zeros((0, 2))), none, none, 4)
    assert found.worst_group == -1
    for name in (
        "average_accuracy",
        "weighted_average_accuracy",
        "worst_group_accuracy",
        "worst_class_accuracy",
        "loss",
    ):
        assert np.isnan(getattr(found, name)), name


def test_one_class_is_always_right():
    found = group_metrics(np.array([[3.0], [-2.0]]), np.zeros(2, dtype=np.int64), np.array([0, 1]), 2)
    assert (found.average_accuracy, found.loss) == (1.0, 0.0)


def test_confusion_and_class_means_equal_scikit_learn(backend, rng):
    logits, y, g = sample(rng)
    found = group_metrics(backend.array(logits), y, g, 6)
    predicted = logits.argmax(axis=1)
    for group in range(6):
        np.testing.assert_array_equal(
            found.confusion[group], np.bincount(predicted[g == group], minlength=3), err_msg=str(group)
        )
    by_class = found.confusion.reshape(3, 2, 3).sum(axis=1)
    np.testing.assert_array_equal(by_class, confusion_matrix(y, predicted, labels=range(3)))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, predicted), rel=1e-14)
    assert found.mean_group_accuracy == pytest.approx(np.nanmean(found.group_accuracy), rel=1e-14)


def test_masks_may_overlap_and_be_empty(backend, rng):
    logits, y, g = sample(rng)
    predicted = logits.argmax(axis=1)
    masks = np.stack([np.arange(200) % 3 == 0, np.arange(200) < 50, np.zeros(200, dtype=bool)])
    found = group_metrics(backend.array(logits), y, g, 6, masks=backend.array(masks))
    assert found.mask_count.tolist() == [67, 50, 0]
    expected = [accuracy_score(y[mask], predicted[mask]) for mask in masks[:2]]
    np.testing.assert_allclose(found.mask_accuracy, [*expected, np.nan])
    assert (found.worst_mask, found.worst_mask_accuracy) == (int(np.argmin(expected)), min(expected))
    # A mask for each group is that group.
    by_group = group_metrics(logits, y, g, 6, masks=np.arange(6)[:, None] == g)
    np.testing.assert_array_equal(by_group.mask_correct, found.correct)
    assert by_group.worst_mask == by_group.worst_group


def test_without_masks_there_is_no_worst_one():
    found = group_metrics(np.eye(2), np.array([0, 1]), np.array([0, 1]), 2)
    assert (found.mask_count.size, found.worst_mask) == (0, -1)
    assert np.isnan(found.worst_mask_accuracy)
    nobody = group_metrics(np.eye(2), np.array([0, 1]), np.array([0, 1]), 2, masks=np.zeros((1, 2), dtype=bool))
    assert nobody.worst_mask == -1


@pytest.mark.parametrize("masks", [np.ones((2, 3), dtype=bool), np.ones(2, dtype=bool), np.ones((1, 2))])
def test_masks_that_are_none_are_refused(masks):
    with pytest.raises(ValueError, match="masks must be booleans, one row per mask, shape"):
        group_metrics(np.eye(2), np.array([0, 1]), np.array([0, 1]), 2, masks=masks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(2), [0, 1], [0, 1], 3), "multiple of the 2 classes, got 3"),
        ((np.eye(2), [0, 1], [0, 1], 4), r"g must be y \* 2 \+ a"),
        ((np.eye(2), [0, 2], [0, 1], 4), "y must lie in 0 ... 1"),
        ((np.eye(2), [0], [0, 1], 4), "y must have one entry per row"),
        ((np.ones(2), [0, 1], [0, 1], 4), "logits must be a floating-point matrix"),
    ],
)
def test_misuse_is_refused(arguments, message):
    logits, y, g, n_groups = arguments
    with pytest.raises(ValueError, match=message):
        group_metrics(logits, np.array(y), np.array(g), n_groups)


@pytest.mark.parametrize("weights", [[1.0], [-1.0, 1.0], [np.nan, 1.0], [0.0, 0.0]])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="average_weights must"):
        group_metrics(np.eye(2), np.array([0, 1]), np.array([0, 1]), 2, average_weights=np.array(weights))
