"""Soups of heads through a real server: exact on the rows of a set, and what is refused."""

import numpy as np
import pytest

import penult
from penult.errors import InvalidRequest


@pytest.fixture(scope="module")
def heads(client) -> tuple[penult.FeatureSet, dict, list[penult.Head]]:
    """An uploaded set with four groups, and three heads on it."""
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, (2, 200))
    x = (rng.standard_normal((200, 5)) + np.stack([2 * y - 1, a, y * a, 0 * y, 0 * y], axis=1)).astype(np.float32)
    made = [penult.Head(rng.standard_normal((2, 5)) + np.outer([-1, 1], np.eye(5)[i]), np.zeros(2)) for i in range(3)]
    return client.features.upload(x, y, a, name="soup-rows"), {"x": x, "y": y, "g": 2 * y + a}, made


def loss_by_group(given: dict, head: penult.Head) -> np.ndarray:
    logits = given["x"].astype(np.float64) @ head.weight.T + head.bias
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), given["y"]]
    return np.array([loss[given["g"] == group].mean() for group in range(4)])


def test_a_soup_of_heads_is_exact_on_its_rows(client, heads):
    rows, given, made = heads
    found = client.soup_heads(made, rows)
    np.testing.assert_allclose(found.head.weight, np.mean([one.weight for one in made], axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.shares, 1 / 3)
    every = loss_by_group(given, penult.soup(made))
    np.testing.assert_allclose(found.shapley.sum(0), np.log(2) - every, atol=1e-9)
    without = [loss_by_group(given, penult.soup([made[i], made[j]])) for i, j in ((1, 2), (0, 2), (0, 1))]
    np.testing.assert_allclose(found.leave_one_out_loss, np.array(without) - every, atol=1e-9)
    assert len(found.to_frame()) == 3 * 4
    assert found.plot().axes[0].get_xlabel() == "head"
    assert found.metrics.average_accuracy == client.evaluate(penult.soup(made), rows).average_accuracy
    assert "3 heads, uniform" in repr(found)


def test_learned_and_greedy_shares_beat_the_uniform_ones(client, heads):
    rows, given, made = heads
    found = client.soup_heads(made, rows, weights="learned", by_group=True)
    assert found.converged
    assert found.gap <= 1e-9
    assert found.loss == pytest.approx(loss_by_group(given, found.head).mean(), abs=1e-9)
    for other in (*made, penult.soup(made)):
        assert found.loss <= loss_by_group(given, other).mean() + 1e-9
    greedy = client.soup_heads(made, rows, weights="greedy")
    assert greedy.metrics.worst_group_accuracy == pytest.approx(max(one.score for one in greedy.steps))
    assert greedy.steps[0].kept


def test_heads_are_weighed_by_information_and_by_the_rows_of_their_groups(client, heads):
    rows, given, made = heads
    found = client.soup_heads(made, rows, weights="fisher")
    assert found.shares is None
    weights = np.stack([one.weight for one in made])
    low, high = weights.min(axis=0), weights.max(axis=0)
    assert ((found.head.weight >= low - 1e-12) & (found.head.weight <= high + 1e-12)).all()
    alike = client.soup_heads(made, rows, weights="moments", groups=[1, 1, 1])
    np.testing.assert_allclose(alike.head.weight, np.mean([one.weight for one in made], axis=0), atol=1e-6)
    apart = client.soup_heads(made[:2], rows, weights="moments", groups=[0, 3])
    inside = [np.c_[given["x"], np.ones(200)][given["g"] == group].astype(np.float64) for group in (0, 3)]
    outputs = np.concatenate([x @ np.c_[h.weight, h.bias].T for x, h in zip(inside, made[:2], strict=True)])
    expected = np.linalg.lstsq(np.concatenate(inside), outputs, rcond=None)[0].T
    np.testing.assert_allclose(np.c_[apart.head.weight, apart.head.bias], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("weights", {"weights": "median"}),
        ("by_group has no effect", {"by_group": True}),
        ("margin has no effect", {"margin": 0.1}),
        ("groups have no effect", {"groups": [0, 1, 2]}),
        ("needs groups=", {"weights": "moments"}),
        ("one of the 4 groups", {"weights": "moments", "groups": [0, 1, 9]}),
        ("one of the 4 groups", {"weights": "moments", "groups": [0]}),
    ],
)
def test_soups_of_heads_that_mean_nothing_are_refused(client, heads, words, asked):
    rows, _, made = heads
    with pytest.raises(InvalidRequest, match=words):
        client.soup_heads(made, rows, **asked)
