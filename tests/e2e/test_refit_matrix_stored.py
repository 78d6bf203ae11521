"""What stored logits make: groups, rows, detectors; and what would be lost, or blamed on something else.

For the matrix of `refit_matrix`; see `refit_checks` for how many ways a check takes.
"""

from dataclasses import replace

import numpy as np
import pytest
from refit_checks import EVERY, MEANS, SEED, fit, of, same
from refit_matrix import ADAMW, GD, SGD, WAYS, Way, sample
from scipy.special import softmax

import penult
from penult_kernels.sampling.plans import loss_ends, top_rows
from penult_kernels.sampling.weights import disagreements

# Groups, rows and detectors that the stored logits make.


@of([name for name in EVERY if name in ("l2", "l1", "group DRO", "CVaR", "gradient descent", "l2, three classes")])
@pytest.mark.parametrize("source", ["errors", "eiil"])
def test_groups_by_hand(client: penult.Client, way: Way, source: str) -> None:
    """Groups of the stored head's errors are those of an attribute that says so."""
    data = sample(way, SEED)
    logits = data.head.logits(data.x)
    p = softmax(logits, axis=1)
    if source == "errors":
        environment = p.argmax(axis=1) != data.y
    else:
        environment = (p * logits).sum(axis=1) - logits[np.arange(data.y.size), data.y] > 0
    labelled = replace(data, a=environment.astype(np.int64)).upload(client)
    is_dro = way.arguments.get("risk") == "group_dro"
    more = {} if is_dro else {"balance": "upweighting", "by": "group"}
    one = fit(client, data.upload(client), way, groups=source, **more)
    same(one, fit(client, labelled, way, **more), data, way)


@of(EVERY)
def test_top_rows_by_hand(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    rng = np.random.default_rng(SEED + 9)
    features = data.upload(client)
    p = softmax(data.head.logits(data.x), axis=1)
    head = penult.Head(weight=data.head.weight + rng.standard_normal(data.head.weight.shape), bias=data.head.bias)
    other = replace(data, head=head).upload(client)
    scores = {
        "top_loss": -np.log(p[np.arange(data.y.size), data.y]),
        "top_disagreement": disagreements(head.logits(data.x), data.head.logits(data.x)),
    }
    for kind, score in scores.items():
        # Few of them could be told apart without an error.
        k = 3 * data.y.size // 4
        more = {"other": other} if kind == "top_disagreement" else {}
        by_rule = fit(client, features, way, rows=kind, top_k=k, **more)
        same(by_rule, fit(client, features, way, rows=top_rows(score, k)), data, way)
    is_error = p.argmax(axis=1) != data.y
    ends = loss_ends(scores["top_loss"], is_error, data.y, way.n_classes, 9)
    by_rule = fit(client, features, way, rows="loss_ends", top_k=9)
    same(by_rule, fit(client, features, way, rows=ends), data, way)


@of([name for name in MEANS if WAYS[name].shape == (120, 5)])
def test_a_detector_by_hand(client: penult.Client, way: Way) -> None:
    """A detector is a refit along its own path on plain features; where it errs `up` weighs."""
    data = sample(way, SEED)
    features = data.upload(client)
    start = penult.Head(weight=0.1 * data.head.weight, bias=np.zeros(way.n_classes))
    for detector, l1 in (
        ({**GD, "steps": 3, "start": start}, 0.05),
        ({**GD, "steps": 3, "momentum": 0.3, "weight_decay": 0.1, "clip_norm": 0.5}, 0.0),
        ({**SGD, "steps": 9, "schedule": "cosine"}, 0.01),
        ({**SGD, "epochs": 2, "steps": None, "start": "stored"}, 0.01),
        ({**ADAMW, "start": "random"}, 0.01),
    ):
        alone = client.refit(features, standardize=False, path=detector, **({"l1": l1} if l1 else {}))
        wrong = alone.head.logits(data.x).argmax(axis=1) != data.y
        assert 0 < wrong.sum() < data.y.size
        one = fit(client, features, way, weights="detected", up=4.0, detector=detector, detector_l1=l1)
        same(one, fit(client, features, way, weights=np.where(wrong, 4.0, 1.0)), data, way)


@of(EVERY)
def test_missing_groups_are_skipped(client: penult.Client, way: Way) -> None:
    """Without the rows of a group the others are balanced as if there were no such group; refused unless asked for."""
    data = sample(way, SEED)
    kept = np.flatnonzero(~((data.y == 0) & (data.a == 1)))
    holed = data.taken(kept)
    features = holed.upload(client)
    if way.arguments.get("risk") == "group_dro":
        found = fit(client, features, way)
        assert [note.id for note in found.notes] == ["absent_groups"]
        return
    asked = {"balance": "upweighting", "by": "group"}
    with pytest.raises(penult.InvalidRequest, match="empty_group"):
        fit(client, features, way, **asked)
    one = fit(client, features, way, missing_groups="skip", **asked)
    g = 2 * holed.y + holed.a
    same(one, fit(client, features, way, weights=1 / np.bincount(g)[g]), data, way)
    assert [note.id for note in one.notes] == ["absent_groups"]
    assert "'class 0, out'" in one.notes[0]
    for method in ("subsetting", "upsampling", "mixture"):
        if way.is_path and method != "subsetting" and "batch_size" not in way.arguments["path"]:
            continue
        more = {"ratio": 2.0} if method == "mixture" else {}
        drawn = fit(client, features, way, balance=method, by="group", missing_groups="skip", plan=True, **more)
        assert drawn.notes[0].id == "absent_groups"


# What would be lost, or blamed on something else.


def test_a_start_whose_bias_would_be_lost_is_refused(client: penult.Client) -> None:
    data = sample(WAYS["l2"], SEED)
    features = data.upload(client)
    path = {**GD, "learning_rate": 1e-9, "steps": 1}
    flat = penult.Head(weight=data.head.weight, bias=np.zeros(2))
    for start in ("stored", data.head):
        with pytest.raises(penult.InvalidRequest, match="path without an intercept keeps the bias of its center"):
            client.refit(features, intercept="none", standardize=False, path={**path, "start": start})
    kept = client.refit(features, intercept="none", standardize=False, path={**path, "start": flat})
    np.testing.assert_allclose(kept.head.weight, flat.weight, atol=1e-6)
    asked = {"intercept": "none", "standardize": False, "center": "stored", "l2": 0.1}
    centered = client.refit(features, path={**path, "start": "stored"}, **asked)
    np.testing.assert_allclose(centered.head.bias, data.head.bias, atol=1e-6)


def test_a_choice_by_groups_without_an_attribute_says_so(client: penult.Client) -> None:
    data = sample(WAYS["l2"], SEED)
    plain = client.features.upload(features=data.x, y=data.y, classes=["class 0", "class 1"])
    grid = {"l2": [0.001, 1.0]}
    for metric, expected in (("worst_group", ["groups_are_classes"]), ("worst_class", [])):
        found = client.refit(data.upload(client), grid=grid, select={"on": plain, "metric": metric})
        assert [note.id for note in found.notes] == expected


def test_weights_that_leave_no_problem_are_named(client: penult.Client) -> None:
    data, held_out = sample(WAYS["l2"], SEED), sample(WAYS["l2"], SEED + 5)
    features, validation = data.upload(client), held_out.upload(client)
    found = client.refit(features, l2=0.1, grid={"class_ratio": [1e308, 1e-320, 1.0]}, select={"on": validation})
    assert found.selection is not None
    assert [bool(one.failure) for one in found.selection.candidates] == [True, True, False]
    with pytest.raises(penult.InvalidRequest, match="finite positive sum"):
        client.refit(features, l2=0.1, class_ratio=1e308)
    with pytest.raises(penult.InvalidRequest, match="weigh 0, or too little"):
        client.refit(features, l2=0.1, weights="confidence", gamma=1e30)
    with pytest.raises(penult.InvalidRequest, match="give larger weights"):
        client.refit(features, l2=0.1, penalty="sum", weights=np.full(data.y.size, 1e-320))


def test_numbers_that_name_labels_are_labels_in_training_counts(client: penult.Client) -> None:
    data = sample(WAYS["l2"], SEED)
    for counts in ({1: 1000, 0: 10}, {"1": 1000, "0": 10}):
        found = client.features.upload(features=data.x, y=data.y, classes=[1, 0], train_counts=counts)
        np.testing.assert_allclose(found.train_shares, np.array([1000, 10]) / 1010)
    pairs = {(5, "in"): 7, (5, "out"): 1, (2, "in"): 1, (2, "out"): 1}
    found = client.features.upload(
        features=data.x,
        y=np.where(data.y == 0, 5, 2),
        a=data.a,
        classes=[5, 2],
        attribute_values=["in", "out"],
        train_counts={(str(y), a): n for (y, a), n in pairs.items()},
    )
    np.testing.assert_allclose(found.train_shares, [0.7, 0.1, 0.1, 0.1])
    by_number = {(5, 0): 7, (5, 1): 1, (2, 0): 1, (2, 1): 1}
    again = client.features.upload(
        features=data.x,
        y=np.where(data.y == 0, 5, 2),
        a=data.a,
        classes=[5, 2],
        attribute_values=["in", "out"],
        train_counts=by_number,
    )
    assert again.digest == found.digest
