"""What `help` says, where a script's author looks first: where to begin, a refit's objective and every convention."""

import inspect
import os
import pydoc
import re
import subprocess
import sys
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


def test_the_package_s_help_begins_with_what_one_calls() -> None:
    """With `local`, `connect` and `Client`, each with an example; classes, exceptions first, are listed far below."""
    before, _, _ = pydoc.plain(pydoc.render_doc(penult)).partition("PACKAGE CONTENTS")
    name, _, title, first, *lines = before.splitlines()[3:]
    assert (name, title) == (f"    penult - {(penult.__doc__ or '').splitlines()[0]}", "DESCRIPTION")
    entries = [line.split()[0] for line in (first, *lines) if line.startswith("    penult.")]
    assert entries == ["penult.local(root)", "penult.connect(address)", "penult.Client"]
    assert first.startswith(f"    {entries[0]}")
    examples = "\n".join(line[8:] for line in lines if line.startswith("        "))
    compile(examples, "help(penult)", "exec")
    for called in ("penult.local(", "penult.connect(", "client.finetune(", "client.spectra(", "client.refit("):
        assert called in examples
    assert before.index("PenultError") > before.index("client.refit(")
    assert penult.__all__[:3] == ["local", "connect", "Client"]


def test_every_public_name_is_typed_and_loaded_from_one_place() -> None:
    """The imports that type checkers read, and the table that is used when the program runs."""
    source = inspect.getsource(penult)
    typed = re.findall(r"^    from (penult[\w.]*) import (\w+) as \2$", source, re.MULTILINE)
    assert sorted(name for _, name in typed) == sorted(set(penult.__all__) - {"__version__"})
    for module, name in typed:
        assert getattr(penult, name) is getattr(sys.modules[module], name)


@pytest.mark.parametrize(
    "command", [["-m", "penult"], ["-c", "import sys; from penult.cli.main import main; sys.exit(main())"]]
)
def test_the_command_line_s_help_begins_plainly(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "100"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "Usage: penult [OPTIONS] COMMAND [ARGS]...\n\n  Finetune a model, cache its penultimate features"
    )
    assert "penult demo" in done.stdout
