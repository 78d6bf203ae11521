"""The head's Hessian beside the dense one, of two classes and of three."""

import math

import numpy as np
import pytest
from diagnosed import planted, subject_of, values_of
from scipy.special import softmax

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.linear.problem import Head


def dense(made, rows):
    p = softmax(made["x"] @ made["weight"].T + made["bias"], axis=1)[rows]
    z = np.column_stack([made["x"], np.ones(len(made["x"]))])[rows]
    return np.mean([np.kron(np.diag(a) - np.outer(a, a), np.outer(b, b)) for a, b in zip(p, z, strict=True)], axis=0)


@pytest.mark.parametrize("k", [2, 3])
def test_trace_and_largest_eigenvalue_are_those_of_the_dense_matrix(backend, k):
    made = planted(seed=18, n=80, k=k)
    made |= {"weight": made["weight"] * 0.2}
    part = made["y"] * 2 + made["a"]
    found = values_of(subject_of(made, like=backend.array), "hessian")
    assert found["head_hessian_trace", (), ""].value == pytest.approx(np.trace(dense(made, slice(None))))
    for p in range(2 * k):
        values = np.linalg.eigvalsh(dense(made, part == p))
        assert found["head_hessian_max", (p,), ""].value == pytest.approx(values[-1], rel=1e-6)
        assert found["head_hessian_trace", (p,), ""].value == pytest.approx(values.sum())
        assert found["head_hessian_max", (p,), ""].note == ""


def test_the_standard_error_is_that_of_repeated_samples():
    rng, values, errors = np.random.default_rng(1), [], []
    for _ in range(40):
        x = rng.standard_normal((300, 4)) * np.array([2.0, 1, 1, 1])
        made = {"x": x, "y": np.arange(300) % 2, "a": np.zeros(300, int), "weight": np.eye(2, 4), "bias": np.zeros(2)}
        subject = subject_of(made, part=made["a"], n_parts=1)
        one = values_of(subject, "head_hessian_max", Settings(replicates=0, matched=0))["head_hessian_max", (0,), ""]
        values.append(one.value)
        errors.append((one.high - one.low) / 3.92)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)


def test_a_head_that_is_certain_is_flat():
    made = planted(seed=2, n=30)
    sure = subject_of(made, head=Head(weight=np.zeros((3, 7)), bias=np.array([1e4, 0.0, 0.0])))
    found = values_of(sure, "hessian")
    for one in found.values():
        assert one.value == pytest.approx(0.0, abs=1e-12)
        assert not math.isnan(one.value)
