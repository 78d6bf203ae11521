"""Heads that a refit is given: centers, starts, their classes by name; losses, links and penalties.

For the matrix of `refit_matrix`; see `refit_checks` for how many ways a check takes.
"""

from dataclasses import replace

import numpy as np
import pytest
from refit_checks import EVERY, MEANS, OPTIMA, PENALISED, SEED, WITH_HEADS, far, fit, of, same, weights_of
from refit_matrix import GD, WAYS, Arguments, Way, sample

import penult

# Heads: centers and starts.


@of(WITH_HEADS)
def test_zero_heads(client: penult.Client, way: Way) -> None:
    """An explicit head of zeros is "zero", also where another center is given."""
    data = sample(way, SEED)
    features = data.upload(client)
    zeros = penult.Head(weight=np.zeros_like(data.head.weight), bias=np.zeros(way.n_classes))
    if way.is_path:
        for center in ({}, {"center": "stored", "l2": 0.3}):
            one, other = (fit(client, features, way, path={"start": start}, **center) for start in ("zero", zeros))
            same(one, other, data, way)
            same(one, fit(client, features, way, **center), data, way)
            assert far(one, fit(client, features, way, path={"start": "stored"}, **center), data)
    else:
        one, other = (fit(client, features, way, center=center) for center in ("zero", zeros))
        same(one, other, data, way)
        assert far(one, fit(client, features, way, center="stored"), data)


@of(WITH_HEADS)
def test_heads_by_any_name(client: penult.Client, way: Way) -> None:
    """The stored head, the same one given, and a refit that ends at it are one head."""
    data = sample(way, SEED)
    features = data.upload(client)
    # A path of one step of next to nothing stays where it begins.
    refit = client.refit(
        features, standardize=False, path={**GD, "learning_rate": 1e-12, "steps": 1, "start": "stored"}
    )
    np.testing.assert_allclose(refit.head.weight, data.head.weight, atol=1e-6)
    if way.is_path:
        found = [fit(client, features, way, path={"start": each}) for each in ("stored", data.head, refit)]
    else:
        found = [fit(client, features, way, center=each) for each in ("stored", data.head, refit)]
    same(found[0], found[1], data, way)
    same(found[0], found[2], data, way)


@of([name for name in PENALISED if "intercept" not in WAYS[name].arguments])
def test_a_heavy_penalty_is_the_center(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    heavy = {name: 1e4 for name in ("l1", "l2") if name in way.arguments}
    found = fit(client, data.upload(client), way, center="stored", **heavy)
    np.testing.assert_allclose(found.head.weight, data.head.weight, atol=1e-3)


@pytest.mark.parametrize("penalty", [{"l2": 0.05}, {"l1": 0.02}])
def test_a_penalised_intercept_is_a_column(client: penult.Client, penalty: Arguments) -> None:
    """Penalised like a weight it is the weight of a column of ones without any intercept."""
    way = WAYS["l2"]
    data = sample(way, SEED)
    wider = replace(
        data,
        x=np.c_[data.x, np.ones(data.y.size, np.float32)],
        head=penult.Head(weight=np.c_[data.head.weight, data.head.bias], bias=np.zeros(2)),
    )
    asked = {"standardize": False, "tolerance": 1e-9, **penalty}
    for center in ("zero", "stored"):
        one = client.refit(data.upload(client), intercept="penalized", center=center, **asked)
        other = client.refit(wider.upload(client), intercept="none", center=center, **asked)
        np.testing.assert_allclose(data.logits(one.head), wider.logits(other.head), atol=1e-3)


def test_no_intercept_is_the_center_s(client: penult.Client) -> None:
    data = sample(WAYS["l2"], SEED)
    features = data.upload(client)
    plain = client.refit(features, l2=0.1, intercept="none")
    centered = client.refit(features, l2=0.1, intercept="none", center="stored", standardize=False)
    np.testing.assert_allclose(plain.head.bias + plain.head.weight @ data.x.astype(float).mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(centered.head.bias, data.head.bias, atol=1e-12)
    assert [note.id for note in centered.notes] == ["intercept_of_center"]
    assert not plain.notes


# Losses, links, penalties.


@of([name for name in PENALISED if "risk" not in WAYS[name].arguments and "link" not in WAYS[name].arguments])
def test_a_whole_tail_is_the_mean(client: penult.Client, way: Way) -> None:
    """CVaR at alpha = 1 is the mean, whatever weighs; a smaller alpha has an effect."""
    data = sample(way, SEED)
    features = data.upload(client)
    loose = replace(way, arguments=way.arguments | {"tolerance": 1e-6}, atol=0.03)
    for more in ({}, {"weights": weights_of(data.y.size) + 0.2}, {"balance": "upweighting", "by": "group"}):
        one = fit(client, features, loose, risk="cvar", alpha=1.0, **more)
        other = fit(client, features, loose, **more)
        same(one, other, data, loose)
        assert one.certificate.objective == pytest.approx(other.certificate.objective, abs=1e-4)
    if "l2" in way.arguments:
        assert far(fit(client, features, loose, risk="cvar", alpha=0.3, max_iterations=200), other, data)


def test_one_group_is_the_mean(client: penult.Client) -> None:
    """Of one class in one place there is one group; without an intercept that is a problem like any other."""
    data = sample(WAYS["l2"], SEED)
    data = replace(data, a=np.zeros_like(data.a))
    features = data.upload(client)
    rows = np.flatnonzero(data.y == 1)
    asked = {"rows": rows, "intercept": "none", "l2": 0.2, "standardize": False, "tolerance": 1e-6}
    for more in ({}, {"weights": weights_of(data.y.size) + 0.1}):
        one, other = (client.refit(features, risk=risk, **asked, **more) for risk in ("group_dro", "mean"))
        np.testing.assert_allclose(data.logits(one.head), data.logits(other.head), atol=1e-2)
    assert {note.id for note in one.notes} >= {"absent_class", "absent_groups"}


@pytest.mark.parametrize("penalty", [{"l2": 0.05}, {"l1": 0.02}, {"l1": 0.01, "l2": 0.03}])
def test_two_classes_one_against_the_other(client: penult.Client, penalty: Arguments) -> None:
    """For two classes l1 is the same and l2 counts half of what it does one against the rest."""
    data = sample(WAYS["l2"], SEED)
    features = data.upload(client)
    doubled = {name: value * (2 if name == "l2" else 1) for name, value in penalty.items()}
    one = client.refit(features, link="ovr", tolerance=1e-9, **penalty)
    other = client.refit(features, tolerance=1e-9, **doubled)
    np.testing.assert_allclose(data.logits(one.head), data.logits(other.head), atol=1e-3)


@of([name for name in EVERY if {"l1", "l2"} & set(WAYS[name].arguments)])
def test_penalties_of_the_sum(client: penult.Client, way: Way) -> None:
    """Beside the sum of the weighted losses a strength is the sum of the weights times as large."""
    data = sample(way, SEED)
    features, weights = data.upload(client), weights_of(data.y.size) + 0.5
    for more, total in (({}, data.y.size), ({"weights": weights}, weights.sum())):
        summed = {name: way.arguments[name] * total for name in ("l1", "l2") if name in way.arguments}
        one = fit(client, features, way, penalty="sum", **summed, **more)
        same(one, fit(client, features, way, penalty="mean", **more), data, way)


@of(MEANS)
def test_no_offset_is_none(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    features = data.upload(client)
    one = fit(client, features, way, weights=1.0 + data.y)
    for offset in ("class_prior", "prediction_prior"):
        same(fit(client, features, way, weights=1.0 + data.y, offset=offset, tau=0.0), one, data, way)


@of([name for name in OPTIMA if "no penalty" in name])
def test_offsets_by_hand(client: penult.Client, way: Way) -> None:
    """Without a penalty a free bias takes the offset of the classes' shares back, exactly."""
    data = sample(way, SEED)
    features, weights = data.upload(client), 1.0 + data.y
    one = fit(client, features, way, weights=weights, offset="class_prior", tau=1.5)
    other = fit(client, features, way, weights=weights)
    share = np.bincount(data.y, weights=weights) / weights.sum()
    shift = 1.5 * np.log(share)
    np.testing.assert_allclose(data.logits(one.head) + shift - shift.mean(), data.logits(other.head), atol=2 * way.atol)


# Names of classes, checkpoints, training counts.


@of(WITH_HEADS)
def test_heads_meet_classes_by_name(client: penult.Client, way: Way) -> None:
    """A head whose rows are in another order, under their names, is the same center or start."""
    data = sample(way, SEED)
    features = data.upload(client)
    order = np.roll(np.arange(way.n_classes), 1)
    turned = penult.Head(
        weight=data.head.weight[order], bias=data.head.bias[order], classes=tuple(f"class {k}" for k in order)
    )
    if way.is_path:
        one, other = (fit(client, features, way, path={"start": head}) for head in (data.head, turned))
    else:
        one, other = (fit(client, features, way, center=head) for head in (data.head, turned))
    same(one, other, data, way)
    with pytest.raises(penult.InvalidRequest, match="other_classes"):
        client.refit(features, l2=0.1, center=replace(turned, classes=tuple("abc"[: way.n_classes])))


def test_heads_of_another_checkpoint(client: penult.Client) -> None:
    """Features of an upload are of no checkpoint, so that a head of one may be meant: said, not refused."""
    data = sample(WAYS["l2"], SEED)
    features = data.upload(client)
    head = replace(data.head, checkpoint="c" * 64)
    for asked in ({"center": head}, {"path": {**GD, "start": head}}):
        one = client.refit(features, l2=0.1, **asked)
        other = client.refit(features, l2=0.1, across_checkpoints=True, **asked)
        np.testing.assert_allclose(one.head.weight, other.head.weight, atol=1e-6)


def test_a_grouping_is_its_attribute(client: penult.Client) -> None:
    """Of the rows that are fitted, and of those that choose."""
    data = sample(WAYS["l2"], SEED)
    values = np.random.default_rng(SEED + 1).integers(0, 2, data.a.size)
    features, with_it = data.upload(client), replace(data, a=values).upload(client)
    grouping = client.groupings.upload(features, values)
    asked = {"balance": "subsetting", "l2": 0.1, "repeats": 2, "plan": True, "tolerance": 1e-9}
    found, expected = client.refit(features, by=grouping, **asked), client.refit(with_it, by="group", **asked)
    np.testing.assert_array_equal(found.plan.row_ids, expected.plan.row_ids)
    same(found, expected, data, WAYS["l2"])
    grid = {"grid": {"l2": [1e-3, 0.1, 10.0]}, "tolerance": 1e-9}
    chosen = client.refit(features, select={"on": "half", "groups": grouping}, **grid)
    scores = [
        [one.score for one in refit.selection.candidates]
        for refit in (
            chosen,
            client.refit(with_it, select={"on": "half"}, **grid),
            client.refit(features, select={"on": "half"}, **grid),
        )
    ]
    assert scores[0] == scores[1] != scores[2]


def test_training_counts_weigh_the_average(client: penult.Client) -> None:
    data, training = sample(WAYS["l2"], SEED), sample(WAYS["l2"], SEED + 2)
    features, train = data.upload(client), training.upload(client)
    found = client.refit(features, l2=0.1, evaluate={"it": features}, train=train).metrics["it"]
    counts = np.bincount(2 * training.y + training.a, minlength=4)
    assert found.weighted_average_accuracy == pytest.approx(found.group_accuracy @ counts / counts.sum())
    plain = client.refit(features, l2=0.1, evaluate={"it": features}).metrics["it"]
    assert np.isnan(plain.weighted_average_accuracy)
    with pytest.raises(penult.InvalidRequest, match="train= gives the weights"):
        client.refit(features, l2=0.1, train=train)
