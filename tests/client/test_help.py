"""What `help` says: the objective of a refit and every convention, where a script's author looks first."""

import inspect
import pydoc

import pytest

import penult
from penult.refit_choices import PRESETS


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
        "[1e-4]",
    ],
)
def test_a_refit_s_help_states_its_objective_and_conventions(text: str, said: str) -> None:
    squeezed = " ".join(text.replace("|  ", " ").split())
    assert " ".join(said.split()) in squeezed


def test_a_refit_s_help_names_every_argument_and_preset(text: str) -> None:
    arguments = set(inspect.signature(penult.Client.refit).parameters) - {"self"}
    assert [
        name for name in arguments if f"{name} :" not in text and f"{name}," not in text and f", {name}" not in text
    ] == []
    assert [name for name in PRESETS if f'"{name}"' not in text] == []
