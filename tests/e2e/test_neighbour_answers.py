"""What is read off neighbours, over the wire: oracles, planted duplicates, leaks and wrong labels, refusals."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import penult

N = 400


def made(seed, n=N, **changes):
    """Two classes, whose examples mostly share an attribute that weighs more than the class; ids are no positions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < 0.9, y, 1 - y)
    features = rng.standard_normal((n, 12)) * 0.6
    features[:, 0] += 1.5 * (2 * y - 1)
    features[:, 1] += 3 * (2 * a - 1)
    logits = features[:, :2] @ np.array([[-1.0, 1.0], [-2.0, 2.0]])
    return {
        "features": features.astype(np.float32),
        "y": y,
        "a": a,
        "row_id": rng.permutation(n).astype(np.uint64) * 3 + 5,
        "logits": logits.astype(np.float32),
        "classes": ["land", "water"],
        "attribute": "place",
        "attribute_values": ["field", "lake"],
    } | changes


@pytest.fixture(scope="module")
def client(client_alone):
    """The results are listed."""
    return client_alone


@pytest.fixture(scope="module")
def arrays():
    return {"train": made(1), "test": made(2)}


@pytest.fixture(scope="module")
def sets(client, arrays):
    return {name: client.features.upload(**one, name=name) for name, one in arrays.items()}


def test_votes_are_scikit_learns(client, arrays, sets):
    train, test = arrays["train"], arrays["test"]
    found = client.evaluate_neighbours(sets["test"], among=sets["train"], k=[20, 5, 100])
    assert tuple(found) == (5, 20, 100)
    for k, metrics in found.by_k.items():
        oracle = KNeighborsClassifier(
            n_neighbors=k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
        ).fit(train["features"].astype(np.float64), train["y"])
        predicted = oracle.predict(test["features"].astype(np.float64))
        g = test["y"] * 2 + test["a"]
        np.testing.assert_array_equal(metrics.correct, np.bincount(g[predicted == test["y"]], minlength=4))
        assert [group.name for group in metrics.groups][1] == "land, lake"
    again = client.evaluate_neighbours("test", among="train", k=(100, 5, 20))
    assert again.reused
    assert again.digest == found.digest
    stored = client.results.get(found.digest)
    assert stored[20].worst_group_accuracy == found[20].worst_group_accuracy
    assert found.to_frame().shape[0] == 12
    with pytest.raises(KeyError, match="5, 20, 100"):
        found[7]


def test_the_groups_that_are_few_are_heard_when_votes_are_balanced(client, sets):
    plain = client.evaluate_neighbours(sets["test"], among=sets["train"], k=50)[50]
    balanced = client.evaluate_neighbours(sets["test"], among=sets["train"], k=50, balanced=True)[50]
    assert balanced.worst_group_accuracy > plain.worst_group_accuracy + 0.1


def test_a_row_has_no_vote_for_itself_nor_for_its_copies_more_than_they_have(client, arrays):
    """Every row twice, the copies with the other label: by its copy each row is wrong, by itself it would be right."""
    train = arrays["train"]
    twice = {
        "features": np.concatenate([train["features"]] * 2),
        "y": np.concatenate([train["y"], 1 - train["y"]]),
        "row_id": np.arange(2 * N, dtype=np.uint64)[::-1].copy(),
    }
    doubled = client.features.upload(**twice)
    assert client.evaluate_neighbours(doubled, k=1)[1].average_accuracy == 0
    named = client.evaluate_neighbours(doubled, among=doubled, k=1)
    assert named.reused, "its own set, named or not, is one question"


def test_defaults_are_those_that_there_are_rows_for(client, arrays):
    few = {name: value[:30] if isinstance(value, np.ndarray) else value for name, value in arrays["test"].items()}
    assert tuple(client.evaluate_neighbours(client.features.upload(**few))) == (10, 20)


def test_planted_duplicates_are_found_and_a_set_without_has_none(client, arrays, sets):
    train = arrays["train"]
    none = client.duplicates(sets["train"])
    assert (none.n_pairs, none.n_rows, none.n_exact) == (0, 0, 0)
    assert none.leaks is None
    rng = np.random.default_rng(3)
    planted = made(4)
    ids = planted["row_id"]
    planted["features"][1] = planted["features"][0]
    planted["features"][2] = planted["features"][0]
    planted["features"][11] = planted["features"][10] + 1e-3 * rng.standard_normal(12).astype(np.float32)
    with_them = client.features.upload(**planted)
    found = client.duplicates(with_them)
    pairs = {frozenset(pair) for pair in found.pairs.tolist()}
    assert pairs == {frozenset(map(int, ids[list(pair)])) for pair in ((0, 1), (0, 2), (10, 11))}
    assert (found.n_exact, found.n_rows, sum(one.count for one in found.groups)) == (2, 5, 5)
    assert sorted(found.components.tolist()) == [0, 0, 1]
    assert found.with_duplicates.average_accuracy != found.without_duplicates.average_accuracy
    assert sum(one.count for one in found.without_duplicates.groups) == N - 3
    exact = client.duplicates(with_them, threshold=0)
    assert (exact.n_pairs, exact.n_exact) == (2, 2)
    assert "0.13 x the median" in found.rule
    assert exact.rule == "given"
    assert set(found.to_frame()) == {"first", "second", "distance", "component", "notes"}
    assert train["features"].dtype == np.float32


def test_accuracy_that_rests_on_leaks(client, arrays, sets):
    """The worst group of the test split holds copies of training rows, and only they are right."""
    test = made(5, name="leaky")
    minority = np.flatnonzero(test["y"] * 2 + test["a"] == 1)
    leaked = minority[: len(minority) // 2]
    of_train = np.flatnonzero(arrays["train"]["y"] * 2 + arrays["train"]["a"] == 1)
    test["features"][leaked] = arrays["train"]["features"][np.resize(of_train, leaked.size)]
    test["logits"][:] = np.eye(2)[test["y"]]
    test["logits"][minority] = [0, 1]
    test["logits"][leaked] = [1, 0]
    leaky = client.features.upload(**test)
    found = client.duplicates(sets["train"], against=leaky)
    assert leaked.size <= found.n_rows <= leaked.size + 2
    assert set(test["row_id"][leaked].tolist()) <= set(found.pairs[:, 1].tolist())
    assert found.p_value < 0.01
    assert found.expected_pairs < found.n_pairs
    assert found.leaks.rests_on_leaks
    assert found.leaks.worst_group == "land, lake"
    assert found.leaks.accuracy_without == 0
    clean = client.duplicates(sets["train"], against=sets["test"])
    assert clean.n_rows <= 2, "0.1 % of distinct rows are so near by chance"
    assert clean.p_value > 0.1
    assert not clean.leaks.rests_on_leaks
    table = client.leaks({"train": sets["train"], "test": sets["test"], "leaky": leaky})
    assert list(table.duplicates) == ["train / test", "train / leaky", "test / leaky"]
    rows = table.to_frame()
    assert len(rows) == 12
    most = rows[rows.leaked > 2]
    assert most[["splits", "group"]].values.tolist() == [["train / leaky", "land, lake"]]
    assert rows[rows.rests_on_leaks].splits.unique().tolist() == ["train / leaky"]
    assert table.between("train", "leaky").digest == found.digest


def test_without_logits_no_accuracy_is_said(client, arrays):
    bare = {name: value for name, value in arrays["train"].items() if name != "logits"}
    found = client.duplicates(client.features.upload(**bare))
    assert found.with_duplicates is None
    assert [note.id for note in found.notes] == ["no_logits"]
    assert np.isnan(found.groups_to_frame().accuracy).all()


def test_wrong_labels_are_found_and_a_minority_is_not_called_wrong(client):
    noisy = made(6, n=800)
    rng = np.random.default_rng(7)
    right = noisy["y"].copy()
    flipped = rng.choice(np.flatnonzero(noisy["y"] == noisy["a"]), 30, replace=False)
    noisy["y"] = right.copy()
    noisy["y"][flipped] = 1 - right[flipped]
    found = client.label_noise(client.features.upload(**noisy))
    wrong = set(noisy["row_id"][flipped].tolist())
    flagged = set(found.suspects.tolist())
    assert len(flagged & wrong) / len(wrong) > 0.8
    assert len(flagged & wrong) / len(flagged) > 0.8
    minority = set(noisy["row_id"][(right != noisy["a"])].tolist()) - wrong
    assert len(flagged & minority) / len(minority) < 0.1
    assert np.all(np.diff(found.suspicion) <= 0)
    assert found.row_ids.size == 800
    assert not (found.flagged & found.minority).any()
    names = found.to_frame().set_index("row_id").neighbour_class
    assert names[int(noisy["row_id"][flipped[0]])] == ("land", "water")[right[flipped[0]]]
    by_neighbours = client.label_noise("test", folds=0)
    assert set(by_neighbours.head_class.tolist()) == {-1}
    assert client.label_noise("test", folds=0, seed=4).reused, "nothing is drawn without folds"


def test_rates_say_what_the_space_is_organised_by(client, arrays, sets):
    found = client.neighbour_rates(sets["test"])
    lift = found.overall.lift
    assert lift["place"] > lift["class"] > 1
    assert found.attributes == ("place",)
    minority = next(one for one in found.groups if one.group.name == "land, lake")
    assert minority.same_class < 0.8 < min(minority.same_attribute["place"], found.overall.same_class)
    n_own = np.bincount(arrays["test"]["y"])
    assert minority.expected_class == pytest.approx((n_own[0] - 1) / (N - 1))
    across = client.neighbour_rates(sets["test"], among=sets["train"], k=5, metric="l2")
    assert across.among == sets["train"].digest
    assert across.overall.expected_class != found.overall.expected_class
    assert "place" in str(found)
    summary = client.results.list(kind="neighbour_rates")[0]
    assert summary.feature_sets == (sets["test"].digest, sets["train"].digest)


def test_all_answers_are_listed_by_their_kind(client, sets):
    for kind in ("neighbour_metrics", "duplicates", "label_noise", "neighbour_rates"):
        (summary, *_) = client.results.list(kind=kind)
        answer = client.results.get(summary)
        assert answer.digest == summary.digest
        assert answer._repr_html_()


@pytest.mark.parametrize(
    ("ask", "kind", "said"),
    [
        (lambda c, s: c.evaluate_neighbours(s["test"], k=[10, 400]), "invalid_argument", "1 .. 399"),
        (lambda c, s: c.evaluate_neighbours(s["test"], among=s["train"], k=401), "invalid_argument", "1 .. 400"),
        (lambda c, s: c.evaluate_neighbours(s["test"], k=0), "invalid_argument", "k must be"),
        (lambda c, s: c.evaluate_neighbours(s["test"], temperature=0), "invalid_argument", "temperature"),
        (lambda c, s: c.evaluate_neighbours(s["test"], among="nothing"), "unknown_feature_set", "nothing"),
        (lambda c, s: c.duplicates(s["test"], threshold=-1), "invalid_argument", "threshold"),
        (lambda c, s: c.duplicates(s["test"], metric="inner"), "invalid_argument", "metric"),
        (lambda c, s: c.duplicates(s["test"], against=s["test"]), "invalid_argument", "leave it out"),
        (lambda c, s: c.leaks({"train": s["train"]}), "invalid_argument", "two splits"),
        (lambda c, s: c.label_noise(s["test"], folds=1), "invalid_argument", "folds"),
        (lambda c, s: c.label_noise(s["test"], k=400), "invalid_argument", "1 .. 399"),
        (lambda c, s: c.neighbour_rates(s["test"], k=400), "invalid_argument", "1 .. 399"),
        (lambda c, s: c.run_neighbours("nothing", split="test"), "unknown_run", "nothing"),
    ],
)
def test_what_is_refused(client, sets, ask, kind, said):
    with pytest.raises(penult.PenultError, match=said) as caught:
        ask(client, sets)
    assert caught.value.kind == kind


def test_sets_that_cannot_be_asked(client, arrays, sets):
    test = arrays["test"]
    one_class = client.features.upload(features=test["features"], y=np.zeros(N, dtype=int), classes=["land", "water"])
    with pytest.raises(penult.InvalidRequest, match="one class only") as caught:
        client.label_noise(one_class)
    assert caught.value.kind == "empty_group"
    one_row = client.features.upload(features=test["features"][:1], y=test["y"][:1])
    for ask in (client.evaluate_neighbours, client.duplicates, client.label_noise, client.neighbour_rates):
        with pytest.raises(penult.InvalidRequest, match="two rows"):
            ask(one_row)
    others = client.features.upload(features=test["features"], y=test["y"], classes=["cat", "dog"])
    with pytest.raises(penult.InvalidRequest) as caught:
        client.evaluate_neighbours(sets["train"], among=others)
    assert caught.value.kind == "other_classes"


def without_digest(record):
    """What an answer says but which question it is the answer to."""
    return str(record).splitlines(), record.to_frame().to_csv()


def test_a_grouping_of_the_attribute_gives_the_same_answers(client, sets):
    train = client.groupings.from_attribute(sets["train"], "place")
    test = client.groupings.from_attribute(sets["test"], "place")
    asked = {"among": sets["train"], "k": [5, 50]}
    stored = client.evaluate_neighbours(sets["test"], balanced=True, **asked)
    found = client.evaluate_neighbours(sets["test"], balanced=train, by=test, **asked)
    assert without_digest(found) == without_digest(stored)
    assert not found.reused
    assert (found.balanced_by.digest, found[5].grouping.digest) == (train.digest, test.digest)
    for ask in (client.duplicates, client.label_noise, client.neighbour_rates):
        assert without_digest(ask(sets["test"], by=test)) == without_digest(ask(sets["test"]))
        assert ask(sets["test"], by=test).grouping.digest == test.digest
    table = client.leaks(sets, by={"test": test})
    assert table.to_frame().to_csv() == client.leaks(sets).to_frame().to_csv()


def test_groups_of_ones_own_and_rows_in_none(client, arrays, sets):
    values = np.where(np.arange(N) < 50, -1, np.arange(N) % 3)
    mine = client.groupings.upload(sets["test"], values, names=["x", "y", "z"], attribute="thirds")
    found = client.evaluate_neighbours(sets["test"], k=10, by=mine)[10]
    assert sum(group.count for group in found.groups) == N - 50
    assert found.grouping.n_left_out == 50
    plain = client.evaluate_neighbours(sets["test"], k=10)[10]
    assert found.correct.sum() <= plain.correct.sum(), "rows in no group are left out, and stay neighbours"
    rates = client.neighbour_rates(sets["test"], by=mine)
    assert rates.attributes == ("thirds", "place")
    assert rates.overall.lift["thirds"] == pytest.approx(1, abs=0.1)
    assert sum(one.group.count for one in rates.groups) == N - 50
    with pytest.raises(penult.InvalidRequest, match="among="):
        client.evaluate_neighbours(sets["test"], balanced=mine)
    with pytest.raises(penult.InvalidRequest, match="class"):
        client.neighbour_rates(sets["test"], by="class")
    with pytest.raises(penult.NotFound):
        client.label_noise(sets["test"], by="nobody's")
