"""Predictions as a table: the counts of `evaluate`, row by row."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import penult


@pytest.fixture(scope="module")
def sets(client, table, tiny):
    client.datasets.register("shapes", table)
    run = client.finetune(dataset="shapes", epochs=3, seed=1, **tiny).wait()
    return run.checkpoints, client.extract(run.checkpoints[-1]).wait()


def confusion(table: penult.Predictions) -> list[list[int]]:
    """(G, C) counted from the rows."""
    counts = np.zeros((len(table.group_names), len(table.labels.classes)), int)
    np.add.at(counts, (table.g, table.prediction), 1)
    return counts.tolist()


@pytest.mark.parametrize("which", ["stored", "checkpoint", "refit", "head", "permuted"])
def test_the_table_has_the_counts_of_evaluate(client, sets, which):
    checkpoints, features = sets
    stored = client.features.read(features["test"])
    refit = client.refit(features["val"], preset="dfr", l1=0.01, repeats=2)
    back = penult.Head(stored.head.weight[::-1], stored.head.bias[::-1], classes=stored.head.classes[::-1])
    heads = {
        "stored": (None, checkpoints[-1], "stored head"),
        "checkpoint": (checkpoints[-1], checkpoints[-1], "checkpoint"),
        "refit": (refit, refit, "refit"),
        "head": (refit.head, refit, "head"),
        "permuted": (back, checkpoints[-1], "head"),
    }
    head, scored, described = heads[which]
    table = client.predictions(features["test"], head)
    metrics = client.evaluate(scored, features["test"])
    assert confusion(table) == metrics.confusion.tolist() == table.metrics.confusion.tolist()
    assert np.bincount(table.g, table.correct, 4).tolist() == metrics.correct.tolist()
    assert table.head.startswith(described)
    np.testing.assert_array_equal(table.row_id, stored.row_id)
    np.testing.assert_array_equal(table.y, stored.y)
    np.testing.assert_array_equal(table.a, stored.a)
    assert ("classes_mapped" in [note.id for note in table.notes]) == (which == "permuted")


def test_probabilities_are_those_of_the_loss(client, sets):
    checkpoints, features = sets
    table = client.predictions(features["test"], checkpoints[-1])
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(table.probabilities.argmax(axis=1), table.prediction)
    loss = -np.log(table.probabilities[np.arange(len(table.y)), table.y]).mean()
    assert loss == pytest.approx(client.evaluate(checkpoints[-1], features["test"]).loss, rel=1e-9)


def test_stored_logits_predict_where_there_is_no_head(client):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((50, 3), dtype=np.float32)
    mine = client.features.upload(
        np.ones((50, 2), np.float32), np.arange(50) % 3, logits=logits, classes=["a", "b", "c"]
    )
    table = client.predictions(mine)
    np.testing.assert_array_equal(table.prediction, logits.argmax(axis=1))
    assert (table.head, table.metrics, table.group_names) == ("stored logits", None, ("a", "b", "c"))
    bare = client.features.upload(np.ones((50, 2), np.float32), np.arange(50) % 3)
    with pytest.raises(penult.NotFound, match="neither a head nor logits; give a head"):
        client.predictions(bare)


def test_heads_of_other_features_are_refused_as_evaluate_refuses_them(client, sets):
    checkpoints, features = sets
    with pytest.raises(penult.NotFound, match=r"client\.extract"):
        client.predictions(features["test"], checkpoints[0])
    other = client.extract(checkpoints[0], splits=["val"]).wait()["val"]
    with pytest.raises(penult.InvalidRequest, match="across_checkpoints=True"):
        client.predictions(features["test"], checkpoints[0])
    table = client.predictions(features["test"], checkpoints[0], across_checkpoints=True)
    own = client.evaluate(checkpoints[0], features["test"], across_checkpoints=True)
    assert confusion(table) == own.confusion.tolist()
    assert client.predictions(other).metrics.correct.tolist() == client.evaluate(checkpoints[0], other).correct.tolist()
    with pytest.raises(penult.InvalidRequest):
        client.predictions(features["test"], (np.ones((2, 3)), np.zeros(2)))
    wrong = client.predictions(features["val"]).probabilities.shape[1] + 1
    with pytest.raises(penult.InvalidRequest):
        client.predictions(features["val"], (np.ones((wrong, features["val"].n_features)), np.zeros(wrong)))


def test_class_map_names_what_stands_for_what(client):
    x = np.eye(4, dtype=np.float32)
    mine = client.features.upload(x, ["wolf", "fox", "wolf", "fox"], classes=["wolf", "fox"])
    head = penult.Head(np.array([[0, 9, 0, 0], [9, 0, 0, 0]]), np.array([0, 1.0]), classes=("vixen", "wolf"))
    table = client.predictions(mine, head, class_map={"vixen": "fox"})
    assert table.prediction.tolist() == [0, 1, 0, 0]
    assert confusion(table) == client.evaluate(head, mine, class_map={"vixen": "fox"}).confusion.tolist()


def test_frames_and_files_hold_the_same_table(client, sets, tmp_path):
    _, features = sets
    table = client.predictions(features["test"])
    expected = table.to_frame().drop(columns="notes")
    assert list(expected.columns[:7]) == ["row_id", "y", "a", "g", "group", "prediction", "correct"]
    assert list(expected.columns[7:]) == ["p_bright", "p_dark"]
    assert expected["group"].tolist() == [table.group_names[g] for g in table.g]
    table.to_csv(tmp_path / "out.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.csv"), expected, check_dtype=False, rtol=0, atol=0)
    table.to_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(pq.read_table(tmp_path / "out.parquet").to_pandas(), expected, check_dtype=False)
    table.save(tmp_path / "out.npz")
    again = penult.load(tmp_path / "out.npz")
    pd.testing.assert_frame_equal(again.to_frame(), table.to_frame())
    assert again.metrics.confusion.tolist() == table.metrics.confusion.tolist()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.csv", "out.npz", "out.parquet"]
