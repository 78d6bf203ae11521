"""XRM's twin heads: the authors' loop for one seed, planted groups, symmetries, every array library."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from penult_kernels.groupings import twin_heads as module
from penult_kernels.groupings.twin_heads import TwinHeads, crossed, twin_heads

STEPS, RATE = 80, 0.05
"""Of the descents that are compared with the authors' loop: enough for many labels to flip."""


def planted(
    n: int, d: int, *, n_classes: int = 2, agree: float = 0.95, seed: int = 0
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Features whose columns say the class weakly and a shortcut strongly; classes; whether the shortcut misleads."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    misleads = rng.random(n) > agree
    a = np.where(misleads, (y + 1) % n_classes, y)
    features = 0.3 * rng.standard_normal((n, d))
    features[:, :n_classes] += np.eye(n_classes)[y]
    features[:, n_classes : 2 * n_classes] += 2.5 * np.eye(n_classes)[a]
    return features - features.mean(axis=0), y, misleads


def plain_loop(features: NDArray[Any], y: NDArray[Any], n_classes: int, *, seed: int) -> tuple[NDArray[Any], float]:
    """One seed as the authors write it, with our coins: both heads (2, K, D), and the share of labels that differ."""
    draw = np.random.default_rng(seed)
    x, labels = torch.from_numpy(features), torch.from_numpy(y)
    is_a = torch.from_numpy(draw.random(len(y)) < 0.5)[:, None]
    twins = [torch.zeros(n_classes, x.shape[1], dtype=x.dtype, requires_grad=True) for _ in range(2)]
    descent = torch.optim.SGD(twins, lr=RATE)
    for _ in range(STEPS):
        of_a, of_b = (x @ twin.T for twin in twins)
        losses = torch.nn.functional.cross_entropy(torch.where(is_a, of_a, of_b), labels, reduction="none")
        descent.zero_grad()
        torch.stack([losses[labels == c].mean() for c in labels.unique()]).sum().backward()
        descent.step()
        sure, said = torch.where(is_a, of_b, of_a).detach().softmax(dim=1).max(dim=1)
        chance = torch.from_numpy(draw.random(len(y), np.float32)).to(x.dtype)
        labels = torch.where(chance < (sure - 1 / n_classes) * n_classes / (n_classes - 1), said, labels)
    weight = np.stack([twin.detach().numpy() for twin in twins])
    return weight, float(np.mean(labels.numpy() != y))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shape", [(90, 8), (20, 40)], ids=["by-features", "by-rows"])
def test_each_seed_is_the_authors_loop(n_classes: int, shape: tuple[int, int]):
    features, y, _ = planted(*shape, n_classes=n_classes)
    found = twin_heads(features, y, n_classes, seeds=[3, 8], steps=STEPS, learning_rate=RATE)
    for place, seed in enumerate([3, 8]):
        weight, flipped = plain_loop(features, y, n_classes, seed=seed)
        np.testing.assert_allclose(found.weight[place], weight, rtol=0, atol=1e-12 * np.abs(weight).max())
        assert found.flipped[place] == flipped > 0


def test_planted_groups_are_found():
    features, y, misleads = planted(1500, 24)
    twins = twin_heads(features.astype(np.float32), y, 2, seeds=range(5), steps=1000)
    vote = crossed(twins.weight, features, y).mean(axis=0) > 0.5
    for c in range(2):
        assert adjusted_rand_score(misleads[y == c], vote[y == c]) > 0.9
    other, other_y, other_misleads = planted(800, 24, seed=1)
    vote = crossed(twins.weight, other, other_y).mean(axis=0) > 0.5
    assert adjusted_rand_score(other_misleads, vote) > 0.9


def test_swapping_twins_changes_no_group():
    features, y, _ = planted(200, 6, n_classes=3)
    twins = twin_heads(features, y, 3, seeds=[0, 1], steps=200)
    swapped = crossed(twins.weight[:, ::-1], features, y)
    np.testing.assert_array_equal(swapped, crossed(twins.weight, features, y))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_renaming_the_classes_renames_the_heads(n_classes: int):
    features, y, _ = planted(150, 10, n_classes=n_classes)
    name = np.random.default_rng(0).permutation(n_classes)[::-1]
    one = twin_heads(features, y, n_classes, seeds=[4], steps=100)
    other = twin_heads(features, name[y], n_classes, seeds=[4], steps=100)
    np.testing.assert_allclose(other.weight[:, :, name], one.weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_library(backend: Any, n_classes: int, dtype: str, monkeypatch: pytest.MonkeyPatch):
    features, y, _ = planted(60, 7, n_classes=n_classes)
    features = features.astype(dtype)
    host = twin_heads(features, y, n_classes, seeds=[0, 1], steps=40)
    for most in (2**28, 0):
        monkeypatch.setattr(module, "MOST_GRAM_BYTES", most)
        found = twin_heads(backend.array(features), backend.array(y), n_classes, seeds=[0, 1], steps=40)
        assert backend.owns(found.weight)
        close(found, host, 1e-5 if dtype != "float64" else 1e-12)
        said = crossed(found.weight, backend.array(features), y)
        np.testing.assert_array_equal(said, crossed(host.weight, features, y))


def close(found: TwinHeads, expected: TwinHeads, tolerance: float) -> None:
    weight = np.asarray(module.to_host(found.weight))
    np.testing.assert_allclose(weight, expected.weight, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found.flipped, expected.flipped)


def test_halves_are_multiplied_as_single_floats():
    features, y, _ = planted(60, 7)
    halves = features.astype(np.float16)
    found, expected = (twin_heads(x, y, 2, seeds=[0], steps=40) for x in (halves, halves.astype(np.float32)))
    np.testing.assert_array_equal(found.weight, expected.weight)
    np.testing.assert_array_equal(crossed(found.weight, halves, y), crossed(found.weight, halves.astype(np.float32), y))


def test_a_seed_does_not_depend_on_the_others():
    features, y, _ = planted(80, 5)
    alone = twin_heads(features, y, 2, seeds=[2], steps=50)
    among = twin_heads(features, y, 2, seeds=[0, 2, 1], steps=50)
    np.testing.assert_allclose(among.weight[1], alone.weight[0], rtol=0, atol=1e-13)


def test_one_class_has_no_twins():
    with pytest.raises(ValueError, match="at least two classes"):
        twin_heads(np.zeros((3, 2)), np.zeros(3, np.int64), 1, seeds=[0])


def test_a_check_ends_the_descent():
    taken: list[int] = []

    def check() -> None:
        if len(taken) == 3:
            raise KeyboardInterrupt

    features, y, _ = planted(20, 4)
    with pytest.raises(KeyboardInterrupt):
        twin_heads(features, y, 2, seeds=[0], check=check, report=lambda done, total: taken.append(done))
    assert taken == [1, 2, 3]
