"""What `help` says: the objective of a refit and every convention, where a script's author looks first."""

import inspect
import pydoc
import re
from typing import get_args

import pytest

import penult
from penult.types import Preset


@pytest.fixture(scope="module")
def text() -> str:
    return pydoc.plain(pydoc.render_doc(penult.Client.refit))


@pytest.mark.parametrize(
    "said",
    [
        "sum_i s_i CE(W z_i + b + o_i, y_i)  +  l1 |W - W0|_1  +  l2/2 |W - W0|^2",
        "sum_i s_i = 1",
        "in nats, softmax over C classes also when C = 2",
        "weighted *mean*",
        "the bias is free (not\n",
        "z_i are standardised features",
        "acts on\n        raw features",
        "l = 1 / (C n) in scikit-learn's terms",
        "its l2 counts half",
        "divisor n, unweighted",
        "duality gap is at most tolerance * log(C)",
        "[1e-6;",
    ],
)
def test_a_refit_s_help_states_its_objective_and_conventions(text: str, said: str) -> None:
    squeezed = " ".join(text.replace("|  ", " ").split())
    assert " ".join(said.split()) in squeezed


def test_a_refit_s_help_names_every_argument_and_preset() -> None:
    """In the docstring alone: help shows the signature too, which names them all anyhow."""
    doc = inspect.getdoc(penult.Client.refit) or ""
    arguments = set(inspect.signature(penult.Client.refit).parameters) - {"self"}
    entries = {name for line in re.findall(r"^(\w+(?:, \w+)*) :", doc, re.MULTILINE) for name in line.split(", ")}
    assert arguments - entries - set(re.findall(r"`(\w+)`", doc)) == set()
    assert [name for name in get_args(Preset) if f'"{name}"' not in doc] == []
