"""The examples at the head of the help of a call, run against a real server on small images."""

import inspect
import textwrap

import numpy as np
import pytest

import penult
from penult.calls.features import FeatureSets

SMALL = {"footwear": "shapes", '"tf_efficientnet_lite0"': '"test_resnet", pretrained=False, batch_size=8'}


@pytest.fixture(scope="module")
def names(client, table, tiny):
    """What the examples name."""
    client.datasets.register("shapes", table)
    run = client.finetune(dataset="shapes", epochs=1, **tiny).wait()
    rng = np.random.default_rng(0)
    arrays = {"X": rng.standard_normal((40, 4)).astype(np.float32), "y": np.arange(40) % 2, "a": np.arange(40) // 2 % 2}
    head = {"weight": np.ones((2, 4), np.float32), "bias": np.zeros(2, np.float32)}
    sets = client.extract(run.checkpoints[-1]).wait()
    return {"penult": penult, "client": client, "run": run, "sets": sets} | arrays | head


@pytest.mark.parametrize(
    "call", [penult.Client.finetune, penult.Client.refit, penult.Client.spectra, FeatureSets.upload]
)
def test_the_examples_of_a_call_run(names, call):
    _, examples, *_ = (inspect.getdoc(call) or "").split("\n\n")
    lines = textwrap.dedent(examples)
    assert lines.count("client.") >= 3
    for there, here in SMALL.items():
        lines = lines.replace(there, here)
    exec(compile(lines, call.__qualname__, "exec"), dict(names))
