"""Grids, selection, repeats, seeds and what is reported.

For the matrix of `refit_matrix`; see `refit_checks` for how many ways a check takes.
"""

from dataclasses import replace

import numpy as np
import pytest
from refit_checks import EVERY, OPTIMA, SEED, far, fit, of, same
from refit_matrix import GD, WAYS, Arguments, Way, sample

import penult


@of(EVERY)
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


@of(EVERY)
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


@of(EVERY)
def test_seeds(client: penult.Client, way: Way) -> None:
    data = sample(way, SEED)
    features = data.upload(client)
    plain = [fit(client, features, way, seed=seed) for seed in (0, 1)]
    assert far(*plain, data) is way.draws
    drawn = [fit(client, features, way, balance="subsetting", by="group", seed=seed) for seed in (0, 1, 0)]
    assert far(drawn[0], drawn[1], data)
    np.testing.assert_array_equal(drawn[0].head.weight, drawn[2].head.weight)


@of(EVERY)
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
