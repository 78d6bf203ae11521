"""What is refused, and presets as their settings.

For the matrix of `refit_matrix`; see `refit_checks` for how many ways a check takes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from refit_checks import EVERY, SEED, far, fit, of, weights_of
from refit_matrix import ADAMW, GD, WAYS, Arguments, Data, Way, sample

import penult
from penult.types import BalanceMethod, Preset

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


@of(EVERY)
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
