"""Weights of the rows: repeats, shares, rules by hand, subsets.

For the matrix of `refit_matrix`; see `refit_checks` for how many ways a check takes.
"""

from dataclasses import replace

import numpy as np
import pytest
from refit_checks import EVERY, MEANS, SEED, far, fit, of, same, weights_of
from refit_matrix import WAYS, Arguments, Way, sample
from scipy.special import softmax
from sklearn.svm import LinearSVC

import penult


@of([name for name in EVERY if not WAYS[name].draws])
def test_weights_are_repeats(client: penult.Client, way: Way) -> None:
    """Weight k is the row k times. (Standardisation is unweighted, and minibatches draw other rows.)"""
    data = sample(way, SEED)
    times = weights_of(data.y.size)
    repeated = data.taken(np.repeat(np.arange(data.y.size), times))
    # The penalty of the mean is that of the mean: no rows' number enters.
    one = fit(client, data.upload(client), way, weights=times.astype(float))
    same(one, fit(client, repeated.upload(client), way), data, way)


@of(EVERY)
def test_weights_have_no_scale(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    weights, features = weights_of(data.y.size) + 0.5, data.upload(client)
    one, other = (fit(client, features, way, weights=scale * weights) for scale in (1.0, 37.5))
    same(one, other, data, way)
    assert far(one, fit(client, features, way), data)


@of(EVERY)
@pytest.mark.parametrize("standardize", [False, True])
def test_no_weight_is_no_row(client: penult.Client, way: Way, standardize: bool) -> None:
    data = sample(way, SEED)
    weights = weights_of(data.y.size)
    rows = np.flatnonzero(weights)
    one = fit(client, data.upload(client), way, weights=(weights > 0) * 1.0, standardize=standardize)
    other = fit(client, data.taken(rows).upload(client), way, standardize=standardize)
    same(one, other, data, way)
    assert one.n_rows == rows.size


@of(EVERY)
@pytest.mark.parametrize("standardize", [False, True])
def test_rows_are_an_upload(client: penult.Client, way: Way, standardize: bool) -> None:
    data = sample(way, SEED)
    rows = np.flatnonzero(weights_of(data.y.size))
    half = {"select": {"on": "half"}} if way.shape[0] > 100 else {}
    for more in ({}, half, {"balance": "subsetting", "by": "class"} | half):
        one = fit(client, data.upload(client), way, rows=rows, standardize=standardize, **more)
        other = fit(client, data.taken(rows).upload(client), way, standardize=standardize, **more)
        same(one, other, data, way)
        if one.selection is not None and other.selection is not None:
            assert one.selection.chosen.score == pytest.approx(other.selection.chosen.score, abs=0.03)


@of(MEANS)
def test_weights_by_hand(client: penult.Client, way: Way) -> None:
    """What a rule weighs is what its formula gives as weights."""
    data = sample(way, SEED)
    features, n = data.upload(client), data.y.size
    p = softmax(data.head.logits(data.x), axis=1)
    wrong = p.argmax(axis=1) != data.y
    by_hand: list[tuple[Arguments, np.ndarray]] = [
        ({"weights": "confidence", "gamma": 3.0}, np.exp(-3.0 * p[np.arange(n), data.y])),
        ({"weights": "errors", "up": 5.0}, np.where(wrong, 5.0, 1.0)),
        ({"weights": "uniform"}, np.ones(n)),
    ]
    if way.n_classes == 2:
        by_hand += [
            ({"class_ratio": 3.0}, np.where(data.y == 1, 3.0, 1.0)),
            ({"class_ratio": 0.5}, np.where(data.y == 0, 2.0, 1.0)),
            ({"class_ratio": 3.0, "weights": "errors", "up": 2.0}, np.where(data.y == 1, 3, 1) * np.where(wrong, 2, 1)),
        ]
    for rule, weights in by_hand:
        same(fit(client, features, way, **rule), fit(client, features, way, weights=weights), data, way)


@of([name for name in EVERY if WAYS[name].arguments.get("risk") != "group_dro"])
@pytest.mark.parametrize("by", ["class", "group"])
def test_upweighting_by_hand(client: penult.Client, way: Way, by: str) -> None:
    data = sample(way, SEED)
    labels = data.y if by == "class" else 2 * data.y + data.a
    weights = 1 / np.bincount(labels)[labels]
    features = data.upload(client)
    one = fit(client, features, way, balance="upweighting", by=by)
    same(one, fit(client, features, way, weights=weights), data, way)
    plain = fit(client, features, way, balance="none")
    same(plain, fit(client, features, way), data, way)


def test_group_ratios_by_hand(client: penult.Client) -> None:
    """A sweep is one request; weights have the shares of the definition, and 1 is balancing by group."""
    data = sample(WAYS["l2"], SEED)
    groups, features = 2 * data.y + data.a, data.upload(client)
    counts = np.bincount(groups)
    given: Arguments = {"balance": "upweighting", "by": "group", "l2": 0.05}
    swept = client.refit(features, grid={"group_ratio": [0.2, 1.0]}, select={"on": features}, **given)
    assert swept.selection is not None
    assert [one.values for one in swept.selection.candidates] == [{"group_ratio": 0.2}, {"group_ratio": 1.0}]
    share = np.empty(4)
    for pair in ([0, 1], [2, 3]):
        small, large = sorted(pair, key=lambda g: counts[g])
        q = 0.2 / 1.2 if counts[small] <= counts[large] / 2 else 0.5
        share[small], share[large] = q, 1 - q
    one = client.refit(features, group_ratio=0.2, **given)
    by_hand = client.refit(features, weights=(share / counts)[groups], l2=0.05)
    np.testing.assert_allclose(one.head.weight, by_hand.head.weight, atol=1e-3)
    same(client.refit(features, group_ratio=1.0, **given), client.refit(features, **given), data, WAYS["l2"])
    subset = client.refit(features, balance="subsetting", by="group", group_ratio=0.2, l2=0.05, plan=True)
    assert subset.plan is not None
    kept = np.bincount(groups[subset.plan.row_ids[0].astype(int)], minlength=4)
    assert kept.tolist() == np.ceil(np.round(2 * share * counts.min(), 9)).tolist()


def test_machines_beside_linear_svc(client: penult.Client) -> None:
    """Hinge losses over a grid of C, and without an l2 the head of the largest margin, or why there is none."""
    data = sample(WAYS["l2"], SEED)
    features = data.upload(client)
    c, plain = 0.5, {"link": "hinge", "standardize": False}
    soft = client.refit(features, l2=2 / c, penalty="sum", tolerance=1e-8, **plain)
    theirs = LinearSVC(fit_intercept=False, C=c, loss="hinge", max_iter=1_000_000, tol=1e-9).fit(data.x, data.y)
    np.testing.assert_allclose(soft.head.weight[1] - soft.head.weight[0], theirs.coef_[0], atol=1e-4)
    assert soft.certificate.converged
    assert soft.settings.intercept == "none"
    assert not soft.head.bias.any()
    with pytest.raises(penult.InvalidRequest, match="nothing separates the classes"):
        client.refit(features, **plain)
    kept = np.abs(data.x @ theirs.coef_[0]) > 0.3
    apart = replace(data, x=data.x[kept], y=(data.x[kept] @ theirs.coef_[0] > 0).astype(np.int64), a=data.a[kept])
    hard = client.refit(apart.upload(client), **plain)
    w = hard.head.weight[1] - hard.head.weight[0]
    assert np.min(np.where(apart.y == 1, 1, -1) * (apart.x @ w)) == pytest.approx(1.0, abs=1e-5)


@of(EVERY)
@pytest.mark.parametrize("method", ["subsetting", "mixture"])
def test_subsets_by_hand(client: penult.Client, way: Way, method: str) -> None:
    """The rows that the plan lists, with their weights, are the problem that was solved."""
    data = sample(way, SEED)
    features = data.upload(client)
    if method == "mixture" and way.is_path:
        return  # A path draws its batches: rows and times are not those of one draw.
    more = {"ratio": 2.0} if method == "mixture" else {}
    one = fit(client, features, way, balance=method, by="group", plan=True, seed=4, **more)
    assert one.plan is not None
    (rows,), (weights,) = one.plan.row_ids.astype(int), one.plan.weights
    counts = np.bincount(2 * data.y[rows] + data.a[rows], minlength=2 * way.n_classes)
    if method == "subsetting":
        assert len(set(counts)) == 1
    if way.draws:
        return  # Minibatches follow the number of the rows there are.
    kept = weights > 0
    of_rows = np.zeros(data.y.size)
    of_rows[rows[kept]] = weights[kept]
    other = fit(client, features, way, rows=np.sort(rows[kept]), weights=of_rows)
    same(one, other, data, way)


@of([name for name in EVERY if WAYS[name].draws or not WAYS[name].is_path])
def test_ratio_one_is_subsetting(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    features = data.upload(client)
    if not way.is_path:
        capped = fit(client, features, way, balance="mixture", by="group", ratio=1.0, plan=True)
        subset = fit(client, features, way, balance="subsetting", by="group", plan=True)
        assert capped.plan is not None
        assert subset.plan is not None
        np.testing.assert_array_equal(capped.plan.row_ids, subset.plan.row_ids)
        full, drawn = (
            fit(client, features, way, balance=method, by="group", **more)
            for method, more in (("mixture", {"ratio": 1e6}), ("upsampling", {}))
        )
        same(full, drawn, data, way)
    else:
        full, drawn = (
            fit(client, features, way, balance=method, by="group", **more)
            for method, more in (("mixture", {"ratio": 1e6}), ("upsampling", {}))
        )
        same(full, drawn, data, way)
