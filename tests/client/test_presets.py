"""Presets are one list: what the help says, what the names are, and what the server fills in."""

import inspect
from typing import get_args

import pytest

import penult
from penult.calls.methods.presets import presets
from penult.types import Preset
from penult.wire.encode_refits import refit_request
from penult_proto.presets import PRESETS
from penult_proto.v1 import refits_pb2 as pb


def test_the_names_are_those_of_the_list() -> None:
    assert list(get_args(Preset)) == list(PRESETS) == [one.name for one in presets()]


def test_the_help_says_each_sentence_with_its_source() -> None:
    said = " ".join((inspect.getdoc(penult.Client.refit) or "").split())
    assert "[presets]" not in said
    for one in presets():
        assert one.sentence
        assert repr(one) in said
        assert one.source in said


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_arguments_that_a_preset_sets_ask_for_what_it_is(name: str) -> None:
    (one,) = [one for one in presets() if one.name == name]
    expected = pb.RefitRequest()
    expected.CopyFrom(PRESETS[name].request)
    expected.feature_set = "f"
    if name == "dfr_2022":
        # Standardises by a set that the user gives.
        expected.ClearField("scaling")
    assert refit_request({"features": "f", **one.sets}) == expected  # pyright: ignore[reportArgumentType]


def test_presets_are_a_table() -> None:
    table = presets().to_frame()
    assert list(table["name"]) == list(PRESETS)
    assert list(table.columns) == ["name", "sentence", "source", "sets"]
    assert presets()["dfr_l2"].sets["repeats"] == 10
    assert repr(presets()).startswith('"erm" : plain logistic regression')
