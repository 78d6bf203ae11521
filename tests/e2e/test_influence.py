"""Influence over the wire: real refits by hand beside it, every kind of refit, stored answers, and what is refused."""

import numpy as np
import pytest

import penult

N, D = 160, 6


def made(seed, n=N):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    a = np.where(rng.random(n) < 0.8, y, 1 - y)
    features = rng.standard_normal((n, D)) + 2
    features[:, 0] += 1.5 * y
    features[:, 1] += 2.0 * a
    return {"features": features.astype(np.float32), "y": y, "a": a, "row_id": rng.permutation(n).astype(np.uint64) + 5}


@pytest.fixture(scope="module")
def arrays():
    return made(1)


@pytest.fixture(scope="module")
def one(client, arrays):
    return client.features.upload(**arrays, classes=["cat", "dog"], attribute_values=["in", "out"], name="influenced")


@pytest.fixture(scope="module")
def held(client):
    """The classes in another order: names match them."""
    arrays = made(2, 80)
    arrays["y"] = 1 - arrays["y"]
    return client.features.upload(**arrays, classes=["dog", "cat"], attribute_values=["in", "out"], name="held")


def losses(client, head, held):
    """By hand, from the arrays alone."""
    back = client.features.read(held)
    z = back.features.astype(float) @ head.weight.T + head.bias
    y = 1 - back.y  # to the order of the head
    each = np.log(np.exp(z).sum(axis=1)) - z[np.arange(y.size), y]
    g = back.y * 2 + back.a
    return np.array([each[g == p].mean() for p in range(4)])


def test_a_row_that_is_really_removed(client, one, held, arrays):
    """Without standardisation and draws, the refit of the other rows is one that a user makes with `rows=`."""
    options = {"l2": 0.02, "standardize": False, "tolerance": 1e-13, "max_iterations": 500}
    refit = client.refit(one, **options)
    found = client.influence(refit, held, top_k=3, verify=4, seed=2)
    np.testing.assert_array_equal(np.sort(found.row_ids), np.sort(arrays["row_id"]))
    np.testing.assert_allclose(found.loss, losses(client, refit.head, held), rtol=1e-5)
    base = losses(client, refit.head, held)
    for row, real in zip(found.verified_row_ids, found.verified_change, strict=True):
        again = client.refit(one, **options, rows=np.setdiff1d(arrays["row_id"], [row]))
        np.testing.assert_allclose(losses(client, again.head, held) - base, real, rtol=1e-3, atol=1e-6)
    assert found.is_exact.all()
    assert (found.verified[:, 0] > 0.9999).all()
    np.testing.assert_allclose(found.verified[:, 1], 1.0, atol=1e-3)
    assert (found.verified[:, 2] < 1e-3).all()
    removal = found.counterfactual
    np.testing.assert_array_equal(removal.row_ids, found.most_harmful(removal.target, 3))
    again = client.refit(one, **options, rows=np.setdiff1d(arrays["row_id"], removal.row_ids), evaluate={"held": held})
    np.testing.assert_allclose(losses(client, again.head, held) - base, removal.change, rtol=1e-3, atol=1e-6)
    assert removal.worst_after == again.metrics["held"].worst_group_accuracy
    place = [group.name for group in found.groups].index(removal.target)
    assert removal.change[place] < 0
    assert removal.predicted[place] == pytest.approx(removal.change[place], rel=0.3)
    assert np.isfinite(found.own_change).all()
    # A row fits worse without itself, but for those whose loss is all but the penalty's doing.
    assert (found.own_change > 0).mean() > 0.9


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "dfr_l2", "repeats": 3},
        {"preset": "dfr", "grid": {"l1": [1.0, 0.1]}, "repeats": 2},
        {"l2": 0.1, "penalty": "sum", "link": "ovr", "intercept": "penalized"},
        {"l2": 0.05, "balance": "upweighting", "by": "class"},
    ],
    ids=["dfr_l2", "dfr", "liblinear", "upweighted"],
)
def test_refits_of_every_kind_agree_with_real_ones(client, one, held, options):
    refit = client.refit(one, **options)
    found = client.influence(refit, held, by="class", target="dog", top_k=2, verify=5)
    assert [group.name for group in found.groups] == ["dog", "cat"]
    assert found.repeats == options.get("repeats", 1)
    assert found.counterfactual is None or found.counterfactual.target == "dog"
    exact = np.isin(found.verified_row_ids, found.row_ids[found.is_exact])
    places = [found.row_ids.tolist().index(one) for one in found.verified_row_ids]
    error = np.abs(found.change[places] - found.verified_change)
    assert found.is_exact.sum() >= 10
    assert error[exact].max(initial=0.0) < 1e-4 * np.abs(found.verified_change).max()
    assert (found.verified[:, 0] > 0.9).all()
    assert found.n_draws.max() <= found.repeats


def test_it_is_stored_listed_saved_and_shown(client, one, held, tmp_path):
    refit = client.refit(one, l2=0.02)
    first, again = (client.influence(refit.digest, "held", by="all") for _ in range(2))
    assert (first.reused, again.reused) == (False, True)
    assert first.digest == again.digest
    assert client.results.list(kind="influence")[0].digest == first.digest
    for of in (one, held):
        assert client.results.list(kind="influence", feature_set=of)[0].digest == first.digest
    np.testing.assert_array_equal(client.results.get(first.digest).change, first.change)
    first.save(tmp_path / "influence.npz")
    np.testing.assert_array_equal(penult.load(tmp_path / "influence.npz").change, first.change)
    table = first.to_frame()
    assert len(table) == N
    assert table["on all"].tolist() == first.change[:, 0].tolist()
    by_group = first.group_influence()
    assert by_group.shape == (4, 1)
    assert np.average(by_group[:, 0], weights=[g.count for g in first.fitted_groups]) == pytest.approx(
        first.change.mean()
    )
    assert "Influence(160 rows" in repr(first)
    assert "without" in first._repr_html_()
    helpful, harmful = first.most_helpful("all", 200), first.most_harmful("all", 200)
    assert helpful.size + harmful.size == N
    assert not np.intersect1d(helpful, harmful).size


def test_rows_and_groupings_choose_whose_losses(client, one, held):
    refit = client.refit(one, l2=0.02)
    ids = client.features.read(held).row_id
    whole, some = (client.influence(refit, held, by="all", top_k=0, rows=rows) for rows in (None, ids[:40]))
    rest = client.influence(refit, held, by="all", top_k=0, rows=ids[40:])
    np.testing.assert_allclose((some.change + rest.change) / 2, whole.change, rtol=1e-9, atol=1e-15)
    values = np.arange(80) % 3
    thirds = client.groupings.upload(held, values, name="thirds")
    found = client.influence(refit, held, by=thirds, top_k=0)
    assert len(found.groups) == 6
    counts = np.array([group.count for group in found.groups])
    np.testing.assert_allclose(found.change @ counts / 80, whole.change[:, 0], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "arguments", "said"),
    [
        ({"path": {"optimizer": "gd", "learning_rate": 0.1, "steps": 3}}, {}, "no optimum"),
        ({"l2": 0.1, "risk": "group_dro"}, {}, "one of the mean loss"),
        ({"l2": 0.1, "subspace": 2, "standardize": False}, {}, "subspace"),
        ({"l2": 1e-6, "max_iterations": 1, "tolerance": 1e-12}, {}, "above its optimum"),
        ({"l2": 0.1}, {"target": "cat"}, "target must name a group"),
        ({"l2": 0.1}, {"target": "cat, in", "top_k": 0}, "top_k=0 asks for none"),
        ({"l2": 0.1}, {"top_k": 10_001}, "top_k must be"),
        ({"l2": 0.1}, {"verify": 65}, "verify must be"),
        ({"l2": 0.1}, {"by": "all", "rows": [1]}, "row"),
        ({"l1": 3.0, "link": "ovr", "intercept": "penalized"}, {}, "smaller l1"),
        ({"l2": 0.1, "link": "hinge"}, {}, "hinge losses, which have no curvature"),
        ({"grid": {"l2": [0, 10]}, "select": {"on": "half"}, "max_iterations": 1000}, {}, "no penalty"),
    ],
)
def test_what_has_no_influence_is_refused_with_what_to_do(client, one, held, options, arguments, said):
    refit = client.refit(one, **options)
    with pytest.raises(penult.InvalidRequest, match=said):
        client.influence(refit, held, **arguments)


def test_rows_that_a_draw_does_not_weigh_are_not_its_rows(client, one, held):
    refit = client.refit(one, l2=0.1, balance="upsampling", by="group", repeats=3, plan=True)
    found = client.influence(refit, held, top_k=0)
    rows, times = np.unique(refit.plan.row_ids[refit.plan.weights > 0], return_counts=True)
    order = np.argsort(found.row_ids)
    np.testing.assert_array_equal(found.row_ids[order], rows)
    np.testing.assert_array_equal(found.n_draws[order], times)
    assert times.min() < 3


def test_the_only_row_of_a_class_stays(client):
    rng = np.random.default_rng(4)
    alone = client.features.upload(features=rng.standard_normal((12, 3)).astype(np.float32), y=np.eye(12, dtype=int)[5])
    refit = client.refit(alone, l2=0.1)
    found = client.influence(refit, alone, by="all", top_k=0)
    assert found.row_ids[~found.is_exact].tolist() == [5]  # to first order: there is no optimum without it
    for argument, mend in (("verify", "another seed"), ("top_k", "leave out fewer")):
        arguments = {"top_k": 0, "verify": 0} | {argument: 12}
        target = {"target": "0"} if argument == "top_k" else {}
        with pytest.raises(penult.InvalidRequest, match=f"{argument}: without what is left out no row.*{mend}"):
            client.influence(refit, alone, by="class", **target, **arguments)


def test_only_a_refit_has_influence(client, one, held):
    with pytest.raises(penult.NotFound):
        client.influence("nosuchrefit", held)
    other = client.features.upload(features=np.eye(4, dtype=np.float32), y=np.arange(4) % 2)
    with pytest.raises(penult.InvalidRequest):
        client.influence(client.refit(one, l2=0.02), other)
