"""Two sets of features together: halves of a signal, a copy that adds nothing, and scikit-learn's probes."""

import numpy as np
import pytest
from diagnosed import planted, subject_of, values_of
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.diagnostics.probes.outcomes import folds_of
from penult_kernels.rows import ArrayRows


def test_halves_of_a_signal_are_better_together():
    made = planted(seed=1, n=240, d=4, k=2)
    rng = np.random.default_rng(0)
    other = rng.standard_normal((240, 3))
    other[:, 1] += 2.5 * made["y"]
    subject = subject_of(made, other=ArrayRows(other))
    found = values_of(subject, "concat", Settings(replicates=50, matched=0))
    one = found["concat_gain", (), ""]
    fold = folds_of(made["y"], np.random.default_rng([0, 18]))
    expected = []
    for x in (np.hstack([made["x"], other]), made["x"], other):
        right = np.zeros(240)
        for held in range(3):
            fitted = fold != held
            scaler = StandardScaler().fit(x[fitted])
            # For two classes the softmax's l2 is twice that of the difference: C = 2 / (l2 n).
            probe = LogisticRegression(C=2 / (0.01 * fitted.sum()), tol=1e-8)
            probe.fit(scaler.transform(x[fitted]), made["y"][fitted])
            right[~fitted] = probe.predict(scaler.transform(x[~fitted])) == made["y"][~fitted]
        expected.append(right.mean())
    assert one.value == pytest.approx(expected[0] - max(expected[1:]), abs=1.01 / 240)
    assert one.value > 0.03
    assert one.low <= one.value <= one.high
    assert {key[1] for key in found} == {(), (0,), (1,), (2,), (3,)}


def test_a_copy_adds_next_to_nothing():
    made = planted(seed=2, n=200, d=4, k=3)
    one = values_of(subject_of(made, other=ArrayRows(2 * made["x"] - 1)), "concat")["concat_gain", (), ""]
    assert abs(one.value) < 0.03
    few = values_of(subject_of(planted(n=6), other=ArrayRows(np.ones((6, 2)))), "concat")
    assert "3 rows of each" in few["concat_gain", (), ""].note
