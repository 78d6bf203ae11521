"""Distances between classes beside a loop over pairs, and scales that change nothing."""

import math

import numpy as np
import pytest
from diagnosed import number, planted, subject_of, values_of

from penult_kernels.diagnostics.planner import Settings


@pytest.fixture(scope="module")
def made():
    return planted(seed=14, n=60)


def test_sharpness_is_the_largest_change_per_distance(made):
    x, y, part = made["x"], made["y"], made["y"] * 2 + made["a"]
    scale = np.sqrt(np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1)))
    found = values_of(subject_of(made), "sharpness")
    for p in range(6):
        each = [
            scale / np.linalg.norm(x[j] - x[k]) for j in np.flatnonzero(part == p) for k in range(60) if y[j] != y[k]
        ]
        assert found["label_sharpness", (p,), ""].value == pytest.approx(max(each))
        assert found["label_sharpness_q999", (p,), ""].value == pytest.approx(
            1 / np.quantile(1 / np.array(each), 0.001)
        )


def test_the_margin_ratio_is_of_nearest_rows(made):
    x, y, part = made["x"], made["y"], made["y"] * 2 + made["a"]
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    rows = np.flatnonzero(part == 2)
    each = [apart[j][y != y[j]].min() / apart[j][y == y[j]].min() for j in rows]
    one = values_of(subject_of(made), "label_margin_ratio", Settings(replicates=100))["label_margin_ratio", (2,), ""]
    assert one.value == pytest.approx(np.median(each))
    assert one.low <= one.value <= one.high


def test_scale_and_place_change_nothing(made):
    moved = subject_of(made | {"x": 7 * made["x"] - 40})
    for id in ("label_sharpness", "label_sharpness_q999", "label_margin_ratio"):
        assert number(moved, id, (1,)) == pytest.approx(number(subject_of(made), id, (1,)), rel=1e-7)


def test_equal_rows_of_two_classes_are_told(made):
    x = made["x"].copy()
    x[0] = x[1]
    one = values_of(subject_of(made | {"x": x}), "label_sharpness")
    first = int(made["y"][0] * 2 + made["a"][0])
    assert math.isnan(one["label_sharpness", (first,), ""].value)
    assert "are equal" in one["label_sharpness", (first,), ""].note


def test_one_class_has_nothing_to_differ_from(made):
    one = values_of(subject_of(made, y=made["y"] * 0), "label_sharpness")["label_sharpness", (0,), ""]
    assert one.note == "needs rows of two classes"


def test_fewer_rows_may_be_drawn(made):
    settings = Settings(replicates=0, matched=0, numbers={"sharpness_rows": 20})
    few = values_of(subject_of(made), "label_sharpness", settings)
    assert sum(one.n for one in few.values()) == 20
