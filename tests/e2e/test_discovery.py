"""Groups that nobody labelled, through a server: found, scored, assigned, compared by what a refit gains."""

import numpy as np
import pytest

import penult

CLASSES, PLACES = ["cat", "dog"], ["in", "out"]


def planted(seed: int, n: int, share: float = 0.95):
    """Features whose first direction is the class and second, more visible, the place; y, a."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < share, y, 1 - y)
    x = rng.standard_normal((n, 16)) * 0.5
    x[:, 0] += y - 0.5
    x[:, 1] += 2.5 * (a - 0.5)
    return x.astype(np.float32), y, a


@pytest.fixture(scope="module")
def sets(client):
    """Planted splits with the logits of a head that sees the place first."""
    found = {}
    for seed, (name, n, share) in enumerate([("train", 1500, 0.95), ("val", 800, 0.95), ("test", 800, 0.5)]):
        x, y, a = planted(seed, n, share)
        weight = np.zeros((2, 16), np.float32)
        weight[1, :2] = 0.8, 1.0
        bias = np.zeros(2, np.float32)
        ids = np.arange(n, dtype=np.uint64) + np.uint64(10_000 * seed)
        found[name] = client.features.upload(
            x,
            y,
            a,
            head=(weight, bias),
            row_id=ids,
            classes=CLASSES,
            attribute="place",
            attribute_values=PLACES,
            name=name,
        )
    return found


def test_errors_are_those_of_the_stored_head_or_of_a_given_one(client, sets):
    groups = client.discover(sets["val"], method="errors", name="missed")
    table = client.predictions(sets["val"])
    np.testing.assert_array_equal(groups.values, ~table.correct)
    assert groups.value_names == ("right", "errors")
    assert client.groupings.get("missed").digest == groups.digest
    assert client.discover(sets["val"], method="errors").reused
    refit = client.refit(sets["train"], preset="erm", l2=0.1)
    given = client.discover(sets["val"], method="errors", head=refit)
    np.testing.assert_array_equal(given.values, ~client.predictions(sets["val"], refit).correct)
    # The rule asks the same head about other rows.
    assigned = given.on(sets["test"])
    np.testing.assert_array_equal(assigned.values, ~client.predictions(sets["test"], refit).correct)
    stored = groups.on(sets["test"])
    np.testing.assert_array_equal(stored.values, ~client.predictions(sets["test"]).correct)


def test_with_two_classes_eiil_and_predictions_say_what_errors_say(client, sets):
    errors, eiil, predicted = (client.discover(sets["val"], method=one) for one in ("errors", "eiil", "predictions"))
    np.testing.assert_array_equal(eiil.values, errors.values)
    assert predicted.value_names == tuple(CLASSES)
    score = client.score_grouping(predicted, truth=errors).overall
    assert (score.ari, score.matched_accuracy) == (1, 1)


def test_a_regularised_head_finds_the_planted_minorities(client, sets):
    groups = client.discover(sets["val"], method="regularised_errors", fit=sets["train"])
    scores = client.score_grouping(groups)
    assert scores.overall.ari > 0.7
    assert scores.overall.p_value < 0.01
    assert abs(scores.overall.baseline_ari) < 0.02
    assert [one.minority for one in scores.classes] == ["out", "in"]
    assert all(one.minority_found == "errors" for one in scores.classes)
    assert scores.overall.minority_average_precision > 0.7
    weak = client.refit(sets["train"], preset="erm", l2=1e-4)
    errors = client.score_grouping(client.discover(sets["val"], method="errors", head=weak))
    assert scores.overall.ari > errors.overall.ari
    same = client.groupings.from_attribute(sets["val"])
    assert client.score_grouping(same).overall.ari == 1
    assert client.score_grouping(groups, truth=same).classes == scores.classes


@pytest.mark.parametrize(
    ("method", "least", "options"),
    [
        ("xrm", 0.6, {"seeds": 3, "steps": 200, "learning_rate": 0.1}),
        ("ssa", 0.6, {"other": "test"}),
        ("gic", 0.4, {"other": "test"}),
        ("gmm", 0.6, {}),
        ("kmeans", 0.2, {}),
        ("spare", 0.1, {"max_k": 3}),
        ("george", 0.4, {"max_k": 3, "overcluster": 1}),
        ("domino", 0.9, {"components": 4, "axes": 4}),
        ("facts", 0.7, {"axes": 4, "prediction_weight": 1}),
        ("units", 0.3, {"indices": [1], "quantile": 0.05}),
        ("spuriosity", 0.7, {"indices": [1], "quantile": 0.05}),
    ],
)
def test_every_method_finds_planted_groups_and_assigns_other_rows(client, sets, method, least, options):
    given = {name: sets[value] if name == "other" else value for name, value in options.items()}
    groups = client.discover(sets["val"], method=method, fit=sets["train"], seed=1, **given)
    scores = client.score_grouping(groups).overall
    assert scores.ari > least
    assert scores.p_value < 0.01
    assert scores.minority_recall > 0.6
    assigned = groups.on(sets["train"])
    assert assigned.n_rows == 1500
    assert client.score_grouping(assigned).overall.ari > least
    assert client.discover(sets["val"], method=method, fit=sets["train"], seed=1, **given).reused


def test_some_rows_are_grouped_and_stability_compares_those_in_common(client, sets):
    ids = client.features.read(sets["val"]).row_id
    part = client.discover(sets["val"], method="errors", rows=ids[::2])
    whole = client.discover(sets["val"], method="errors")
    np.testing.assert_array_equal(client.groupings.read(part).row_id, ids[::2])
    np.testing.assert_array_equal(part.values, whole.values[::2])
    score = client.score_grouping(whole, truth=part).overall
    assert (score.n_rows, score.ari) == (400, 1)
    stability = client.grouping_stability(sets["val"], method="regularised_errors", seeds=(0, 1, 2))
    assert 0.6 < stability.mean_ari < 1
    assert stability.ari.shape == (3, 3)


def refused(kind, call):
    with pytest.raises(penult.PenultError) as caught:
        call()
    assert caught.value.kind == kind, caught.value
    return str(caught.value)


def test_what_cannot_be_asked_is_refused_and_says_what_can(client, sets):
    val = sets["val"]
    assert "regularised_errors" in refused("unknown_method", lambda: client.discover(val, method="jtt"))
    said = refused("invalid_argument", lambda: client.discover(val, method="regularised_errors", l3=1))
    assert "l2" in said
    said = refused("invalid_argument", lambda: client.discover(val, method="regularised_errors", l2=-1))
    assert "1e-06 .. 1e+06" in said
    refused("invalid_argument", lambda: client.discover(val, method="regularised_errors", balance="rows"))
    refused("invalid_argument", lambda: client.discover(val, method="errors", seeds=3))
    refused("invalid_argument", lambda: client.discover(val, method="errors", fit=sets["train"]))
    refused("invalid_argument", lambda: client.discover(val, method="regularised_errors", l2=[1, 2]))
    x, y, _ = planted(9, 60)
    bare = client.features.upload(x, y, classes=CLASSES)
    assert "head=" in refused("invalid_argument", lambda: client.discover(bare, method="errors"))
    groups = client.discover(bare, method="regularised_errors", fit=sets["train"])
    assert "grouping_stability" in refused("attribute_missing", lambda: client.score_grouping(groups))
    other = client.discover(val, method="errors")
    refused("other_rows", lambda: client.score_grouping(groups, truth=other))
    refused("unknown_grouping", lambda: client.score_grouping("nobody"))
    refused("invalid_argument", lambda: client.score_grouping(other, permutations=10**6))
    narrow = client.features.upload(x[:, :4].copy(), y, classes=CLASSES)
    refused("wrong_shape", lambda: client.discover(val, method="regularised_errors", fit=narrow))
    refused("wrong_shape", lambda: groups.on(narrow))
    others = client.features.upload(x, y, classes=["cat", "fox"])
    refused("other_classes", lambda: client.discover(val, method="regularised_errors", fit=others))
    perfect = client.features.upload(x, y, classes=CLASSES, logits=np.eye(2, dtype=np.float32)[y])
    assert "regularised_errors" in refused("empty_group", lambda: client.discover(perfect, method="errors"))
    one_class = client.features.upload(x[y == 0].copy(), y[y == 0], classes=CLASSES)
    refused("empty_group", lambda: client.discover(one_class, method="regularised_errors"))


@pytest.mark.parametrize(("method", "word", "value"), [("kmeans", "on", "logits"), ("facts", "predictions", "given")])
def test_a_head_without_effect_is_refused(client, sets, method, word, value):
    refit = client.refit(sets["train"], preset="erm", l2=0.1)
    with pytest.raises(penult.InvalidRequest, match=rf"head must be left out, or given with {word}='{value}'"):
        client.discover(sets["val"], method=method, head=refit)
    found = client.discover(sets["val"], method=method, head=refit, **{word: value})
    assert found.digest != client.discover(sets["val"], method=method, **{word: value}).digest


def test_methods_are_listed_with_their_options(client):
    methods = client.grouping_methods()
    assert methods["regularised_errors"].sets["l2"] == 1.0
    assert "attribute" not in [one.name for one in methods]
    assert "l2=1.0" in repr(methods)
    assert '"errors" : rows that a head misclassifies' in client.discover.__doc__


def test_methods_stand_on_one_table_beside_none_classes_and_the_true_groups(client, sets):
    table = client.discover_all(
        sets["val"],
        fit=sets["train"],
        test=sets["test"],
        methods={"errors": {}, "regularised_errors": {"l2": 0.3}, "eiil": {"l9": 1}},
        preset="dfr_l2",
        groupings={"mine": client.groupings.from_attribute(sets["val"])},
        replicates=20,
    )
    assert (table["mine"].ari, table["mine"].gap_closed) == (1, 1)
    assert [row.method for row in table][:3] == ["none", "classes", "true groups"]
    none, true, found = table["none"], table["true groups"], table["regularised_errors"]
    assert none.worst_group_accuracy == client.evaluate(stored_head(client, sets), sets["test"]).worst_group_accuracy
    assert true.worst_group_accuracy > none.worst_group_accuracy + 0.1
    gap = true.worst_group_accuracy - none.worst_group_accuracy
    closed = (found.worst_group_accuracy - none.worst_group_accuracy) / gap
    assert found.gap_closed == pytest.approx(closed)
    assert found.gap_low < closed < found.gap_high
    assert found.ari == client.score_grouping(found.grouping).overall.ari
    assert 0 < found.imbalance_p <= 1
    assert "l9" in table["eiil"].failure
    refit = client.refit(sets["val"], preset="dfr_l2", by=found.grouping, evaluate={"test": sets["test"]})
    assert refit.metrics["test"].worst_group_accuracy == found.worst_group_accuracy
    assert "regularised_errors" in repr(table)


def stored_head(client, sets):
    return client.features.read(sets["test"]).head


def test_a_consensus_is_of_what_most_groupings_say(client, sets):
    members = [client.discover(sets["val"], method=one) for one in ("errors", "regularised_errors", "gmm")]
    both = client.consensus(members, name="most")
    assert client.score_grouping("most").overall.ari > min(client.score_grouping(one).overall.ari for one in members)
    assert both.agreement.min() < 1
    assert both.disputed(3).shape == (3,)
    with pytest.raises(penult.InvalidRequest, match="same rows"):
        client.consensus([members[0], client.discover(sets["train"], method="errors")])
    with pytest.raises(penult.InvalidRequest, match="two different"):
        client.consensus([members[0]])


@pytest.mark.parametrize("method", ["errors", "eiil"])
def test_a_refit_on_found_errors_is_the_refit_on_errors(client, sets, method):
    """Bit for bit: the grouping is the same column that `groups=` computes."""
    groups = client.discover(sets["val"], method=method)
    by_grouping = client.refit(sets["val"], balance="subsetting", by=groups, l2=0.01, repeats=3)
    by_errors = client.refit(sets["val"], balance="subsetting", by="group", groups=method, l2=0.01, repeats=3)
    np.testing.assert_array_equal(by_grouping.head.weight, by_errors.head.weight)
    np.testing.assert_array_equal(by_grouping.head.bias, by_errors.head.bias)


def test_without_true_groups_a_table_still_says_what_was_found(client, sets):
    x, y, _ = planted(1, 800)
    bare = client.features.upload(x, y, classes=CLASSES, row_id=np.arange(800, dtype=np.uint64) + np.uint64(10_000))
    table = client.discover_all(bare, fit=sets["train"], test=sets["test"], methods=["regularised_errors"])
    row = table["regularised_errors"]
    assert np.isnan(row.ari)
    assert np.isnan(row.gap_closed)
    assert row.worst_group_accuracy > table["none"].worst_group_accuracy
    assert "true groups" not in [one.method for one in table]
    only = client.discover_all(sets["val"], fit=sets["train"], methods=["regularised_errors"], replicates=None)
    assert len(only) == 1
    asked = client.spectra(sets["val"], by=only["regularised_errors"].grouping, top_k=1)
    assert only["regularised_errors"].imbalance_p == max(one.p_adjusted for one in asked.imbalance)
    assert only["regularised_errors"].ari > 0.7
    with pytest.raises(penult.InvalidRequest, match="another row"):
        client.discover_all(sets["val"], methods=[], groupings={"none": "nobody"})
    for wrong in (["jtt"], {"errors": 3}, ["attribute"]):
        with pytest.raises(penult.InvalidRequest, match="methods"):
            client.discover_all(sets["val"], methods=wrong)
