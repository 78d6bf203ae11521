"""Gradients of the head beside one row's at a time, and planted agreement and conflict."""

import math

import numpy as np
import pytest
from diagnosed import number, planted, subject_of, values_of
from scipy.special import softmax

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.linear.problem import Head
from penult_kernels.rows import ArrayRows


@pytest.fixture(scope="module")
def made():
    return planted(seed=16, n=60)


def gradients(made):
    """(N, K (D + 1)) of each row."""
    p = softmax(made["x"] @ made["weight"].T + made["bias"], axis=1)
    e, z = p - np.eye(3)[made["y"]], np.column_stack([made["x"], np.ones(len(p))])
    return np.stack([np.outer(one, row).ravel() for one, row in zip(e, z, strict=True)])


def test_coherence_is_of_the_rows_own_gradients(backend, made):
    g, part = gradients(made), made["y"] * 2 + made["a"]
    found = values_of(subject_of(made, like=backend.array), "gradients")
    for parts, rows in [((), np.ones(60, bool)), *(((p,), part == p) for p in range(6))]:
        alpha = np.sum(g[rows].mean(axis=0) ** 2) / np.mean(np.sum(g[rows] ** 2, axis=1))
        assert found["gradient_coherence", parts, ""].value == pytest.approx(alpha, rel=1e-12)
        assert found["gradient_m", parts, ""].value == pytest.approx(rows.sum() * alpha, rel=1e-12)
        assert found["gradient_coherence", parts, ""].null == pytest.approx(1 / rows.sum())


def test_conflict_is_the_cosine_of_mean_gradients(made):
    g, part = gradients(made), made["y"] * 2 + made["a"]
    found = values_of(subject_of(made), "gradient_conflict")
    for p in range(6):
        for q in range(p + 1, 6):
            a, b = g[part == p].mean(axis=0), g[part == q].mean(axis=0)
            expected = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
            assert found["gradient_conflict", (p, q), ""].value == pytest.approx(expected, rel=1e-10)


def test_equal_rows_agree_and_orthogonal_ones_do_not():
    """One row many times has 1; rows whose features, with the bias, are orthogonal have 1/n."""
    same = {
        "x": np.ones((8, 3)),
        "y": np.zeros(8, int),
        "a": np.zeros(8, int),
        "weight": np.eye(2, 3),
        "bias": np.zeros(2),
    }
    assert number(subject_of(same), "gradient_coherence") == pytest.approx(1)
    assert number(subject_of(same), "gradient_m") == pytest.approx(8)
    # Eight rows [z, 1] of a Hadamard matrix.
    hadamard = np.array([[1.0]])
    for _ in range(3):
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    apart = same | {"x": hadamard[:, 1:], "weight": np.zeros((2, 7)), "y": np.zeros(8, int)}
    assert number(subject_of(apart), "gradient_coherence") == pytest.approx(1 / 8)


def test_groups_that_want_opposite_heads_conflict():
    """Equal rows of two groups with the opposite labels."""
    x = np.random.default_rng(1).standard_normal((40, 5))
    made = {
        "x": np.concatenate([x, x]),
        "y": np.repeat([0, 1], 40),
        "a": np.zeros(80, int),
        "weight": np.zeros((2, 5)),
        "bias": np.zeros(2),
    }
    assert number(subject_of(made), "gradient_conflict", (0, 1)) == pytest.approx(-1)


def test_stored_logits_are_used_where_there_are_some(made):
    logits = made["x"] @ made["weight"].T + made["bias"]
    subject = subject_of(made, head=None, logits=logits)
    for parts in ((), (2,)):
        expected = number(subject_of(made), "gradient_coherence", parts)
        assert number(subject, "gradient_coherence", parts) == pytest.approx(expected)


def test_saturated_rows_have_no_gradient(made):
    sure = subject_of(made, head=Head(weight=np.zeros((3, 7)), bias=np.array([1e4, 0.0, 0.0])), y=made["y"] * 0)
    one = values_of(sure, "gradient_coherence")["gradient_coherence", (), ""]
    assert math.isnan(one.value)
    assert one.note == "no row has a gradient"


def test_intervals_of_the_coherence_cover():
    """Of 25 sets, at least 20; around the value of very many rows, which has no floor left."""
    rng = np.random.default_rng(3)

    def drawn(n):
        x = rng.standard_normal((n, 3)) + 1
        y = (rng.random(n) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
        return {"x": x, "y": y, "a": y * 0, "weight": np.eye(2, 3) * 0.3, "bias": np.zeros(2)}

    def of(n, settings):
        made = drawn(n)
        subject = subject_of(made, part=made["a"], n_parts=1, rows=ArrayRows(made["x"]))
        return values_of(subject, "gradient_coherence", settings)["gradient_coherence", (), ""]

    truth = of(60_000, Settings(replicates=0, matched=0)).value
    found = [of(400, Settings(replicates=80, matched=0)) for _ in range(25)]
    assert sum(one.low <= truth + one.null <= one.high for one in found) >= 20
