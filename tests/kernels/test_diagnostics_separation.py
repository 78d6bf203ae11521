"""How far groups of a class stand apart: computed naively, blind to scale and turns, and of groups of a class alone."""

import math

import numpy as np
import pytest
from diagnosed import number, planted, subject_of, values_of

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.rows import ArrayRows


@pytest.fixture(scope="module")
def made():
    return planted(seed=4)


def test_pairs_within_a_class_and_their_mean(backend, made):
    part = made["y"] * 2 + made["a"]
    found = values_of(subject_of(made, like=backend.array), "separation")
    each = []
    for p, q in ((0, 1), (2, 3), (4, 5)):
        a, b = made["x"][part == p], made["x"][part == q]
        scatter = (a.var(axis=0).sum() + b.var(axis=0).sum()) / 2
        each.append(np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(scatter))
        assert found["latent_separation", (p, q), ""].value == pytest.approx(each[-1])
    assert found["latent_separation", (), ""].value == pytest.approx(np.mean(each))
    assert len(found) == 4


def test_scale_and_turns_change_nothing(made):
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((7, 7)))[0]
    turned = ArrayRows(np.ascontiguousarray(3 * made["x"] @ turn))
    before = number(subject_of(made), "latent_separation")
    assert number(subject_of(made, rows=turned, other=None), "latent_separation") == pytest.approx(before)


def test_a_planted_gap_is_found_with_an_interval_about_it():
    rng = np.random.default_rng(1)
    y, a = np.repeat([0, 1], 300), np.tile([0, 0, 1], 200)
    x = rng.standard_normal((600, 4))
    x[:, 0] += np.where(a == 1, 6.0, 0.0)
    made = {"x": x, "y": y, "a": a, "weight": np.eye(2, 4), "bias": np.zeros(2)}
    one = values_of(subject_of(made), "separation", Settings(replicates=60, matched=40))["latent_separation", (), ""]
    assert one.low < 3.0 < one.high
    assert one.matched_value == pytest.approx(one.value, abs=0.2)


def test_by_class_there_is_no_pair(made):
    one = values_of(subject_of(made, part=made["y"], n_parts=3), "separation")["latent_separation", (), ""]
    assert math.isnan(one.value)
    assert "ask by group" in one.note


def test_groups_without_spread_have_no_number():
    y, a = np.repeat([0, 1], 4), np.tile([0, 0, 1, 1], 2)
    made = {"x": np.stack([y, a], axis=1).astype(float), "y": y, "a": a, "weight": np.eye(2), "bias": np.zeros(2)}
    one = values_of(subject_of(made), "separation")["latent_separation", (0, 1), ""]
    assert math.isnan(one.value)
    assert one.note
