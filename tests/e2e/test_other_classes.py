"""Heads, logits and labels of several origins through the service: names of classes decide, checkpoints must agree."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import penult

NAMES = {"bright": "wolf", "dark": "cat"}
"""Sorted, they have the other order."""


def ids(answer) -> list[str]:
    """Kinds of the notes that are about where things come from."""
    return [note.id for note in answer.notes if note.id.startswith(("across_", "classes_"))]


def refused(kind: str, match: str = ""):
    return pytest.raises(penult.InvalidRequest, match=f"(?s){match}.*{kind}")


@pytest.fixture(scope="module")
def renamed_table(table, tmp_path_factory) -> Path:
    """The same images under other names of classes and of grounds, with fewer training examples."""
    with table.open() as file:
        rows = list(csv.DictReader(file))
    path = tmp_path_factory.mktemp("renamed") / "images" / "table.csv"
    shutil.copytree(table.parent, path.parent)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for index, row in enumerate(rows):
            if row["split"] != "train" or index >= 20:
                writer.writerow(row | {"y": NAMES[row["y"]], "ground": f"very {row['ground']}"})
    return path


@pytest.fixture(scope="module")
def run(client, table, tiny):
    client.datasets.register("first", table)
    return client.finetune(dataset="first", epochs=3, record=penult.Record(checkpoint_every=3), seed=3, **tiny).wait()


@pytest.fixture(scope="module")
def second(client, renamed_table):
    return client.datasets.register("second", renamed_table)


@pytest.fixture(scope="module")
def sets(client, run):
    return client.extract(run.checkpoints[-1]).wait()


@pytest.fixture(scope="module")
def early(client, run):
    return client.extract(run.checkpoints[0]).wait()


@pytest.fixture(scope="module")
def mapped(client, run, second):
    return client.extract(run.checkpoints[-1], dataset="second", class_map=NAMES).wait()


# A dataset whose classes have other names


def test_other_names_are_refused_with_both_lists(client, run, second):
    with refused("other_classes", "bright, dark.*cat, wolf"):
        client.extract(run.checkpoints[-1], dataset="second").wait()
    with refused("other_classes", "bright, dark.*cat, wolf"):
        client.finetune(
            dataset="second",
            backbone="test_resnet",
            pretrained=False,
            repeat=penult.RepeatErrors(run.checkpoints[-1], times=2),
        ).wait()
    with pytest.raises(penult.InvalidRequest, match="class_map takes"):
        client.extract(run.checkpoints[-1], dataset="second", class_map="cat")
    with pytest.raises(penult.InvalidRequest, match="class_map is text"):
        client.extract(run.checkpoints[-1], dataset="second", class_map={"bright": 0})


def test_a_mapping_gives_the_same_predictions(client, run, sets, mapped):
    """Logits, head and labels of the new set agree, in the order of its dataset."""
    plain, other = client.features.read(sets["test"]), client.features.read(mapped["test"])
    np.testing.assert_array_equal(other.features, plain.features)
    np.testing.assert_array_equal(other.logits, plain.logits[:, ::-1])
    np.testing.assert_array_equal(other.head_weight, plain.head_weight[::-1])
    np.testing.assert_array_equal(other.head_bias, plain.head_bias[::-1])
    np.testing.assert_array_equal(other.y, 1 - plain.y)
    assert other.head.classes == mapped["test"].labels.classes == ("cat", "wolf")
    assert run.checkpoints[-1].classes == plain.head.classes == ("bright", "dark")
    assert ids(mapped["test"]) == ["classes_mapped"]
    assert "bright -> wolf" in repr(mapped["test"])
    own = client.evaluate(run.checkpoints[-1], sets["test"])
    with refused("other_classes"):
        client.evaluate(run.checkpoints[-1], mapped["test"])
    scored = client.evaluate(run.checkpoints[-1], mapped["test"], class_map=NAMES)
    assert scored.correct.tolist() == own.correct.reshape(2, 2)[::-1].ravel().tolist()
    assert scored.average_accuracy == own.average_accuracy
    assert scored.loss == pytest.approx(own.loss, rel=1e-12)
    assert (ids(own), ids(scored)) == ([], ["classes_mapped"])
    assert client.evaluate(other.head, mapped["test"]).correct.tolist() == scored.correct.tolist()
    # The mapped logits are those of its own labels: what is fitted by them is what is fitted to the first dataset.
    fits = [client.refit(one["test"], preset="jtt", tolerance=1e-8) for one in (sets, mapped)]
    np.testing.assert_allclose(fits[1].head.weight, fits[0].head.weight[::-1], atol=1e-5)
    assert fits[1].head.classes == ("cat", "wolf")


def test_training_fractions_are_those_of_the_set_s_own_dataset(client, run, mapped, sets):
    y, a = (getattr(client.features.read(mapped["train"]), name) for name in ("y", "a"))
    fractions = np.bincount(2 * y + a, minlength=4) / len(y)
    np.testing.assert_allclose(mapped["test"].train_shares, fractions, rtol=1e-12)
    assert not np.allclose(fractions.reshape(2, 2)[::-1].ravel(), sets["test"].train_shares)
    scored = client.evaluate(run.checkpoints[-1], mapped["test"], class_map=NAMES)
    np.testing.assert_allclose(scored.average_weights, fractions, rtol=1e-12)
    assert scored.weighted_average_accuracy == pytest.approx(scored.group_accuracy @ fractions)
    assert [group.name for group in scored.groups][:2] == ["cat, very green", "cat, very red"]


def test_equal_weights_are_one_model_whose_classes_may_have_other_names(client, run, second, early, tiny):
    """The starting points of two runs: the same weights, another dataset, hence another checkpoint."""
    start = {name: tiny[name] for name in ("backbone", "pretrained")}
    other = client.finetune(dataset="second", epochs=0, seed=3, **start).wait().checkpoints[0]
    assert other.digest != run.checkpoints[0].digest
    back = {new: old for old, new in NAMES.items()}
    scored = client.evaluate(other, early["test"], class_map=back)
    assert ids(scored) == ["classes_mapped"], "no note of another checkpoint: the features are the same"
    # Its features are those that the first extracted: they are found under its own name, too.
    found = client.spectra(other, split="test", top_k=2, replicates=0)
    assert found.feature_set == early["test"].digest
    crossed = client.extract(other, dataset="first", splits=["test"], class_map=back).wait()["test"]
    assert crossed.digest != early["test"].digest
    np.testing.assert_array_equal(
        client.features.read(crossed).logits, client.features.read(early["test"]).logits[:, ::-1]
    )


# Features of another checkpoint


def test_a_head_meets_features_of_another_checkpoint_only_when_asked(client, run, sets, early):
    refit = client.refit(sets["val"], preset="dfr_l2", evaluate={"test": sets["test"]})
    assert ids(refit) == ids(refit.metrics["test"]) == []
    assert refit.head.checkpoint == run.checkpoints[-1].digest
    for head in (refit, refit.head, run.checkpoints[-1], penult.soup([refit, refit.head])):
        with refused("other_checkpoint", "across_checkpoints=True"):
            client.evaluate(head, early["test"])
        scored = client.evaluate(head, early["test"], across_checkpoints=True)
        assert ids(scored) == ["across_checkpoints"]
    x, y = (getattr(client.features.read(early["test"]), name) for name in ("features", "y"))
    scored = client.evaluate(refit, early["test"], across_checkpoints=True)
    assert scored.average_accuracy == (refit.head.logits(x).argmax(axis=1) == y).mean()
    with refused("other_checkpoint"):
        client.interpolate(run.checkpoints[-1], refit, early["test"], steps=2)
    curve = client.interpolate(run.checkpoints[-1], refit, early["test"], steps=2, across_checkpoints=True)
    assert curve.metrics[1].correct.tolist() == scored.correct.tolist()
    assert set(ids(curve)) == {"across_checkpoints"}
    assert "note: " in repr(curve)
    nowhere = replace(refit.head, checkpoint="0" * 64)
    with refused("other_checkpoint"):
        client.evaluate(nowhere, sets["test"])
    assert ids(client.evaluate(nowhere, sets["test"], across_checkpoints=True)) == ["across_checkpoints"]
    with refused("invalid_argument", "digest"):
        client.evaluate(replace(refit.head, checkpoint="../" + "0" * 61), sets["test"])
    # A record stands for its digest.
    with refused("other_checkpoint"):
        client.evaluate(replace(refit.head, checkpoint=run.checkpoints[0]), sets["test"])
    old = client.refit(early["val"], preset="dfr_l2")
    with pytest.raises(penult.InvalidRequest, match="other_checkpoint"):
        penult.soup([old, refit])
    assert penult.soup([old, refit], across_checkpoints=True).checkpoint == ""


def test_what_a_refit_brings_together_is_of_one_checkpoint(client, sets, early):
    first = client.refit(early["val"], preset="erm", seed=1)
    path = {"optimizer": "gd", "learning_rate": 0.1, "steps": 2}
    for arguments in (
        {"evaluate": {"test": early["test"]}},
        {"select": {"on": early["val"]}, "grid": {"l2": [0.1, 1.0]}},
        {"standardize": early["train"]},
        {"center": first, "l2": 0.1},
        {"center": first.head, "l2": 0.1},
        {"path": path | {"start": first}},
    ):
        with refused("other_checkpoint"):
            client.refit(sets["val"], **arguments)
        assert "across_checkpoints" in ids(client.refit(sets["val"], across_checkpoints=True, **arguments))
    # SELF compares two checkpoints: that is what `other` is for.
    other = client.refit(sets["train"], preset="self_disagreement", other=early["train"], top_k=30, path={"steps": 2},
                         select={"on": sets["val"]}, balance="none")  # fmt: skip
    assert ids(other) == []


# Uploads


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(8)
    y, a = rng.integers(0, 3, 240), rng.integers(0, 2, 240)
    features = (rng.standard_normal((240, 6)) + y[:, None] * [1, 0.5, 0, 0, 0, 0] + a[:, None] * 0.7).astype("f4")
    return {"features": features, "y": y, "a": a, "logits": rng.standard_normal((240, 3)).astype("f4")}


CLASSES, TURN = ("ant", "bee", "cat"), np.array([2, 0, 1])
"""Class k of the turned order is class TURN[k]."""
TURNED = tuple(CLASSES[k] for k in TURN)


def turned(arrays):
    return arrays | {"y": np.argsort(TURN)[arrays["y"]], "logits": np.ascontiguousarray(arrays["logits"][:, TURN])}


@pytest.fixture(scope="module")
def plain(client, arrays):
    return client.features.upload(**arrays, classes=CLASSES)


@pytest.fixture(scope="module")
def other(client, arrays):
    return client.features.upload(**turned(arrays), classes=TURNED)


def test_the_same_names_in_another_order_change_nothing(client, plain, other):
    """Scores, choices and starts are bit for bit those of the set in the head's own order."""
    shared = {"grid": {"l2": [0.01, 1.0, 100.0]}}
    refit = client.refit(plain, select={"on": plain}, evaluate={"it": plain}, **shared)
    mixed = client.refit(plain, select={"on": other}, evaluate={"it": other}, **shared)
    np.testing.assert_array_equal(mixed.head.weight, refit.head.weight)
    assert [one.score for one in mixed.selection.candidates] == [one.score for one in refit.selection.candidates]
    assert (ids(refit), ids(mixed)) == ([], ["classes_mapped"])
    own, theirs = refit.metrics["it"], mixed.metrics["it"]
    assert [group.class_name for group in theirs.groups[::2]] == list(TURNED)
    confusion = own.confusion.reshape(3, 2, 3)
    np.testing.assert_array_equal(theirs.confusion.reshape(3, 2, 3), confusion[TURN][:, :, TURN])
    assert theirs.average_accuracy == own.average_accuracy
    assert ids(theirs) == ["classes_mapped"]
    for head in (refit, refit.head):
        again = client.evaluate(head, other)
        np.testing.assert_array_equal(again.confusion, theirs.confusion)
        assert ids(again) == ["classes_mapped"]
    curve = client.interpolate(refit, client.refit(other, preset="erm"), plain, steps=3)
    assert curve.metrics[0].correct.tolist() == own.correct.tolist()


def test_heads_to_start_from_are_put_in_order(client, plain, other):
    rng = np.random.default_rng(9)
    weight, bias = rng.standard_normal((3, 6)), rng.standard_normal(3)
    first = penult.Head(weight=weight, bias=bias, classes=CLASSES)
    second = penult.Head(weight=weight[TURN], bias=bias[TURN], classes=TURNED)
    path = {"optimizer": "gd", "learning_rate": 0.1, "steps": 3}
    answers = [client.refit(plain, l2=0.5, center=head, path=path | {"start": head}) for head in (first, second)]
    np.testing.assert_array_equal(answers[1].head.weight, answers[0].head.weight)
    assert [ids(one) for one in answers] == [[], ["classes_mapped", "classes_mapped"]]
    assert answers[1].head.classes == CLASSES
    for a, b in ((first, second), (second, first)):
        soup = penult.soup([a, b])
        np.testing.assert_allclose(soup.logits(np.eye(6)), a.logits(np.eye(6)))
        assert soup.classes == a.classes
    strange = penult.Head(weight=weight, bias=bias, classes=("ant", "bee", "cow"))
    with refused("other_classes", "ant, bee, cow.*ant, bee, cat"):
        client.refit(plain, l2=0.5, center=strange)
    with refused("other_classes"):
        client.evaluate(strange, plain)
    assert ids(client.evaluate(strange, plain, class_map={"cow": "cat"})) == ["classes_mapped"]
    with refused("wrong_shape", "as many classes"):
        client.evaluate(penult.Head(weight=weight, bias=bias, classes=("ant", "bee")), plain)


def test_the_logits_of_another_set_are_put_in_order(client, arrays, plain):
    noise = np.random.default_rng(10).standard_normal((240, 3)).astype("f4")
    asked = {"preset": "self_disagreement", "top_k": 40, "plan": True, "path": {"steps": 4}, "balance": "none"}
    answers = []
    for given, classes in ((arrays | {"logits": noise}, CLASSES), (turned(arrays | {"logits": noise}), TURNED)):
        disputed = client.features.upload(**given, head=_head(classes), classes=classes)
        own = client.features.upload(**arrays, head=_head(CLASSES), classes=CLASSES)
        answers.append(client.refit(own, other=disputed, select={"on": plain}, **asked))
    np.testing.assert_array_equal(answers[1].plan.row_ids, answers[0].plan.row_ids)
    np.testing.assert_array_equal(answers[1].head.weight, answers[0].head.weight)
    assert [ids(one) for one in answers] == [[], ["classes_mapped"]]
    strange = client.features.upload(**arrays, classes=("ant", "bee", "cow"))
    with refused("other_classes"):
        client.refit(own, other=strange, select={"on": plain}, **asked)


def _head(classes):
    return penult.Head(weight=np.zeros((3, 6)), bias=np.zeros(3), classes=classes)


def test_an_uploaded_head_is_stored_in_the_order_of_the_labels(client, arrays):
    weight, bias = np.arange(18.0).reshape(3, 6), np.arange(3.0)
    head = penult.Head(weight=weight[TURN], bias=bias[TURN], classes=TURNED)
    back = client.features.read(client.features.upload(**arrays, head=head, classes=CLASSES))
    np.testing.assert_array_equal(back.head_weight, weight)
    np.testing.assert_array_equal(back.head_bias, bias)
    assert back.head.classes == CLASSES
    assert ids(back.feature_set) == ["classes_mapped"]
    with refused("other_classes"):
        client.features.upload(**arrays, head=head, classes=("ant", "bee", "cow"))
    with refused("invalid_argument", "name each label once"):
        client.features.upload(**arrays, classes=("ant", "bee", "bee"))


def test_classes_without_names_are_matched_by_count_and_say_so(client, arrays, plain):
    unnamed = client.features.upload(**arrays)
    assert unnamed.labels.classes_by_index
    assert not plain.labels.classes_by_index
    assert client.features.upload(**arrays, classes=["0", "1", "2"]).digest != unnamed.digest
    refit = client.refit(unnamed, preset="erm", evaluate={"itself": unnamed, "named": plain})
    assert refit.head.classes is None
    assert ids(refit) == ids(refit.metrics["named"]) == ["classes_by_count"]
    assert ids(refit.metrics["itself"]) == []
    assert "have no names" in repr(refit)
    assert ids(client.evaluate(client.refit(plain, preset="erm"), unnamed)) == ["classes_by_count"]
    two = client.features.upload(features=arrays["features"], y=arrays["y"] % 2)
    with refused("wrong_shape", "also those without an example"):
        client.evaluate(refit, two)
