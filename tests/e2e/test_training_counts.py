"""The average weighted by training shares: by counts that are known, or not at all."""

import numpy as np
import pytest

import penult

TRAIN = np.array([60, 10, 5, 25])


def arrays(counts, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    y, a = np.repeat([0, 0, 1, 1], counts), np.repeat([0, 1, 0, 1], counts)
    x = rng.standard_normal((len(y), 4)).astype(np.float32)
    x[:, 0] += 1.2 * (2 * y - 1)
    x[:, 1] += 2.0 * (2 * a - 1)
    return {"features": x, "y": y, "a": a}


@pytest.fixture(scope="module")
def train(client):
    return client.features.upload(**arrays(TRAIN, 1))


def weighted(metrics: penult.Metrics) -> float:
    return float((metrics.group_accuracy * TRAIN).sum() / TRAIN.sum())


def test_without_counts_there_is_no_such_average(client, train):
    head = client.refit(train, preset="erm")
    test = client.features.upload(**arrays([30] * 4, 2))
    metrics = client.evaluate(head, test)
    assert np.isnan(metrics.weighted_average_accuracy)
    assert metrics.average_weights.size == test.train_shares.size == 0
    assert "training shares" not in str(metrics)
    assert "weighted" not in repr(metrics)


def test_counts_of_an_upload_and_of_a_training_set_weigh_the_same(client, train):
    test = client.features.upload(**arrays([30] * 4, 2))
    known = client.features.upload(**arrays([30] * 4, 2), train_counts=dict(enumerate(TRAIN)))
    np.testing.assert_allclose(known.train_shares, TRAIN / TRAIN.sum())
    named = client.refit(train, preset="erm", evaluate={"test": test}, train=train).metrics["test"]
    own = client.refit(train, preset="erm", evaluate={"test": known}).metrics["test"]
    head = client.refit(train, preset="erm").head
    for metrics in (
        named,
        own,
        client.evaluate(head, test, train=train),
        client.interpolate(head, head, test, train=train, steps=2).metrics[1],
    ):
        assert metrics.weighted_average_accuracy == pytest.approx(weighted(metrics), rel=1e-12)
        assert metrics.weighted_average_accuracy != pytest.approx(metrics.average_accuracy, abs=0.01)
        assert "weighted by training shares" in str(metrics)


def test_equal_arrays_with_other_counts_share_no_answer(client, train):
    sets = [
        client.features.upload(**arrays([30] * 4, 2), train_counts=dict(enumerate(counts)))
        for counts in (TRAIN, TRAIN[::-1], 2 * TRAIN)
    ]
    assert sets[0] != sets[1]
    assert sets[0] == sets[2]
    scores = [client.refit(train, preset="erm", evaluate={"test": one}).metrics["test"] for one in sets]
    assert scores[0].weighted_average_accuracy == scores[2].weighted_average_accuracy
    assert scores[0].weighted_average_accuracy != scores[1].weighted_average_accuracy


def test_groups_are_matched_by_their_names(client):
    names = {"classes": ["cat", "dog"], "attribute": "ground", "attribute_values": ["in", "out"]}
    train = client.features.upload(**arrays(TRAIN, 1), **names)
    test = arrays([30] * 4, 2)
    turned = test | {"y": 1 - test["y"], "a": 1 - test["a"]}
    turned_names = {name: value[::-1] if isinstance(value, list) else value for name, value in names.items()}
    head = client.refit(train, preset="erm").head
    plain = client.evaluate(head, client.features.upload(**test, **names), train=train)
    other = client.features.upload(**turned, **turned_names)
    permuted = client.evaluate(penult.Head(head.weight[::-1], head.bias[::-1]), other, train=train)
    assert permuted.weighted_average_accuracy == pytest.approx(plain.weighted_average_accuracy, rel=1e-12)
    for change in ({"classes": ["cat", "wolf"]}, {"attribute": "place"}, {"attribute_values": ["in", "under"]}):
        strange = client.features.upload(**test, **(names | change))
        with pytest.raises(penult.InvalidRequest, match="train= must have the classes and the attribute"):
            client.evaluate(penult.Head(head.weight, head.bias), strange, train=train)
        with pytest.raises(penult.InvalidRequest, match=r"train=|other_classes"):
            client.refit(train, preset="erm", evaluate={"test": strange}, train=train)


def test_a_training_set_needs_something_that_is_evaluated(client, train):
    with pytest.raises(penult.InvalidRequest, match="train= gives the weights"):
        client.refit(train, preset="erm", train=train)


def test_names_as_labels_say_what_they_became(client):
    y, a = np.array(["dog", "cat"] * 10), ["in", "in", "out", "out"] * 5
    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    stored = client.features.upload(x, y, a)
    assert (stored.labels.classes, stored.labels.attribute_values) == (("cat", "dog"), ("in", "out"))
    assert [note.id for note in stored.notes] == ["classes_from_labels"] * 2
    assert "note: y holds names" in repr(stored)
    same = client.features.upload(x, (y == "dog").astype(int), a, classes=["cat", "dog"])
    assert same == stored
