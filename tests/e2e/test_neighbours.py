"""Nearest neighbours over the wire: scikit-learn and SciPy as oracles, filters, what is stored, refusals."""

import threading
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree
from sklearn.neighbors import NearestNeighbors

import penult

N = 400


def made(seed: int, n: int = N, n_features: int = 12, **changes):
    """Rows of two classes and an attribute, far from zero; ids are no positions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < 0.9, y, 1 - y)
    features = rng.standard_normal((n, n_features)) + 50
    features[:, 0] += y
    return {
        "features": features.astype(np.float32),
        "y": y,
        "a": a,
        "row_id": rng.permutation(n).astype(np.uint64) * 3 + 5,
        "classes": ["land", "water"],
        "attribute": "place",
        "attribute_values": ["field", "lake"],
    } | changes


@pytest.fixture(scope="module")
def arrays():
    return {"train": made(1), "test": made(2, 150)}


@pytest.fixture(scope="module")
def sets(client, arrays):
    return {name: client.features.upload(**one, name=name) for name, one in arrays.items()}


@pytest.mark.parametrize(("metric", "theirs"), [("l2", "euclidean"), ("cosine", "cosine")])
def test_of_another_set_as_scikit_learn_in_float64(client, arrays, sets, metric, theirs):
    train, test = (arrays[name]["features"].astype(np.float64) for name in ("train", "test"))
    found = client.neighbours(sets["test"], among=sets["train"], k=9, metric=metric)
    distance, index = NearestNeighbors(n_neighbors=9, metric=theirs, algorithm="brute").fit(train).kneighbors(test)
    assert np.array_equal(found.row_id, arrays["train"]["row_id"][index])
    np.testing.assert_allclose(found.distance, distance, rtol=1e-6 if metric == "l2" else 1e-9)
    assert found.query_id.tolist() == arrays["test"]["row_id"].tolist()
    assert (found.method, found.recall.value, found.recall.n_rows) == ("exact", 1.0, 0)
    assert "150 x 9 by" in repr(found)
    assert found.to_frame().shape == (150 * 9, 5)


def test_in_three_dimensions_as_a_tree(client):
    rows = made(3, 300, 3)
    own = client.features.upload(**rows)
    found = client.neighbours(own, metric="l2", k=4)
    x = rows["features"].astype(np.float64)
    distance, index = cKDTree(x).query(x, 5)
    assert np.array_equal(found.row_id, rows["row_id"][index[:, 1:]])
    np.testing.assert_allclose(found.distance, distance[:, 1:], rtol=1e-12)


def test_a_filter_with_few_rows(client, arrays, sets):
    train = arrays["train"]
    g = train["y"] * 2 + train["a"]
    k = int(np.bincount(g).min()) + 3
    found = client.neighbours(sets["train"], within="group", k=k)
    group_of = dict(zip(train["row_id"].tolist(), g.tolist(), strict=True))
    own = np.array([group_of[int(id)] for id in found.query_id])
    assert np.array_equal(found.is_there.sum(axis=1), np.minimum(np.bincount(g)[own] - 1, k))
    assert all(group_of[int(id)] == g for row, g in zip(found.row_id, own, strict=True) for id in row if id < 2**63)
    assert found.n_short == int((~found.is_there[:, -1]).sum()) > 0
    assert f"{found.n_short} rows with fewer than {k}" in repr(found)
    assert (found.row_id[~found.is_there] == 2**64 - 1).all()


def test_a_grouping_filters(client, arrays, sets):
    train = arrays["train"]
    values = (train["features"][:, 1] > 50).astype(np.int64)
    grouping = client.groupings.upload(sets["train"], values)
    found = client.neighbours(sets["train"], within="other_attribute", by=grouping, k=3)
    value_of = dict(zip(train["row_id"].tolist(), values.tolist(), strict=True))
    assert all(
        value_of[int(id)] != value_of[int(own)]
        for own, ids in zip(found.query_id, found.row_id, strict=True)
        for id in ids
    )


def test_stored_with_its_set_and_gone_with_it(client):
    mine = client.features.upload(**made(4))
    folder = Path(client.usage().root) / "features" / mine.digest
    used = client.usage().bytes
    first = client.neighbours(mine, k=3)
    assert not first.reused
    again = client.neighbours(mine, k=7)
    assert again.reused
    assert np.array_equal(again.row_id[:, :3], first.row_id)
    (stored,) = folder.glob("neighbours-*")
    assert client.usage().bytes - used >= sum(file.stat().st_size for file in stored.iterdir())
    client.features.delete(mine)
    assert not folder.exists()


def test_asked_twice_at_a_time(client, sets):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.neighbours(sets["train"], k=5, metric="inner")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert all(np.array_equal(one.row_id, answers[0].row_id) for one in answers)


def test_saved_and_read(client, sets, tmp_path):
    found = client.neighbours(sets["test"], k=2)
    found.save(tmp_path / "near.npz")
    read = penult.load(tmp_path / "near.npz")
    assert repr(read) == repr(found)
    assert np.array_equal(read.row_id, found.row_id)
    assert "exact" in found._repr_html_()


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"k": 0}, "invalid_argument", "k must"),
        ({"k": N}, "invalid_argument", f"k must lie in 1 .. {N - 1}"),
        ({"recall": 0}, "invalid_argument", "recall must lie in"),
        ({"recall": 1.01}, "invalid_argument", "recall must lie in"),
        ({"recall": float("nan")}, "invalid_argument", "recall"),
        ({"metric": "euclid"}, "invalid_argument", "metric must be one of"),
        ({"method": "ivf", "recall": 0.9}, "invalid_argument", "so few rows are searched exactly"),
        ({"method": "hnsw", "within": "class"}, "invalid_argument", "filters are parts of the rows"),
        ({"rows": [6, 7]}, "invalid_argument", "no row with id"),
        ({"rows": []}, "invalid_argument", "rows"),
        ({"among": "nobody"}, "unknown_feature_set", "nobody"),
    ],
)
def test_refused(client, sets, changes, kind, said):
    with pytest.raises(penult.errors.PenultError, match=said) as caught:
        client.neighbours(sets["train"], **changes)
    assert caught.value.kind == kind


def test_zero_rows_have_no_cosine(client):
    rows = made(5, 50)
    rows["features"][[3, 8]] = 0
    some = client.features.upload(**rows)
    with pytest.raises(penult.errors.InvalidRequest, match="2 of the rows are zero") as caught:
        client.neighbours(some, k=3)
    assert caught.value.kind == "zero_row"
    assert client.neighbours(some, k=3, metric="l2").recall.value == 1


def test_sets_that_do_not_fit(client, sets):
    narrow = client.features.upload(**made(6, 60, 5))
    with pytest.raises(penult.errors.InvalidRequest, match="have 12 and 5 features") as caught:
        client.neighbours(sets["train"], among=narrow)
    assert caught.value.kind == "wrong_shape"
    plain = {name: array for name, array in made(7, 60).items() if not name.startswith("a")}
    bare = client.features.upload(**plain)
    with pytest.raises(penult.errors.InvalidRequest, match="has no attribute") as caught:
        client.neighbours(bare, within="attribute", k=3)
    assert caught.value.kind == "attribute_missing"


def test_equal_values_in_float16_have_the_neighbours_of_float32(client):
    rows = made(8, 200)
    rows["features"] = rows["features"].astype(np.float16)
    half = client.features.upload(**rows)
    full = client.features.upload(**rows | {"features": rows["features"].astype(np.float32)})
    first, second = client.neighbours(half, metric="l2"), client.neighbours(full, metric="l2")
    assert np.array_equal(first.row_id, second.row_id)
    assert np.array_equal(first.distance, second.distance)
