"""Groupings at a real server: round trips, names, what is reused, what is refused, and what the command line says."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import penult
from penult.cli.main import main

N = 40
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 3)).astype(np.float32)
Y, A = np.arange(N) % 2, np.arange(N) // 2 % 2
ROWS = RNG.permutation(N).astype(np.uint64) + 1000
GROUND = {"attribute": "ground", "attribute_values": ["grass", "gravel"]}


@pytest.fixture(scope="module")
def client(client_alone):
    """Everything is listed."""
    return client_alone


@pytest.fixture(scope="module")
def mine(client):
    return client.features.upload(X, Y, A, row_id=ROWS, classes=["cat", "dog"], **GROUND, name="mine")


@pytest.fixture(scope="module")
def true(client, mine):
    return client.groupings.from_attribute(mine, "ground", name="true", tags=["a"], note="as labelled")


def test_values_of_an_attribute_are_those_that_are_stored(client, mine, true):
    read = client.features.read(mine)
    assert np.array_equal(true.values, read.a)
    assert np.array_equal(true.row_id, read.row_id)
    assert true.soft is None
    assert true.groups == mine.groups
    assert true.counts.tolist() == np.bincount(read.g, minlength=4).tolist()
    assert (true.n_groups, true.value_names, true.classes) == (4, ("grass", "gravel"), ("cat", "dog"))
    assert (true.name, true.tags, true.note, true.method, true.has_rule) == (
        "true",
        ("a",),
        "as labelled",
        "attribute",
        True,
    )
    assert not true.reused
    again = client.groupings.from_attribute("mine")
    assert (again, again.reused, again.name) == (true, True, "true")


def test_answers_by_the_true_groups_are_those_by_stored_ones_bit_for_bit(client, mine, true):
    stored, found = client.spectra(mine, replicates=20), client.spectra(mine, by=true, replicates=20)
    assert np.array_equal(stored.eigenvalues, found.eigenvalues)
    assert [(one.ratio, one.p_value) for one in stored.imbalance] == [
        (one.ratio, one.p_value) for one in found.imbalance
    ]
    assert stored.groups == found.groups
    options = {"preset": "dfr_l2", "select": {"on": "half"}, "seed": 1, "evaluate": {"mine": mine}}
    stored, found = client.refit(mine, **options), client.refit(mine, by=true, **options)
    assert np.array_equal(stored.head.weight, found.head.weight)
    assert np.array_equal(stored.metrics["mine"].group_accuracy, found.metrics["mine"].group_accuracy)
    of_stored, of_found = client.evaluate(found, mine), client.evaluate(found, mine, by=true)
    assert np.array_equal(of_stored.group_accuracy, of_found.group_accuracy)
    # By its name and by a digest it is the same question.
    assert client.spectra(mine, by="true", replicates=20).reused


def test_values_come_in_every_form(client, mine):
    names = np.array(["grass", "gravel"])[A]
    one = client.groupings.upload(mine, A, names=["grass", "gravel"])
    assert np.array_equal(one.values, A)
    for values, options in (
        (names, {}),
        (names.tolist(), {}),
        (pd.Series(names, dtype="category"), {}),
        (pd.Series(names), {"row_id": pd.Series(ROWS)}),
        (names[::-1], {"row_id": ROWS[::-1]}),
        (dict(zip(ROWS.tolist(), names.tolist(), strict=True)), {}),
        (A.astype(float), {"names": ["grass", "gravel"]}),
        (A.astype(bool), {"names": ["grass", "gravel"]}),
        (A * 2 - 1, {"names": [-1, 1]}),
    ):
        other = client.groupings.upload(mine, values, **options)
        assert np.array_equal(other.values, A)
        assert (other == one) == (options.get("names") != [-1, 1])
        assert bool(other.notes) == (not options.get("names"))
    some = client.groupings.upload(mine, {int(ROWS[4]): 1, int(ROWS[0]): 0, int(ROWS[7]): -1}, attribute="place")
    assert (some.n_unassigned, some.attribute) == (N - 2, "place")
    assert some.values[[0, 4, 7, 9]].tolist() == [0, 1, -1, -1]
    assert "38 rows in none" in repr(some)
    assert "in no group" in some.table()


@pytest.mark.parametrize(
    ("values", "options", "kind", "said"),
    [
        ({5: 0}, {}, "other_rows", "such as row 5"),
        (A[:-1], {}, "wrong_shape", "one for each row"),
        (A[:2], {"row_id": [1000, 1000]}, "invalid_argument", "named again"),
        (A - 3, {}, "label_out_of_range", "count from 0"),
        (A * 30_000, {}, "label_out_of_range", "25000"),
        (A, {"names": ["x"]}, "label_out_of_range", "there are 1 names"),
        (A, {"names": ["x", "x"]}, "invalid_argument", "each label once"),
        (np.full(N, -1), {}, "invalid_argument", "no row in a group"),
        ({}, {}, "invalid_argument", "is empty"),
        ({1000: 0}, {"row_id": [1000]}, "invalid_argument", "leave row_id= out"),
        (A + 0.5, {}, "wrong_dtype", "integers"),
        (pd.Series([None, *A[1:].tolist()], dtype=object), {}, "not_finite", "no value in row 0"),
        (A, {"row_id": ROWS.astype(float) + 0.5}, "wrong_dtype", "row_id must be integers"),
        (A, {"name": "abcdef"}, "invalid_argument", "must not look like a digest"),
    ],
)
def test_bad_values_are_refused_with_what_to_do(client, mine, values, options, kind, said):
    with pytest.raises(penult.InvalidRequest, match=said) as raised:
        client.groupings.upload(mine, values, **options)
    assert raised.value.kind == kind


def test_what_there_is_not_is_said(client, mine):
    uploaded = client.groupings.upload(mine, A, names=["p", "q"])
    other = client.features.upload(X, Y, A, classes=["cat", "dog"], **GROUND)
    wolves = client.features.upload(X, Y, classes=["cat", "wolf"])
    true = client.groupings.from_attribute(mine)
    for ask, kind, said in (
        (lambda: client.groupings.get("nothing"), "unknown_grouping", "known: "),
        (lambda: client.groupings.from_attribute(mine, "place"), "invalid_argument", "known: ground"),
        (lambda: client.groupings.from_attribute(wolves), "attribute_missing", r"client\.groupings\.upload"),
        (lambda: uploaded.on(other), "invalid_argument", "has no rule"),
        (lambda: true.on(wolves), "other_classes", "wolf"),
        (lambda: true.on("nothing"), "unknown_feature_set", "nothing"),
        (lambda: client.groupings.get(mine), "invalid_argument", "a grouping is"),
    ):
        with pytest.raises(penult.PenultError, match=said) as raised:
            ask()
        assert raised.value.kind == kind


def test_a_grouping_is_named_listed_copied_and_deleted(client, mine, true):
    one = client.groupings.upload(mine, {int(ROWS[0]): "x"}, name="few", tags=["a", "b"])
    assert client.groupings.list(features=mine, tag="a", method="uploaded") == [one]
    assert client.groupings.list(name="tr*") == [true]
    described = client.groupings.describe("few", name="one", note="a row")
    assert (described.name, described.note, described.tags) == ("one", "a row", ("a", "b"))
    assert client.groupings.get(one.digest[:6]) == one
    moved = client.groupings.describe(true, name="one")
    assert [note.id for note in moved.notes] == ["name_moved"]
    client.groupings.describe(true, name="true")
    copied = pickle.loads(pickle.dumps(client.groupings.get("true")))
    assert copied.counts.tolist() == true.counts.tolist()
    with pytest.raises(penult.InvalidRequest, match=r"client\.groupings\.get"):
        _ = copied.values
    frame = true.to_frame()
    assert frame["n"].tolist() == true.counts.tolist()
    assert list(frame) == ["group", "y", "value", "class", "value_name", "n", "notes"]
    assert "cat, grass" in true._repr_html_()
    before = client.info().n_groupings
    assert client.groupings.delete(one, dry_run=True).goes[0].kind == "grouping"
    deletion = client.groupings.delete(one)
    assert [(thing.kind, thing.id) for thing in deletion.goes] == [("grouping", one.digest)]
    assert client.info().n_groupings == before - 1
    assert {one.kind: one.count for one in client.usage().kinds}["groupings"] == before - 1


def test_a_grouping_stays_when_its_features_go(client):
    features = client.features.upload(X[::-1], Y, A, **GROUND)
    found = client.groupings.from_attribute(features)
    said = client.features.delete(features)
    assert [(one.kind, one.id) for one in said.stays] == [("grouping", found.digest)]
    assert np.array_equal(client.groupings.get(found.digest).values, A)
    with pytest.raises(penult.NotFound):
        client.groupings.from_attribute(features)


def test_a_damaged_grouping_is_told_and_can_be_made_again(client, mine):
    found = client.groupings.upload(mine, A, names=["d", "e"])
    arrays = Path(client.info().root) / "groupings" / found.digest / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-9])
    with pytest.raises(penult.StoreCorrupt, match=f"grouping {found.digest[:12]} is damaged.*delete it"):
        _ = found.values
    client.groupings.delete(found)
    again = client.groupings.upload(mine, A, names=["d", "e"])
    assert (again, again.reused) == (found, False)
    assert np.array_equal(again.values, A)


def test_the_command_line_lists_shows_and_deletes(client, mine, true, capsys):
    at = ["--address", client.connection.address]
    token = (Path(client.info().root) / "token").read_text().strip()
    at += ["--token", token]
    made = client.groupings.upload(mine, A, names=["c", "l"], name="mine-too")
    assert main(["groupings", *at, "--method", "uploaded", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert made.digest in [one["digest"] for one in listed]
    assert main(["groupings", "show", "true", *at]) == 0
    assert "cat, gravel" in capsys.readouterr().out
    assert main(["groupings", "describe", "mine-too", "--note", "by hand", *at]) == 0
    assert main(["delete", "grouping", "mine-too", "--yes", *at]) == 0
    capsys.readouterr()
    assert main(["groupings", "show", "mine-too", *at]) == 1
    assert "there is no grouping 'mine-too'" in capsys.readouterr().err
