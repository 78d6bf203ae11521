"""What changes nothing: the order of rows, names and columns, constants, scales; and a subspace of the columns.

For the matrix of `refit_matrix`; see `refit_checks` for how many ways a check takes.
"""

from dataclasses import replace

import numpy as np
import pytest
from refit_checks import EVERY, OPTIMA, SEED, far, fit, of, same, weights_of
from refit_matrix import GD, SGD, WAYS, Arguments, Way, sample

import penult

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


@of(EVERY)
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


@of(EVERY)
def test_attributes_in_another_order(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    turned = replace(data, a=1 - data.a)
    balance = {} if way.arguments.get("risk") == "group_dro" else {"balance": "upweighting", "by": "group"}
    one = fit(client, data.upload(client), way, **balance)
    other = fit(client, turned.upload(client, attribute_values=["out", "in"]), way, **balance)
    same(one, other, data, way)


@of(EVERY)
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


@of(EVERY)
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


# Standardisation.


@of(EVERY)
def test_a_set_of_its_own(client: penult.Client, way: Way) -> None:
    """All rows of the set, the rows fitted when these are all, and the set named by itself are one scaling."""
    data = sample(way, SEED)
    features = data.upload(client)
    one, *others = (fit(client, features, way, standardize=each) for each in (True, "rows", "all", features))
    for other in others:
        same(one, other, data, way)
    # Without a penalty the scale of a column changes nothing.
    assert far(one, fit(client, features, way), data) is (way.is_path or bool({"l1", "l2"} & set(way.arguments)))


@of(EVERY)
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
