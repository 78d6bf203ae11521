"""Directions beside sums over pairs computed naively, and planted spreads."""

import math

import numpy as np
import pytest
from diagnosed import number, planted, subject_of, values_of

from penult_kernels.diagnostics.planner import Settings


@pytest.fixture(scope="module")
def made():
    return planted(seed=12, n=90)


def units(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_uniformity_is_over_all_pairs_of_a_small_part(backend, made):
    found = values_of(subject_of(made, like=backend.array), "uniformity")
    part = made["y"] * 2 + made["a"]
    for p in range(6):
        u = units(made["x"][part == p])
        each = [np.exp(-2 * np.sum((a - b) ** 2)) for i, a in enumerate(u) for b in u[:i]]
        assert found["uniformity", (p,), ""].value == pytest.approx(np.log(np.mean(each)))


def test_rows_spread_evenly_have_the_null():
    x = np.random.default_rng(1).standard_normal((800, 6))
    made = {"x": x, "y": np.arange(800) % 2, "a": np.zeros(800, int), "weight": np.eye(2, 6), "bias": np.zeros(2)}
    one = values_of(subject_of(made, part=made["a"], n_parts=1), "uniformity")["uniformity", (0,), ""]
    assert one.low < one.null < one.high
    assert one.value == pytest.approx(one.null, abs=0.03)


def test_its_interval_is_the_jackknife_over_rows(made):
    part = made["y"] * 2 + made["a"]
    u = units(made["x"][part == 0])
    k = np.exp(-2 * ((u[:, None] - u[None]) ** 2).sum(axis=2))
    np.fill_diagonal(k, 0)
    n, each = len(u), []
    for i in range(n):
        rest = np.delete(np.delete(k, i, axis=0), i, axis=1)
        each.append(np.log(rest.sum() / ((n - 1) * (n - 2))))
    error = np.sqrt((n - 1) / n * np.sum((np.array(each) - np.mean(each)) ** 2))
    one = values_of(subject_of(made), "uniformity")["uniformity", (0,), ""]
    assert one.high - one.value == pytest.approx(1.959964 * error)


def test_tolerance_and_alignment_are_over_pairs_of_one_class(made):
    u, y = units(made["x"]), made["y"]
    pairs = [(i, j) for i in range(90) for j in range(90) if i != j and y[i] == y[j]]
    tolerance = np.mean([u[i] @ u[j] for i, j in pairs])
    subject = subject_of(made)
    assert number(subject, "tolerance") == pytest.approx(tolerance)
    assert number(subject, "class_alignment") == pytest.approx(np.mean([np.sum((u[i] - u[j]) ** 2) for i, j in pairs]))
    assert number(subject, "class_alignment") == pytest.approx(2 - 2 * tolerance)


def test_the_interval_of_tolerance_covers():
    """Of 25 sets, at least 20."""
    rng = np.random.default_rng(3)

    def drawn(n):
        x = rng.standard_normal((n, 4)) + np.array([1.0, 0, 0, 0])
        return {"x": x, "y": np.arange(n) % 2, "a": np.zeros(n, int), "weight": np.eye(2, 4), "bias": np.zeros(2)}

    truth = number(subject_of(drawn(50_000)), "tolerance")
    settings = Settings(replicates=80, matched=0)
    found = [values_of(subject_of(drawn(150)), "tolerance", settings)["tolerance", (), ""] for _ in range(25)]
    assert sum(one.low <= truth <= one.high for one in found) >= 20


def test_rows_of_zeros_have_no_direction(made):
    x = made["x"].copy()
    x[:3] = 0
    found = values_of(subject_of(made | {"x": x}), "sphere")
    assert "3 rows of zeros" in found["tolerance", (), ""].note
    assert found["tolerance", (), ""].n == 87
    assert math.isfinite(found["tolerance", (), ""].value)
    none = values_of(subject_of(made | {"x": np.zeros_like(x)}), "sphere")
    assert all(math.isnan(one.value) and one.note for one in none.values())


def test_a_large_part_is_drawn_from_and_says_so():
    n = 1500
    x = np.random.default_rng(5).standard_normal((n, 3))
    made = {"x": x, "y": np.arange(n) % 2, "a": np.zeros(n, int), "weight": np.eye(2, 3), "bias": np.zeros(2)}
    one = values_of(subject_of(made, part=made["a"], n_parts=1), "uniformity")["uniformity", (0,), ""]
    assert one.note == "of 1000 of 1500 rows, drawn"
    assert one.n == 1000
