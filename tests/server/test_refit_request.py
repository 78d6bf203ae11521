"""Requests made complete: presets, what replaces their parts, grids, and what is refused."""

import pytest

from penult_proto.fields.refit import GRID
from penult_proto.presets import DFR_PENALTIES, PRESETS
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.front.queries.refits.defaults import NUMBERS
from penult_server.front.queries.refits.request import expand
from penult_server.questions.refit_scalars import candidates_of, read_scalar, write_scalar

NEEDED = {
    "dfr_2022": pb.RefitRequest(scaling=pb.Scaling(kind=pb.SCALING_KIND_SET, feature_set="t")),
    "self_disagreement": pb.RefitRequest(rows=pb.Rows(other="o")),
} | dict.fromkeys(
    ("dfr_train", "afr", "afr_celeba", "afr_multinli", "leia"), pb.RefitRequest(select=pb.Select(feature_set="v"))
)


def expanded(preset: str = "", **fields) -> pb.RefitRequest:
    request = pb.RefitRequest(preset=preset, feature_set="f")
    request.MergeFrom(NEEDED.get(preset, pb.RefitRequest()))
    request.MergeFrom(pb.RefitRequest(**fields))
    expand(request)
    return request


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_every_preset_says_everything_and_is_its_own_expansion(preset):
    request = expanded(preset)
    for name in ("repeats", "balance", "center", "scaling", "weights", "rows", "offset", "risk"):
        assert request.HasField(name), name
    on_grid = {axis.name for axis in request.grid}
    assert all(request.HasField(name) != (name in on_grid) for name in ("l1", "l2"))
    assert min(request.intercept, request.link, request.penalty_scale, request.groups) > 0
    assert request.HasField("tolerance") == request.HasField("max_iterations") == (not request.HasField("path"))
    again = pb.RefitRequest()
    again.CopyFrom(request)
    again.preset = ""
    expand(again)
    again.preset = preset
    assert again == request


@pytest.mark.parametrize("preset", [name for name in NEEDED if name != "self_disagreement"])
def test_what_a_preset_cannot_know_must_be_given(preset):
    with pytest.raises(ServiceError, match=r"select|standardize"):
        expand(pb.RefitRequest(preset=preset, feature_set="f"))


def test_dfr_by_its_script():
    request = expanded("dfr_2022")
    assert (
        [c.l1 for c in candidates_of(request)] == DFR_PENALTIES == [1 / c for c in (1, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)]
    )
    assert (request.repeats, request.select.repeats, request.select.half) == (20, 1, True)
    assert request.select.scaling.kind == pb.SCALING_KIND_ROWS
    assert (request.intercept, request.link) == (pb.INTERCEPT_PENALIZED, pb.LINK_OVR)
    assert request.balance.by == groups_pb2.BALANCE_BY_GROUP


def test_a_random_head_is_to_start_from_only():
    random = pb.HeadSource(kind=pb.HEAD_KIND_RANDOM)
    assert expanded("rad_celeba").weights.detector.start == random
    with pytest.raises(ServiceError, match="center must be a head to penalise towards"):
        expanded(l2=0.1, center=random)


def test_afr_has_132_settings_with_twice_its_lambda():
    candidates = list(candidates_of(expanded("afr")))
    assert len(candidates) == 132
    assert (candidates[0].weights.gamma, candidates[-1].weights.gamma) == (4, 20)
    assert [c.l2 for c in candidates[:4]] == [0, 0.2, 0.4, 0.6]


def test_afr_s_grids_on_celeba():
    candidates = list(candidates_of(expanded("afr_celeba")))
    assert len(candidates) == 30
    assert [c.l2 for c in candidates[:3]] == pytest.approx([0.002, 0.02, 0.2])
    assert (candidates[0].weights.gamma, candidates[-1].weights.gamma) == (1, 3)
    assert (candidates[0].path.learning_rate, candidates[0].path.steps) == (0.02, 1000)


def test_a_number_given_takes_its_axis_off_the_grid():
    request = expanded("dfr", l1=0.5)
    assert (list(request.grid), request.l1, request.HasField("select")) == ([], 0.5, False)
    request = expanded("afr", l2=0.1)
    assert [axis.name for axis in request.grid] == ["gamma"]
    both = expanded("afr", l2=0.1, weights=pb.Weights(gamma=3.0))
    assert (list(both.grid), both.weights.gamma) == ([], 3.0)
    assert both.weights.kind == pb.WEIGHTS_KIND_CONFIDENCE
    assert both.HasField("select"), "the best step is still chosen"


def test_an_axis_replaces_the_preset_s():
    request = expanded("afr", grid=[pb.GridAxis(name="gamma", values=[1.0])])
    assert {axis.name: list(axis.values) for axis in request.grid} == {"l2": [0, 0.2, 0.4, 0.6], "gamma": [1.0]}


def test_every_number_can_be_read_and_written():
    for name in GRID:
        request = pb.RefitRequest()
        assert read_scalar(request, name) is None
        write_scalar(request, name, 3.0)
        assert read_scalar(request, name) == 3.0


def test_every_number_has_a_range():
    assert set(NUMBERS) == set(GRID)


@pytest.mark.parametrize(
    ("preset", "fields", "said"),
    [
        ("none", {}, "there is no preset"),
        ("", {"l1": -1.0}, "l1 must be"),
        ("dfr", {"repeats": 0}, "repeats must be"),
        ("", {"l2": 5e-324}, "l2 must be"),
        ("", {"tolerance": 2.0}, "tolerance must be"),
        ("", {"balance": groups_pb2.Balance(method=5, by=1, ratio=0.5)}, "ratio must be a finite number, at least 1"),
        ("", {"grid": [pb.GridAxis(name="l1", values=[1, 2])]}, "need something to be chosen by"),
        ("", {"grid": [pb.GridAxis(name="l3", values=[1])]}, "number to put on a grid"),
        ("dfr", {"grid": [pb.GridAxis(name="l1", values=[1, -1])]}, "l1 must be"),
        ("dfr", {"grid": [pb.GridAxis(name="l1"), pb.GridAxis(name="l1")]}, "axes of different names"),
        ("", {"path": pb.Path(learning_rate=0.1, steps=3)}, "optimizer"),
        ("", {"path": pb.Path(optimizer=pb.PATH_OPTIMIZER_GD, learning_rate=0.1)}, "epochs"),
        ("", {"path": pb.Path(optimizer=pb.PATH_OPTIMIZER_GD, steps=3)}, "learning_rate"),
        ("", {"path": pb.Path(optimizer=pb.PATH_OPTIMIZER_SGD, learning_rate=0.1, steps=3)}, "batch_size"),
        ("crt", {"risk": pb.Risk(kind=pb.RISK_KIND_CVAR)}, "risk"),
        ("group_dro", {"link": pb.LINK_OVR}, "link"),
        ("cvar_dro", {"risk": pb.Risk(alpha=0.0)}, "alpha"),
        ("jtt", {"weights": pb.Weights(up=0.0)}, "up must be"),
        ("self", {"grid": [pb.GridAxis(name="top_k", values=[0])]}, "top_k"),
        ("afr", {"select": pb.Select(final=pb.SELECT_FINAL_REFIT)}, "select.final"),
    ],
)
def test_what_makes_no_sense_is_refused(preset, fields, said):
    with pytest.raises(ServiceError, match=said):
        expanded(preset, **fields)
