"""Paths of gradient steps.

For the matrix of `refit_matrix`; see `refit_checks` for how many ways a check takes.
"""

import numpy as np
import pytest
from refit_checks import PATHS, SEED, far, fit, of, same
from refit_matrix import GD, WAYS, Arguments, Data, Way, sample
from scipy.special import softmax

import penult


@of(PATHS)
def test_path_fields(client: penult.Client, way: Way) -> None:
    """Momentum, decay, clipping, schedule and rate are those of a plain loop."""
    data = sample(way, SEED)
    features = data.upload(client)
    base = fit(client, features, way)
    path = way.arguments["path"]
    changes: list[Arguments] = [
        {"weight_decay": 0.3},
        {"clip_norm": 0.01},
        {"learning_rate": 0.5 * path["learning_rate"]},
    ]
    if path["optimizer"] != "adamw":
        changes.append({"momentum": 0.8})
        changes.append({"normalize": True})
    changes.append({"schedule": "cosine"})
    for change in changes:
        assert far(base, fit(client, features, way, path=change), data), change
    nothings: list[Arguments] = [{"clip_norm": 1e9}, {"clip_norm": 0.0}, {"schedule": "constant"}, {"keep": "last"}]
    for nothing in [*nothings, {"normalize": False}]:
        same(base, fit(client, features, way, path=nothing), data, way)


def plain_descent(data: Data, path: Arguments, l1: float, l2: float) -> penult.Head:
    """Full gradient descent as torch would do it, in float64."""
    n, k = data.y.size, data.n_classes
    x, onehot = np.c_[data.x, np.ones(n)].astype(np.float64), np.eye(k)[data.y]
    theta, velocity = np.zeros((k, x.shape[1])), None
    penalised = np.r_[np.ones(x.shape[1] - 1), 0.0]
    for step in range(path["steps"]):
        gradient = (softmax(x @ theta.T, axis=1) - onehot).T @ x / n
        gradient += penalised * (l2 * theta + l1 * np.sign(theta))
        norm = np.sqrt((gradient**2).sum())
        gradient *= 1 / norm if path.get("normalize") else min(1.0, path.get("clip_norm", np.inf) / (norm + 1e-6))
        gradient += path.get("weight_decay", 0.0) * theta
        velocity = gradient if velocity is None else path.get("momentum", 0.0) * velocity + gradient
        rate = path["learning_rate"]
        if path.get("schedule") == "cosine":
            rate *= (1 + np.cos(np.pi * step / path["steps"])) / 2
        theta = theta - rate * velocity
    return penult.Head(weight=theta[:, :-1], bias=theta[:, -1])


@pytest.mark.parametrize("name", ["gradient descent", "gradient descent, three classes"])
def test_descent_is_a_plain_loop(client: penult.Client, name: str) -> None:
    way = WAYS[name]
    data = sample(way, SEED)
    path = {**GD, "momentum": 0.6, "weight_decay": 0.02, "clip_norm": 0.4, "schedule": "cosine"}
    found = client.refit(data.upload(client), standardize=False, path=path, l1=0.01, l2=0.1)
    np.testing.assert_allclose(data.logits(found.head), data.logits(plain_descent(data, path, 0.01, 0.1)), atol=1e-4)


@of(PATHS)
def test_steps_and_epochs(client: penult.Client, way: Way) -> None:
    """An epoch is ceil(rows / batch_size) steps, and what a request names replaces what its preset had of both."""
    data = sample(way, SEED)
    features = data.upload(client)
    per_epoch = -(-data.y.size // way.arguments["path"].get("batch_size", data.y.size))
    asked = {**way.arguments["path"], "steps": None, "epochs": 2}
    one = client.refit(features, standardize=False, **(way.arguments | {"path": asked}))
    same(one, fit(client, features, way, path={"steps": 2 * per_epoch}), data, way)
    crt = client.refit(features, preset="reweight_crt", path={"epochs": 2})
    assert (crt.settings.path.steps, crt.settings.path.epochs, crt.certificate.iterations) == (0, 2, 4)
    with pytest.raises(penult.InvalidRequest, match="steps must be left out where epochs are given"):
        fit(client, features, way, path={"epochs": 3})


@of(PATHS)
def test_the_best_step(client: penult.Client, way: Way) -> None:
    """Of the kept step's number of steps the last iterate is the one that was kept."""
    data, held_out = sample(way, SEED), sample(way, SEED + 5)
    features, validation = data.upload(client), held_out.upload(client)
    if "schedule" in way.arguments["path"]:
        return
    best = fit(client, features, way, path={"keep": "best"}, select={"on": validation, "metric": "average"})
    same(best, fit(client, features, way, path={"steps": best.certificate.iterations}), data, way)


def test_ways_differ(client: penult.Client) -> None:
    """No way is another one: optimisers, batches and penalties have an effect."""
    data = sample(WAYS["l2"], SEED)
    features = data.upload(client)
    names = [name for name, way in WAYS.items() if way.n_classes == 2 and way.shape == (120, 5)]
    logits = [data.logits(fit(client, features, WAYS[name]).head) for name in names]
    apart = [(a, b) for i, a in enumerate(names) for j, b in enumerate(names) if i < j
             and np.abs(logits[i] - logits[j]).max() < 1e-3]  # fmt: skip
    assert apart == []
