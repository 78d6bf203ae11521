"""What closes a group's gap: planted causes, each found by its own mend, and steps that are the calls they name."""

import numpy as np
import pytest

import penult

GROUPS = "dog, out"


def made(n, seed, *, head, minority=0.3, direction=2.5):
    """Class along the first column, the attribute along the second; the head is given."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    a = np.where(rng.random(n) < minority, 1 - y, y)
    x = rng.standard_normal((n, 4))
    x[:, 0] += direction * y
    x[:, 1] += 2.5 * a
    return {
        "features": x.astype(np.float32), "y": y, "a": a, "row_id": rng.permutation(n).astype(np.uint64),
        "classes": ["cat", "dog"], "attribute_values": ["out", "in"], "head": head,
    }  # fmt: skip


@pytest.fixture(scope="module")
def by_attribute(client):
    """A head that reads the attribute as much as the class."""
    head = penult.Head(np.array([[0.0] * 4, [1.0, 1.5, 0.0, 0.0]]), np.array([0.0, -3.0]))
    return {
        split: client.features.upload(**made(n, seed, head=head))
        for split, n, seed in (("val", 300, 1), ("test", 400, 2))
    }


def test_a_head_that_reads_the_attribute_is_mended_by_the_head(client, by_attribute):
    found = client.explain_gap(by_attribute, GROUPS)
    base, head, features = (found.step(name) for name in ("as it is", "head", "features"))
    assert base.accuracy < 0.5
    assert head.accuracy > base.accuracy + 0.3
    assert features.accuracy == pytest.approx(head.accuracy, abs=0.12)
    predictions = client.predictions(by_attribute["test"])
    own = predictions.correct[predictions.g == predictions.group_names.index(GROUPS)]
    assert base.accuracy == pytest.approx(own.mean())
    assert found.n == own.size
    refit = client.refit(by_attribute["val"], preset="dfr_l2")
    assert refit.reused
    metrics = client.evaluate(refit, by_attribute["test"])
    place = [one.name for one in metrics.groups].index(GROUPS)
    assert head.accuracy == pytest.approx(metrics.group_accuracy[place])
    assert head.worst == pytest.approx(metrics.worst_group_accuracy)
    assert 0 <= found.flagged <= 1
    assert list(found.to_frame()["name"]) == ["as it is", "threshold", "head", "rows", "features"]
    assert GROUPS in repr(found)
    assert "worst group" in str(found)
    assert "labels in doubt" in found._repr_html_()


def test_a_wrong_bias_is_mended_by_the_threshold(client):
    head = penult.Head(np.array([[0.0] * 4, [2.5, 0.0, 0.0, 0.0]]), np.array([0.0, -9.0]))
    sets = {split: client.features.upload(**made(300, seed, head=head)) for split, seed in (("val", 3), ("test", 4))}
    found = client.explain_gap(sets, GROUPS, label_noise=False)
    assert found.step("as it is").accuracy < 0.3
    assert found.step("threshold").accuracy > 0.7
    assert np.isnan(found.flagged)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"group": "cow, in"}, "group must be one of 'cat, out'"),
        ({"test": "final"}, "test='final' is not among sets: 'val', 'test'"),
        ({"held_out": 3}, "held_out"),
        ({"sets": ["val"]}, "sets must be feature sets by split"),
    ],
)
def test_what_cannot_be_explained_is_refused(client, by_attribute, arguments, said):
    with pytest.raises(penult.InvalidRequest, match=said):
        client.explain_gap(**({"sets": by_attribute, "group": GROUPS} | arguments))
