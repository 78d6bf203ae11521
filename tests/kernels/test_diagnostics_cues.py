"""Reliance beside its exact expectation, planted heads that use or leave a subspace, and cue conflicts by counting."""

import math

import numpy as np
import pytest
from diagnosed import planted, subject_of, values_of

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.linear.problem import Head


def two_classes(seed=0, n=160):
    """Class in the first column, the attribute in the second, of which the head reads what `weight` says."""
    made = planted(seed, n=n, k=2)
    made["x"] -= 5.0
    return made


def subspace(made):
    """(D, r) spanned by means of groups less those of their classes, by QR."""
    x, y, g = made["x"], made["y"], made["y"] * 2 + made["a"]
    apart = np.stack([x[g == h].mean(axis=0) - x[y == h // 2].mean(axis=0) for h in range(4)])
    return np.linalg.qr(apart[[0, 2]].T)[0]


def test_it_is_the_mean_over_all_pairs_of_rows(backend):
    made = two_classes()
    head = {"weight": np.array([[0.0] * 7, [1.0, 0.8, 0, 0, 0, 0, 0]]), "bias": np.array([0.0, -2.0])}
    made |= head
    q, x, y = subspace(made), made["x"], made["y"]
    right = (x @ made["weight"].T + made["bias"]).argmax(axis=1) == y
    lost = np.zeros(len(y))
    for i in range(len(y)):
        moved = x[i] - q @ (q.T @ x[i]) + (x @ q) @ q.T
        lost[i] = right[i] - np.mean((moved @ made["weight"].T + made["bias"]).argmax(axis=1) == y[i])
    found = values_of(subject_of(made, like=backend.array), "reliance", Settings(replicates=50, matched=0))
    g = y * 2 + made["a"]
    for part in range(-1, 4):
        one = found["reliance", (part,) if part >= 0 else (), ""]
        inside = g == part if part >= 0 else np.ones(len(y), bool)
        assert one.value == pytest.approx(lost[inside].mean(), abs=1e-12)
        assert one.low <= one.value <= one.high
        assert "2 directions" in one.note
    assert lost.mean() > 0.05


def test_of_many_rows_orders_are_drawn():
    made = two_classes(n=1200)
    made |= {"weight": np.array([[0.0] * 7, [1.0, 0.8, 0, 0, 0, 0, 0]]), "bias": np.array([0.0, -2.0])}
    first, other = (
        values_of(subject_of(made), "reliance", Settings(replicates=0, matched=0, seed=seed))["reliance", (), ""].value
        for seed in (0, 1)
    )
    assert first != other
    assert first == pytest.approx(other, abs=4 * 0.5 * math.sqrt(2 / (100 * 1200)))


def test_a_head_that_reads_nothing_there_relies_on_nothing():
    made = two_classes()
    q = subspace(made)
    weight = np.zeros((2, 7))
    weight[1] = np.arange(7) - q @ (q.T @ np.arange(7))
    found = values_of(subject_of(made, head=Head(weight=weight, bias=np.zeros(2))), "reliance")
    assert found["reliance", (), ""].value == 0.0
    alone = values_of(subject_of(made, part=made["y"], n_parts=2), "reliance")
    assert "no class has rows of two parts" in alone["reliance", (), ""].note


def test_cues_are_counted():
    made = two_classes(seed=2)
    predicted = np.random.default_rng(1).integers(0, 2, len(made["y"]))
    logits = np.eye(2)[predicted]
    columns = {"class": (made["y"], 2), "ground": (made["a"], 2), "size": (made["a"], 3)}
    subject = subject_of(made, logits=logits, columns=columns)
    found = values_of(subject, "cue_preference", Settings(replicates=40, matched=0))
    conflict = made["a"] != made["y"]
    one = found["cue_preference", (), "ground"]
    assert one.value == pytest.approx(np.mean(predicted[conflict] == made["a"][conflict]))
    assert one.n == conflict.sum()
    assert one.low < one.value < one.high
    assert "3 values for 2 classes" in found["cue_preference", (), "size"].note
    without = values_of(subject_of(made, columns={"class": (made["y"], 2)}), "cue_preference")
    assert "besides the class" in without["cue_preference", (), ""].note
