"""Every field of a refit with every way of solving: an identity between two requests, or a refusal (`refit_matrix`).

By default a check of more than six ways takes a fifth of them, not the same fifth as other checks. All pairs:
python -m pytest -m "slow or not slow" tests/e2e/test_refit_matrix.py; on other data: PENULT_MATRIX_SEED=7 before it.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, get_args

import numpy as np
import pytest
from refit_matrix import ADAMW, FIELDS, GD, SGD, WAYS, Arguments, Data, Way, paths_of, sample
from scipy.special import softmax
from sklearn.svm import LinearSVC

import penult
from penult.types import BalanceMethod, Preset
from penult_kernels.sampling.plans import loss_ends, top_rows
from penult_kernels.sampling.weights import disagreements

SEED = int(os.environ.get("PENULT_MATRIX_SEED", "0"))
EVERY = list(WAYS)
OPTIMA = [name for name, way in WAYS.items() if not way.is_path]
PATHS = [name for name, way in WAYS.items() if way.is_path]
MEANS = [name for name, way in WAYS.items() if "risk" not in way.arguments]
PENALISED = [name for name in OPTIMA if "no penalty" not in name]

WITH_HEADS = [name for name in EVERY if WAYS[name].is_path or {"l1", "l2"} & set(WAYS[name].arguments)]
"""Ways of solving on which a center or a start has an effect."""


Check = TypeVar("Check", bound=Callable[..., None])


def of(names: list[str]) -> Callable[[Check], Check]:
    """Some of the ways only."""

    def limited(check: Check) -> Check:
        check.__dict__["ways"] = names
        return check

    return limited


_ORDER: dict[str, int] = {}
"""Checks in the order of this file."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a check its ways: one in five, beginning one later than the check above it; the others are slow."""
    if "way" not in metafunc.fixturenames:
        return
    names = metafunc.function.__dict__.get("ways", EVERY)
    first = _ORDER.setdefault(metafunc.function.__name__, len(_ORDER))
    kept = {name for place, name in enumerate(names) if (place + first) % 5 == 0 or len(names) <= 6}
    metafunc.parametrize(
        "way", [pytest.param(WAYS[one], id=one, marks=[] if one in kept else [pytest.mark.slow]) for one in names]
    )


def fit(client: penult.Client, features: penult.FeatureSet, way: Way, **more: Any) -> penult.Refit:
    """A refit by a way; of a path `path` replaces what it names."""
    arguments = {"standardize": False, **way.arguments, **more}
    if "path" in more and way.is_path:
        arguments["path"] = {**way.arguments["path"], **more["path"]}
    found = client.refit(features, **arguments)
    assert way.is_path or found.certificate.converged
    return found


def same(one: penult.Refit, other: penult.Refit, data: Data, way: Way) -> None:
    """Two heads with the same logits on the data, up to what the way leaves open."""
    np.testing.assert_allclose(data.logits(one.head), data.logits(other.head), atol=way.atol)


def far(one: penult.Refit, other: penult.Refit, data: Data) -> bool:
    return float(np.abs(data.logits(one.head) - data.logits(other.head)).max()) > 1e-3


def weights_of(n: int) -> np.ndarray:
    return np.random.default_rng(SEED + 3).integers(0, 4, n)


def test_every_field_has_a_row_and_every_row_its_checks(capsys: pytest.CaptureFixture[str]) -> None:
    paths = list(paths_of())
    assert sorted(FIELDS) == sorted(paths), "give a new field of the request its row in FIELDS"
    missing = {name for one in FIELDS.values() for name in one.checks if f"test_{name}" not in globals()}
    assert not missing
    assert all(one.checks for one in FIELDS.values())
    checks = {name for one in FIELDS.values() for name in one.checks}
    with capsys.disabled():
        sys.stdout.write(
            f"\nmatrix: {len(paths)} fields, {len(WAYS)} ways, {len(get_args(Preset))} presets, {len(checks)} checks "
        )


# Where the correction lies.


@of(["l2", "l2, three classes", "l2, fewer rows than features", "gradient descent", "gradient descent, three classes"])
@pytest.mark.parametrize("k", [2, 5])
def test_a_subspace_by_hand(client: penult.Client, way: Way, k: int) -> None:
    """About zero it is the refit of the rows in the leading directions of their weighted covariance; of all features
    it is none."""
    data = sample(way, SEED)
    weights = weights_of(data.y.size)
    share = weights / weights.sum()
    centered = data.x - share @ data.x
    vectors = np.linalg.eigh(centered.T @ (share[:, None] * centered))[1][:, ::-1][:, :k]
    inside = replace(
        data, x=(data.x @ vectors).astype(np.float32), head=penult.Head(data.head.weight @ vectors, data.head.bias)
    )
    more = {} if way.is_path else {"intercept": "none"}
    found = fit(client, data.upload(client), way, weights=weights, subspace=k, **more)
    by_hand = fit(client, inside.upload(client), way, weights=weights, **more)
    np.testing.assert_allclose(data.logits(found.head), inside.logits(by_hand.head), atol=way.atol)
    np.testing.assert_allclose(found.head.weight, by_hand.head.weight @ vectors.T, atol=way.atol)
    if k == data.x.shape[1] and not way.is_path:
        about = {"weights": weights, "center": "stored", **more}
        one, other = (fit(client, data.upload(client), way, **about, **inside) for inside in ({"subspace": k}, {}))
        same(one, other, data, way)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"standardize": True}, "standardize must be False with subspace="),
        ({"l1": 0.1}, "l1 must be 0 with subspace="),
        ({"grid": {"l1": [0.0, 0.1]}, "select": {"on": "half"}}, "l1 must be 0 with subspace="),
        ({"risk": "cvar"}, "risk must be the mean with subspace=, got cvar"),
        ({"path": {**GD, "keep": "best"}, "select": {"on": "half"}}, "path.keep must be 'last'"),
        ({"path": {**GD, "start": "stored"}}, "path.start must be the center"),
        ({"path": SGD, "balance": "upsampling", "by": "class"}, "balance must be one that weighs"),
        ({"subspace": 0}, "subspace must be a whole number, at least 1"),
        ({"subspace": 6}, "subspace must be at most 5"),
        (
            {"subspace": None, "grid": {"subspace": [1.5]}, "select": {"on": "half"}},
            "'subspace'. must be whole numbers",
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_subspace_is_refused(client: penult.Client, asked: Arguments, says: str) -> None:
    features = sample(WAYS["l2"], SEED).upload(client)
    with pytest.raises(penult.InvalidRequest, match=says):
        client.refit(features, **({"subspace": 2, "l2": 0.1, "standardize": False} | asked))


# Weights of the rows.


@of([name for name in EVERY if not WAYS[name].draws])
def test_weights_are_repeats(client: penult.Client, way: Way) -> None:
    """Weight k is the row k times. (Standardisation is unweighted, and minibatches draw other rows.)"""
    data = sample(way, SEED)
    times = weights_of(data.y.size)
    repeated = data.taken(np.repeat(np.arange(data.y.size), times))
    # The penalty of the mean is that of the mean: no rows' number enters.
    one = fit(client, data.upload(client), way, weights=times.astype(float))
    same(one, fit(client, repeated.upload(client), way), data, way)


def test_weights_have_no_scale(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    weights, features = weights_of(data.y.size) + 0.5, data.upload(client)
    one, other = (fit(client, features, way, weights=scale * weights) for scale in (1.0, 37.5))
    same(one, other, data, way)
    assert far(one, fit(client, features, way), data)


@pytest.mark.parametrize("standardize", [False, True])
def test_no_weight_is_no_row(client: penult.Client, way: Way, standardize: bool) -> None:
    data = sample(way, SEED)
    weights = weights_of(data.y.size)
    rows = np.flatnonzero(weights)
    one = fit(client, data.upload(client), way, weights=(weights > 0) * 1.0, standardize=standardize)
    other = fit(client, data.taken(rows).upload(client), way, standardize=standardize)
    same(one, other, data, way)
    assert one.n_rows == rows.size


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


# Order, names, and columns that change nothing.


@of([name for name in EVERY if not WAYS[name].draws])
def test_rows_in_another_order(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    order = np.random.default_rng(SEED + 1).permutation(data.y.size)
    for standardize in (False, True):
        one, other = (
            fit(client, each.upload(client), way, standardize=standardize) for each in (data, data.taken(order))
        )
        same(one, other, data, way)


def test_classes_in_another_order(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    order = np.roll(np.arange(way.n_classes), 1)
    # Class k is at place[k] of the other set, under its own name.
    place = np.argsort(order)
    head = penult.Head(weight=data.head.weight[order], bias=data.head.bias[order])
    turned = replace(data, y=place[data.y], head=head)
    names = [f"class {k}" for k in order]
    one = fit(client, data.upload(client), way, weights="errors", up=2.0)
    other = fit(client, turned.upload(client, classes=names), way, weights="errors", up=2.0)
    np.testing.assert_allclose(data.logits(one.head)[:, order], data.logits(other.head), atol=way.atol)


def test_attributes_in_another_order(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    turned = replace(data, a=1 - data.a)
    balance = {} if way.arguments.get("risk") == "group_dro" else {"balance": "upweighting", "by": "group"}
    one = fit(client, data.upload(client), way, **balance)
    other = fit(client, turned.upload(client, attribute_values=["out", "in"]), way, **balance)
    same(one, other, data, way)


@pytest.mark.parametrize("value", [0.0, 1.0, 4321.5])
def test_a_constant_column_changes_nothing(client: penult.Client, way: Way, value: float) -> None:
    data = sample(way, SEED)
    wider = replace(
        data,
        x=np.c_[data.x, np.full(data.y.size, value, np.float32)],
        head=penult.Head(weight=np.c_[data.head.weight, np.zeros(way.n_classes)], bias=data.head.bias),
    )
    one, other = (fit(client, each.upload(client), way, standardize=True) for each in (data, wider))
    np.testing.assert_array_equal(other.head.weight[:, -1], 0.0)
    np.testing.assert_allclose(data.logits(one.head), wider.logits(other.head), atol=way.atol)
    is_free = "intercept" not in way.arguments
    if is_free and not way.is_path and value < 2:
        raw, wide = (fit(client, each.upload(client), way) for each in (data, wider))
        np.testing.assert_array_equal(wide.head.weight[:, -1], 0.0)
        np.testing.assert_allclose(data.logits(raw.head), wider.logits(wide.head), atol=way.atol)


def test_a_constant_added_to_every_feature_changes_nothing(client: penult.Client, way: Way) -> None:
    """Standardised it is taken off; otherwise a free intercept takes it up. (A path's steps feel it.)"""
    data = sample(way, SEED)
    shift = np.float32(2.0)
    moved = replace(
        data, x=data.x + shift, head=replace(data.head, bias=data.head.bias - shift * data.head.weight.sum(axis=1))
    )
    is_free = "intercept" not in way.arguments
    for standardize in (True, False) if is_free and not way.is_path else (True,):
        one, other = (fit(client, each.upload(client), way, standardize=standardize) for each in (data, moved))
        np.testing.assert_allclose(data.logits(one.head), moved.logits(other.head), atol=max(way.atol, 5e-4))


@of([name for name in OPTIMA if "l1" not in WAYS[name].arguments and "l2" in WAYS[name].arguments])
def test_a_doubled_column(client: penult.Client, way: Way) -> None:
    """Under l2 two copies share what one column of sqrt(2) times their size would have."""
    data = sample(way, SEED)
    head = penult.Head(weight=np.c_[data.head.weight, data.head.weight[:, 0]], bias=data.head.bias)
    doubled = replace(data, x=np.c_[data.x, data.x[:, 0]], head=head)
    longer = replace(data, x=data.x * np.r_[np.sqrt(2), np.ones(data.x.shape[1] - 1)].astype(np.float32))
    one, other = (fit(client, each.upload(client), way) for each in (doubled, longer))
    np.testing.assert_allclose(one.head.weight[:, 0], one.head.weight[:, -1], atol=way.atol)
    np.testing.assert_allclose(doubled.logits(one.head), longer.logits(other.head), atol=way.atol)


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


# Standardisation.


def test_a_set_of_its_own(client: penult.Client, way: Way) -> None:
    """All rows of the set, the rows fitted when these are all, and the set named by itself are one scaling."""
    data = sample(way, SEED)
    features = data.upload(client)
    one, *others = (fit(client, features, way, standardize=each) for each in (True, "rows", "all", features))
    for other in others:
        same(one, other, data, way)
    # Without a penalty the scale of a column changes nothing.
    assert far(one, fit(client, features, way), data) is (way.is_path or bool({"l1", "l2"} & set(way.arguments)))


def test_another_set_scales(client: penult.Client, way: Way) -> None:
    """Standardised by another set is a refit on features so standardised beforehand."""
    data, training = sample(way, SEED), sample(replace(way, shape=(300, way.shape[1])), SEED + 1)
    wide = training.x.astype(np.float64)
    mean, scale = wide.mean(axis=0), wide.std(axis=0)
    scaled = replace(data, x=((data.x - mean) / scale).astype(np.float32))
    train = training.upload(client)
    one = fit(client, data.upload(client), way, standardize=train)
    other = fit(client, scaled.upload(client), way)
    np.testing.assert_allclose(data.logits(one.head), scaled.logits(other.head), atol=2 * way.atol)
    tuned = fit(
        client,
        data.upload(client),
        way,
        standardize=train,
        select={"on": training.upload(client), "standardize": train},
    )
    same(tuned, one, data, way)


# Paths.


@of(PATHS)
def test_path_fields(client: penult.Client, way: Way) -> None:
    """Momentum, decay, clipping, schedule and rate are those of a plain loop."""
    data = sample(way, SEED)
    features = data.upload(client)
    base = fit(client, features, way)
    path = way.arguments["path"]
    changes: list[Arguments] = [
        {"weight_decay": 0.3},
        {"clip_norm": 0.01},
        {"learning_rate": 0.5 * path["learning_rate"]},
    ]
    if path["optimizer"] != "adamw":
        changes.append({"momentum": 0.8})
        changes.append({"normalize": True})
    changes.append({"schedule": "cosine"})
    for change in changes:
        assert far(base, fit(client, features, way, path=change), data), change
    nothings: list[Arguments] = [{"clip_norm": 1e9}, {"clip_norm": 0.0}, {"schedule": "constant"}, {"keep": "last"}]
    for nothing in [*nothings, {"normalize": False}]:
        same(base, fit(client, features, way, path=nothing), data, way)


def plain_descent(data: Data, path: Arguments, l1: float, l2: float) -> penult.Head:
    """Full gradient descent as torch would do it, in float64."""
    n, k = data.y.size, data.n_classes
    x, onehot = np.c_[data.x, np.ones(n)].astype(np.float64), np.eye(k)[data.y]
    theta, velocity = np.zeros((k, x.shape[1])), None
    penalised = np.r_[np.ones(x.shape[1] - 1), 0.0]
    for step in range(path["steps"]):
        gradient = (softmax(x @ theta.T, axis=1) - onehot).T @ x / n
        gradient += penalised * (l2 * theta + l1 * np.sign(theta))
        norm = np.sqrt((gradient**2).sum())
        gradient *= 1 / norm if path.get("normalize") else min(1.0, path.get("clip_norm", np.inf) / (norm + 1e-6))
        gradient += path.get("weight_decay", 0.0) * theta
        velocity = gradient if velocity is None else path.get("momentum", 0.0) * velocity + gradient
        rate = path["learning_rate"]
        if path.get("schedule") == "cosine":
            rate *= (1 + np.cos(np.pi * step / path["steps"])) / 2
        theta = theta - rate * velocity
    return penult.Head(weight=theta[:, :-1], bias=theta[:, -1])


@pytest.mark.parametrize("name", ["gradient descent", "gradient descent, three classes"])
def test_descent_is_a_plain_loop(client: penult.Client, name: str) -> None:
    way = WAYS[name]
    data = sample(way, SEED)
    path = {**GD, "momentum": 0.6, "weight_decay": 0.02, "clip_norm": 0.4, "schedule": "cosine"}
    found = client.refit(data.upload(client), standardize=False, path=path, l1=0.01, l2=0.1)
    np.testing.assert_allclose(data.logits(found.head), data.logits(plain_descent(data, path, 0.01, 0.1)), atol=1e-4)


@of(PATHS)
def test_steps_and_epochs(client: penult.Client, way: Way) -> None:
    """An epoch is ceil(rows / batch_size) steps, and what a request names replaces what its preset had of both."""
    data = sample(way, SEED)
    features = data.upload(client)
    per_epoch = -(-data.y.size // way.arguments["path"].get("batch_size", data.y.size))
    asked = {**way.arguments["path"], "steps": None, "epochs": 2}
    one = client.refit(features, standardize=False, **(way.arguments | {"path": asked}))
    same(one, fit(client, features, way, path={"steps": 2 * per_epoch}), data, way)
    crt = client.refit(features, preset="reweight_crt", path={"epochs": 2})
    assert (crt.settings.path.steps, crt.settings.path.epochs, crt.certificate.iterations) == (0, 2, 4)
    with pytest.raises(penult.InvalidRequest, match="steps must be left out where epochs are given"):
        fit(client, features, way, path={"epochs": 3})


@of(PATHS)
def test_the_best_step(client: penult.Client, way: Way) -> None:
    """Of the kept step's number of steps the last iterate is the one that was kept."""
    data, held_out = sample(way, SEED), sample(way, SEED + 5)
    features, validation = data.upload(client), held_out.upload(client)
    if "schedule" in way.arguments["path"]:
        return
    best = fit(client, features, way, path={"keep": "best"}, select={"on": validation, "metric": "average"})
    same(best, fit(client, features, way, path={"steps": best.certificate.iterations}), data, way)


def test_ways_differ(client: penult.Client) -> None:
    """No way is another one: optimisers, batches and penalties have an effect."""
    data = sample(WAYS["l2"], SEED)
    features = data.upload(client)
    names = [name for name, way in WAYS.items() if way.n_classes == 2 and way.shape == (120, 5)]
    logits = [data.logits(fit(client, features, WAYS[name]).head) for name in names]
    apart = [(a, b) for i, a in enumerate(names) for j, b in enumerate(names) if i < j
             and np.abs(logits[i] - logits[j]).max() < 1e-3]  # fmt: skip
    assert apart == []


# Grids, selection, repeats, seeds, reports.


def test_one_candidate_is_the_plain_refit(client: penult.Client, way: Way) -> None:
    data, held_out = sample(way, SEED), sample(way, SEED + 5)
    features, validation = data.upload(client), held_out.upload(client)
    grids: list[tuple[str, float, Arguments]] = [("l2", 0.3, {}), ("class_ratio", 3.0, {})]
    if way.is_path:
        grids.append(("learning_rate", 0.01, {"path": {**way.arguments["path"]}}))
    for name, value, _ in grids:
        if name == "class_ratio" and (way.n_classes > 2 or way.arguments.get("risk") == "group_dro"):
            continue
        arguments = {key: given for key, given in way.arguments.items() if key != name}
        if name == "learning_rate":
            arguments["path"] = {key: given for key, given in way.arguments["path"].items() if key != name}
        plain = arguments | ({name: value} if name != "learning_rate" else {"path": arguments["path"] | {name: value}})
        one = client.refit(features, standardize=False, grid={name: [value]}, select={"on": validation}, **arguments)
        other = client.refit(features, standardize=False, **plain)
        same(one, other, data, way)
        shown = one.settings.path.learning_rate if name == "learning_rate" else getattr(one.settings, name)
        assert shown == value
    with pytest.raises(penult.InvalidRequest, match="l2 must be given once"):
        client.refit(features, l2=0.1, grid={"l2": [0.1, 0.2]}, select={"on": validation})


@pytest.mark.parametrize("metric", ["worst_group", "worst_class", "average", "mean_group"])
def test_the_winner_is_its_own_refit(client: penult.Client, metric: str) -> None:
    """The candidate with the best score by the metric computed here; refitted on all rows it is the plain refit."""
    way = WAYS["l2"]
    data, held_out = sample(way, SEED), sample(replace(way, shape=(300, 5)), SEED + 5)
    features, validation = data.upload(client), held_out.upload(client)
    values = [10.0, 1.0, 0.1, 0.01]
    found = client.refit(features, grid={"l2": values}, select={"on": validation, "metric": metric})
    g = 2 * held_out.y + held_out.a

    def score(head: penult.Head) -> float:
        right = head.logits(held_out.x).argmax(axis=1) == held_out.y
        by_group = [right[g == k].mean() for k in range(4)]
        by_class = [right[held_out.y == k].mean() for k in range(2)]
        return {
            "worst_group": min(by_group),
            "worst_class": min(by_class),
            "average": right.mean(),
            "mean_group": np.mean(by_group),
        }[metric]

    scores = [score(client.refit(features, l2=value).head) for value in values]
    assert found.selection is not None
    np.testing.assert_allclose([one.score for one in found.selection.candidates], scores, atol=1e-12)
    assert found.settings.l2 == values[int(np.argmax(scores))]
    half = client.refit(
        features, grid={"l2": values}, select={"on": "half", "metric": metric, "final": "refit", "standardize": "all"}
    )
    same(half, client.refit(features, l2=half.settings.l2), data, way)


def test_ties(client: penult.Client) -> None:
    data = sample(WAYS["l2"], SEED)
    features = data.upload(client)
    for ties, place in (("first", 0), ("last", 2)):
        found = client.refit(features, grid={"l2": [0.1, 0.1, 0.1]}, select={"on": features, "ties": ties})
        assert found.selection is not None
        assert [one is found.selection.chosen for one in found.selection.candidates].index(True) == place


def test_an_impossible_candidate_fails_alone(client: penult.Client) -> None:
    way = WAYS["l2"]
    data, held_out = sample(way, SEED), sample(way, SEED + 5)
    features, validation = data.upload(client), held_out.upload(client)
    for asked, failed, why in (
        ({"rows": "top_loss", "grid": {"top_k": [60, 5000]}, "l2": 0.1}, 1, "top_k must lie in"),
        (
            {"path": {**GD, "learning_rate": None}, "grid": {"learning_rate": [1e300, 0.1]}},
            0,
            "left the finite numbers",
        ),
    ):
        found = client.refit(features, select={"on": validation}, **asked)
        assert found.selection is not None
        candidates = found.selection.candidates
        assert why in candidates[failed].failure
        assert np.isnan(candidates[failed].score)
        assert found.selection.chosen is candidates[1 - failed]
        assert [note.id for note in found.notes] == ["failed_candidates"]
        name, values = next(iter(asked["grid"].items()))
        with pytest.raises(penult.InvalidRequest, match=why):
            client.refit(features, select={"on": validation}, **(asked | {"grid": {name: [values[failed]]}}))


def test_repeats_are_averaged(client: penult.Client, way: Way) -> None:
    """The mean of the heads of its draws, each of which is the refit of the rows that the plan lists."""
    data = sample(way, SEED)
    features = data.upload(client)
    one = fit(
        client,
        features,
        way,
        balance="subsetting",
        by="group",
        repeats=3,
        plan=True,
        select={"on": features, "repeats": 2},
    )
    assert one.plan is not None
    assert one.plan.row_ids.shape[0] == 2
    found = fit(client, features, way, balance="subsetting", by="group", repeats=3, plan=True)
    assert found.plan is not None
    assert len({rows.tobytes() for rows in found.plan.row_ids}) == 3
    if not way.draws:
        draws = [fit(client, features, way, rows=np.sort(rows.astype(int))) for rows in found.plan.row_ids]
        np.testing.assert_allclose(
            found.head.weight, np.mean([each.head.weight for each in draws], axis=0), atol=way.atol
        )


def test_seeds(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    features = data.upload(client)
    plain = [fit(client, features, way, seed=seed) for seed in (0, 1)]
    assert far(*plain, data) is way.draws
    drawn = [fit(client, features, way, balance="subsetting", by="group", seed=seed) for seed in (0, 1, 0)]
    assert far(drawn[0], drawn[1], data)
    np.testing.assert_array_equal(drawn[0].head.weight, drawn[2].head.weight)


def test_what_is_reported_changes_nothing(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    features = data.upload(client)
    plain = fit(client, features, way)
    told = fit(
        client, features, way, plan=True, evaluate={"it": features, "other": sample(way, SEED + 5).upload(client)}
    )
    np.testing.assert_array_equal(plain.head.weight, told.head.weight)
    right = told.head.logits(data.x).argmax(axis=1) == data.y
    assert told.metrics["it"].average_accuracy == pytest.approx(right.mean())


@of(OPTIMA)
def test_tolerance_bounds_the_gap(client: penult.Client, way: Way) -> None:
    """The gap is what was asked for; a solver that may not go on says that it did not converge."""
    data = sample(way, SEED)
    features = data.upload(client)
    for tolerance in (1e-2, 1e-4):
        found = fit(client, features, way, tolerance=tolerance)
        n_parts = way.n_classes if way.arguments.get("link") == "ovr" else 1
        if {"l1", "l2"} & set(way.arguments):
            assert 0 <= found.certificate.gap <= n_parts * tolerance * np.log(way.n_classes)
    if "no penalty" in str(way.arguments) or "risk" in way.arguments:
        return
    stopped = client.refit(features, standardize=False, **(way.arguments | {"max_iterations": 1, "tolerance": 1e-9}))
    if not stopped.certificate.converged:
        assert "not_converged" in [note.id for note in stopped.notes]
        assert "NOT CONVERGED" in repr(stopped)


# Refusals and presets.

REFUSED: list[tuple[Arguments, str]] = [
    ({"gamma": 4.0}, "gamma= .* weights='confidence'"),
    ({"up": 20.0}, "up= .* weights='errors'"),
    ({"alpha": 0.1}, "alpha= .* risk='cvar'"),
    ({"tau": 3.0}, "tau= .* offset='class_prior'"),
    ({"top_k": 20}, "top_k= .* rows='top_loss'"),
    ({"groups": "errors"}, "groups= .* by='group'"),
    ({"detector": {**GD}}, "detector= .* weights='detected'"),
    ({"detector_l1": 0.1}, "detector_l1= .* weights='detected'"),
    ({"missing_groups": "skip"}, "missing_groups='skip' .* by='group'"),
    ({"balance": "none", "by": "group"}, "by= .* balance="),
    ({"balance": "subsetting", "by": "class", "missing_groups": "skip"}, "missing_groups='skip' .* by='group'"),
    ({"repeats": 3}, "repeats= .* draws that differ"),
    ({"balance": "upweighting", "by": "class", "repeats": 3}, "repeats= .* draws that differ"),
    ({"weights": "errors", "up": 2.0, "gamma": 1.0}, "gamma= .* weights='confidence'"),
]
"""With every way. What goes with the grid is refused the same."""


@pytest.mark.parametrize(("asked", "says"), REFUSED, ids=[",".join(asked) for asked, _ in REFUSED])
def test_refused(client: penult.Client, way: Way, asked: Arguments, says: str) -> None:
    data = sample(way, SEED)
    features = data.upload(client)
    if "repeats" in asked and way.draws:
        assert far(fit(client, features, way, **asked), fit(client, features, way, **(asked | {"repeats": 1})), data)
        return
    if ("groups" in asked and way.arguments.get("risk") == "group_dro") or set(asked) <= set(way.arguments):
        return
    if asked.get("balance") == "upweighting" and way.arguments.get("risk") == "group_dro":
        says = "balance='upweighting' .* group DRO takes each group's own mean"
    with pytest.raises(penult.InvalidRequest, match=says):
        fit(client, features, way, **asked)
    name = next(iter(asked))
    if name in ("gamma", "up", "alpha", "tau", "top_k", "detector_l1"):
        with pytest.raises(penult.InvalidRequest, match=says):
            fit(client, features, way, grid={name: [1.0, 1.0]}, select={"on": features})


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"center": "stored"}, "center= .* l1= or l2="),
        ({"intercept": "penalized"}, "intercept='penalized' .* l1= or l2="),
        ({"penalty": "sum"}, "penalty='sum' .* l1= or l2="),
        ({"path": {**GD}, "tolerance": 1e-3}, "tolerance= .* optimum"),
        ({"path": {**GD}, "max_iterations": 10}, "max_iterations= .* optimum"),
        ({"path": {**ADAMW, "momentum": 0.5}}, "momentum must be left out for adamw"),
        ({"path": {**ADAMW, "normalize": True}}, "normalize must be left out for adamw"),
        ({"path": {**GD, "normalize": True, "clip_norm": 1.0}}, "clip_norm must be left out with normalize"),
        ({"group_ratio": 0.5}, "must be given with balance="),
        ({"balance": "upweighting", "by": "class", "group_ratio": 0.5}, "group_ratio= .* by='group'"),
        ({"balance": "mixture", "ratio": 2.0, "by": "group", "group_ratio": 0.5}, "group_ratio= .* 'upweighting'"),
        ({"balance": "upweighting", "by": "group", "group_ratio": 0.0}, "group_ratio must be above 0, at most 1"),
        ({"balance": "upweighting", "by": "group", "group_ratio": 1.5}, "group_ratio must be above 0, at most 1"),
        ({"link": "hinge", "intercept": "free"}, "intercept must be 'none' or 'penalized' with link='hinge'"),
        ({"link": "hinge", "l1": 0.1}, "l1 must be 0 with link='hinge'"),
        ({"link": "hinge", "path": {**GD}}, "link must be softmax or ovr on a path"),
        ({"link": "hinge", "subspace": 2, "standardize": False}, "subspace must be left out with link='hinge'"),
        ({"link": "hinge", "balance": "upweighting", "by": "group"}, "balance must be another than 'upweighting'"),
        ({"link": "hinge", "risk": "group_dro", "l2": 0.1}, "link must be softmax under a robust risk"),
        ({"path": {**GD, "learning_rate": 0}}, "learning_rate must be a finite number above 0"),
        ({"grid": {"learning_rate": [0.1, 0.2]}, "select": {"on": "half"}}, "learning_rate= .* path="),
        ({"risk": "group_dro", "class_ratio": 3.0, "l2": 0.1}, "class_ratio= .* group DRO"),
        ({"risk": "group_dro", "balance": "upweighting", "by": "group", "l2": 0.1}, "upweighting' .* group DRO"),
        ({"weights": "detected", "up": 2.0, "detector": {**GD, "keep": "best"}}, "detector.keep must be 'last'"),
        ({"balance": "subsetting", "by": "class", "ratio": 2.0}, "ratio= belongs to balance='mixture'"),
        ({"select": {"metric": "average"}}, "select must be given what scores"),
        ({"select": {"on": "half", "repeats": 3}}, "select.repeats .* draws that differ"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": 2.0}, "tolerance must be between 0 and 1"),
        ({"l2": -1.0}, "l2 must be 0, or a finite number of at least"),
        ({"balance": "mixture", "by": "group", "ratio": 0.5}, "ratio must be a finite number, at least 1"),
        ({"preset": "dfr", "repeats": 0}, r"repeats must be 1 \.\. 10000"),
        ({"risk": "group_dro"}, "above 0 under a robust risk"),
        ({"risk": "cvar", "alpha": 0.5, "grid": {"l2": [0.0, 0.1]}, "select": {"on": "half"}}, "under a robust risk"),
        ({"weights": np.zeros(120)}, "positive for at least one of the 120 rows"),
        ({"rows": np.arange(40), "weights": (np.arange(120) > 60) * 1.0}, "positive for at least one of the 40 rows"),
        ({"weights": np.zeros(120), "balance": "upweighting", "by": "group"}, "positive for at least one of the 120"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_goes_with_something_else_is_refused(client: penult.Client, asked: Arguments, says: str) -> None:
    features = sample(WAYS["l2"], SEED).upload(client)
    with pytest.raises(penult.InvalidRequest, match=says):
        client.refit(features, **asked)


def test_other_without_disagreement_is_refused(client: penult.Client) -> None:
    features = sample(WAYS["l2"], SEED).upload(client)
    for more in ({}, {"rows": "top_loss", "top_k": 9}):
        with pytest.raises(penult.InvalidRequest, match=r"other= .* rows='top_disagreement'"):
            client.refit(features, l2=0.1, other=features, **more)


@pytest.fixture(scope="module")
def for_presets(client: penult.Client) -> tuple[Data, Callable[[Data, str], Arguments]]:
    data = sample(Way(arguments={}, shape=(260, 6)), SEED)
    held_out = sample(Way(arguments={}, shape=(200, 6)), SEED + 5)
    validation = held_out.upload(client)

    def needed(own: Data, preset: str) -> Arguments:
        found: Arguments = (
            {"select": {"on": validation}}
            if preset in ("afr", "afr_celeba", "afr_multinli", "dfr_train", "leia")
            else {}
        )
        if preset == "dfr_2022":
            found["standardize"] = validation
        if preset == "self_disagreement":
            head = penult.Head(weight=-own.head.weight, bias=own.head.bias)
            found["other"] = replace(own, head=head).upload(client)
        if preset == "lfr":
            found["grid"] = {"top_k": [5, 15]}
        if preset.startswith("self"):
            found["grid"] = {"top_k": [20, 90], "learning_rate": [1e-2]}
        if preset in ("llr", "crt", "reweight_crt"):
            found["path"] = {"steps": 40}
        if preset in ("afr_celeba", "afr_multinli"):
            found["path"] = {"steps": 50}
        return found

    return data, needed


@pytest.mark.parametrize("preset", get_args(Preset))
def test_presets_are_their_settings(client: penult.Client, for_presets: Any, preset: str) -> None:
    """On rows listed, on an upload of these, with names in another order, and with a constant column."""
    data, needed = for_presets
    rows = np.flatnonzero(weights_of(data.y.size))
    few = data.taken(rows)
    turned = replace(few, a=1 - few.a)
    asked = needed(data, preset)
    one = (
        client.refit(data.upload(client), preset=preset, rows=rows, **asked)
        if not preset.startswith(("self", "lfr"))
        else None
    )
    own = needed(few, preset)
    uploaded = client.refit(few.upload(client), preset=preset, **own)
    atol = 0.03 if preset in ("group_dro", "cvar_dro", "eiil") else 5e-3
    if one is not None and preset not in ("dfr", "dfr_2023", "dfr_train"):
        np.testing.assert_allclose(data.logits(one.head), data.logits(uploaded.head), atol=atol)
    other = client.refit(turned.upload(client, attribute_values=["out", "in"]), preset=preset, **own)
    is_drawn_by_group = preset.startswith("dfr") or preset == "crt"
    if not is_drawn_by_group:
        np.testing.assert_allclose(data.logits(uploaded.head), data.logits(other.head), atol=atol)
    assert uploaded.settings.preset == preset
    told = client.refit(few.upload(client), preset=preset, evaluate={"it": few.upload(client)}, **own)
    np.testing.assert_array_equal(told.head.weight, uploaded.head.weight)


def test_a_part_that_is_replaced_takes_its_numbers_along(client: penult.Client, for_presets: Any) -> None:
    """A preset's own numbers for what a request replaces are left out, not refused."""
    data, _ = for_presets
    features = data.upload(client)
    plain = client.refit(features, l2=1e-3)
    for preset, replaced in (
        ("jtt", {"weights": "uniform"}),
        ("logit_adjusted", {"offset": "none"}),
        ("cvar_dro", {"risk": "mean", "l2": 1e-3}),
        ("eiil", {"risk": "mean"}),
        ("class_balanced", {"balance": "none"}),
    ):
        found = client.refit(features, preset=preset, **replaced)
        np.testing.assert_allclose(data.logits(found.head), data.logits(plain.head), atol=2e-2)
        assert (found.settings.up, found.settings.alpha, found.settings.tau) == (None, None, None)
    assert set(get_args(BalanceMethod)) == {"none", "subsetting", "upsampling", "upweighting", "mixture"}


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
