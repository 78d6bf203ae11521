"""Probes beside scikit-learn's, planted columns, and labels that say nothing."""

import math

import numpy as np
import pytest
from diagnosed import planted, subject_of, values_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.diagnostics.probes.outcomes import FOLDS, folds_of
from penult_kernels.rows import ArrayRows

FIVE = ("decodability_accuracy", "decodability_balanced_accuracy", "decodability_auroc", "decodability_r2")
FIVE += ("decodability_bits",)


@pytest.fixture(scope="module")
def made():
    return planted(seed=20, n=240)


@pytest.fixture(scope="module")
def found(made):
    return values_of(subject_of(made), "decodability", Settings(replicates=60, matched=0))


def test_values_are_scikit_learn_s_on_the_same_folds(made, found):
    """The attribute over all rows; softmax of two classes with l2 is C = 2 / (l2 n)."""
    x, a = made["x"], made["a"]
    fold = folds_of(a, np.random.default_rng([0, 8]))
    p, prior = np.empty((240, 2)), np.empty((240, 2))
    for one in range(FOLDS):
        fitted, held_out = fold != one, fold == one
        scale = StandardScaler().fit(x[fitted])
        probe = LogisticRegression(C=2 / (0.01 * fitted.sum()), tol=1e-8, max_iter=5000)
        probe.fit(scale.transform(x[fitted]), a[fitted])
        p[held_out] = probe.predict_proba(scale.transform(x[held_out]))
        prior[held_out] = np.bincount(a[fitted]) / fitted.sum()
    predicted = p.argmax(axis=1)
    entropy, loss = log_loss(a, prior), log_loss(a, p)
    expected = [
        np.mean(predicted == a),
        balanced_accuracy_score(a, predicted),
        roc_auc_score(a, np.log(p[:, 1]) - np.log(p[:, 0])),
        1 - loss / entropy,
        (entropy - loss) / math.log(2),
    ]
    for id, value in zip(FIVE, expected, strict=True):
        assert found[id, (), "ground"].value == pytest.approx(value, abs=2e-3), id


def test_shuffled_labels_say_nothing_and_planted_ones_do(found):
    for column in ("class", "ground", "ground given class"):
        one = found["decodability_bits", (), column]
        assert one.value > 0.3
        assert one.null < 0.05
        assert one.low <= one.value <= one.high
        assert found["decodability_auroc", (), column].null == pytest.approx(0.5, abs=0.15)


def test_fewer_rows_than_features_decode_anything_but_not_what_was_held_out():
    rng = np.random.default_rng(1)
    made = {
        "x": rng.standard_normal((60, 200)),
        "y": np.arange(60) % 2,
        "a": rng.integers(0, 2, 60),
        "weight": np.eye(2, 200),
        "bias": np.zeros(2),
    }
    found = values_of(subject_of(made), "decodability_accuracy")
    assert found["decodability_accuracy", (), "ground"].value < 0.75


def test_a_copy_of_the_class_leaks_nothing_once_the_class_is_known():
    """The attribute is the class in all but rows that the features do not tell: given the class it is not decodable."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 600)
    a = np.where(rng.random(600) < 0.9, y, 1 - y)
    x = rng.standard_normal((600, 4))
    x[:, 0] += 4 * y
    made = {"x": x, "y": y, "a": a, "weight": np.eye(2, 4), "bias": np.zeros(2)}
    found = values_of(subject_of(made), "decodability_bits")
    assert found["decodability_bits", (), "ground"].value > 0.35
    assert found["decodability_bits", (), "ground given class"].value < 0.02


def test_rare_values_are_left_out_and_a_constant_column_is_told(made):
    rare = made["a"].copy()
    rare[:2] = 2
    found = values_of(subject_of(made, columns={"ground": (rare, 3), "same": (rare * 0, 1)}), "decodability_accuracy")
    assert found["decodability_accuracy", (), "ground"].note == "2 rows of rare values are left out"
    assert found["decodability_accuracy", (), "ground"].n == 238
    assert "fewer than two values" in found["decodability_accuracy", (), "same"].note


def test_rows_at_positions_are_the_rows(made):
    """Every second row of a larger array."""
    large = np.empty((480, 7))
    large[::2], large[1::2] = made["x"], 1e3
    chosen = subject_of(made, rows=ArrayRows(large, np.arange(0, 480, 2)))
    first, second = (values_of(one, "decodability_bits") for one in (chosen, subject_of(made)))
    for key, one in first.items():
        assert one.value == pytest.approx(second[key].value, abs=1e-4)
