"""Margins beside naive loops: by group, over the norm, at matched n, and of heads that have none."""

import math

import numpy as np
import pytest
from diagnosed import planted, subject_of, values_of

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.linear.problem import Head


@pytest.fixture(scope="module")
def made():
    return planted(seed=5)


def naive(scores, y):
    return np.array([row[c] - max(np.delete(row, c)) for row, c in zip(scores, y, strict=True)])


def test_margins_by_group(backend, made):
    logits = made["x"] @ made["weight"].T + made["bias"]
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exp / exp.sum(axis=1, keepdims=True)
    centered = np.linalg.norm(made["weight"] - made["weight"].mean(axis=0))
    whole = np.linalg.norm(np.column_stack([made["weight"], made["bias"]]))
    found = values_of(subject_of(made, like=backend.array), "margins")
    part = made["y"] * 2 + made["a"]
    kinds = {
        "margin": naive(logits, made["y"]),
        "margin_normalised": naive(logits, made["y"]) / centered,
        "probability_margin": naive(probabilities, made["y"]) / whole,
    }
    for kind, margins in kinds.items():
        for parts in [(), *((p,) for p in range(6))]:
            own = margins[part == parts[0]] if parts else margins
            least = own[own > 0].min(initial=np.inf) if kind == "probability_margin" else own.min()
            assert found[f"{kind}_min", parts, ""].value == pytest.approx(0.0 if math.isinf(least) else least)
            assert found[f"{kind}_mean", parts, ""].value == pytest.approx(own.mean())
            assert found[f"{kind}_max", parts, ""].value == pytest.approx(own.max())
            assert found[f"{kind}_max", parts, ""].n == own.size
    assert found["head_norm", (), ""].value == pytest.approx(centered)


def test_a_head_three_times_as_long_has_the_same_normalised_margins(made):
    longer = Head(weight=3 * made["weight"] + 5.0, bias=3 * made["bias"] - 2.0)
    before, after = (values_of(one, "margins") for one in (subject_of(made), subject_of(made, head=longer)))
    for (id, parts, column), one in before.items():
        factor = 1 if id.startswith("margin_normalised") else 3
        if not id.startswith("probability"):
            assert after[id, parts, column].value == pytest.approx(factor * one.value)


def test_ends_have_no_bootstrap_interval_and_shrink_at_matched_n(made):
    """The least of fewer rows is larger, so that groups are compared at equal sizes."""
    found = values_of(subject_of(made), "margins", Settings(replicates=40, matched=60))
    largest = int(np.argmax(np.bincount(made["y"] * 2 + made["a"])))
    least = found["margin_min", (largest,), ""]
    assert math.isnan(least.low)
    assert least.matched_value >= least.value
    mean = found["margin_mean", (largest,), ""]
    assert mean.low < mean.value < mean.high


def test_a_set_with_logits_alone_has_margins_and_says_what_the_others_need(made):
    logits = made["x"] @ made["weight"].T + made["bias"]
    found = values_of(subject_of(made, head=None, logits=logits), "margins")
    assert found["margin_min", (), ""].value == pytest.approx(naive(logits, made["y"]).min())
    assert "needs head" in found["margin_normalised_min", (), ""].note


@pytest.mark.parametrize("weight", [np.zeros((3, 7)), np.ones((3, 7))])
def test_a_head_that_tells_no_classes_apart_has_no_normalised_margin(made, weight):
    found = values_of(subject_of(made, head=Head(weight=weight, bias=np.zeros(3))), "margins")
    one = found["margin_normalised_min", (), ""]
    assert math.isnan(one.value)
    assert "zero, or equal" in one.note
    assert found["margin_max", (), ""].value == 0
