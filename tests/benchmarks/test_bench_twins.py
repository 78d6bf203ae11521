"""XRM's twin heads of ten seeds beside ten runs of the authors' loop in torch."""

from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from turns import seconds_in_turns

from penult_kernels.groupings.twin_heads import twin_heads
from penult_kernels.products import spread_over

ALL_STEPS = 3000
SEEDS = 10


def torch_loop(x: torch.Tensor, y: torch.Tensor, steps: int) -> None:
    """One seed, two classes, as written in the authors' script: two linear layers, labels flipped after every step."""
    twins = [torch.nn.Linear(x.shape[1], 2, bias=False) for _ in range(2)]
    for twin in twins:
        torch.nn.init.zeros_(twin.weight)
    descents = [torch.optim.SGD(twin.parameters(), lr=1e-2) for twin in twins]
    is_a = torch.zeros(len(x), 1).bernoulli_(0.5).long()
    for _ in range(steps):
        of_a, of_b = (twin(x) for twin in twins)
        held_in, held_out = of_a * is_a + of_b * (1 - is_a), of_a * (1 - is_a) + of_b * is_a
        losses = torch.nn.functional.cross_entropy(held_in, y, reduction="none")
        for descent in descents:
            descent.zero_grad()
        torch.stack([losses[y == c].mean() for c in y.unique()]).sum().backward()
        for descent in descents:
            descent.step()
        sure, said = held_out.softmax(dim=1).detach().max(dim=1)
        is_flip = torch.bernoulli((sure - 0.5) * 2).long()
        y = is_flip * said + (1 - is_flip) * y


def rows_like_features(n: int, d: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Eigenvalues ~ 1/rank, a class and a shortcut in the first columns."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    x = rng.standard_normal((n, d)) / np.sqrt(np.arange(1, d + 1))
    x[:, 0] += y
    x[:, 1] += 2 * np.where(rng.random(n) < 0.95, y, 1 - y)
    return x.astype(np.float32), y


@pytest.fixture
def as_in_the_worker() -> Iterator[None]:
    """Products split over two threads of our own, with one of NumPy's BLAS; torch keeps its own two."""
    with threadpool_limits(1, user_api="blas"):
        spread_over(2)
        yield
        spread_over(0)


@pytest.mark.usefixtures("as_in_the_worker")
def test_ten_seeds_beside_ten_runs(at_full_size: bool) -> None:
    """Some steps of each side in turns; every step takes as long, so that all of them are so many times more."""
    n, d, steps, rounds = (5000, 2048, 30, 7) if at_full_size else (200, 32, 3, 1)
    x, y = rows_like_features(n, d)
    of_torch = torch.from_numpy(x), torch.from_numpy(y)
    few = max(1, steps // 10)
    twin_heads(x, y, 2, seeds=range(SEEDS), steps=few)
    torch_loop(*of_torch, few)
    # One of torch's ten runs in every turn.
    together, alone = seconds_in_turns(
        lambda: twin_heads(x, y, 2, seeds=range(SEEDS), steps=steps),
        lambda: torch_loop(*of_torch, steps),
        rounds=rounds,
    )
    ours, theirs = median(together) / steps * ALL_STEPS, SEEDS * median(alone) / steps * ALL_STEPS
    least = min(alone) * SEEDS / min(together)
    print(
        f"\nXRM, {SEEDS} seeds of {ALL_STEPS} steps, {n} x {d}: {ours:.0f} s together, {theirs:.0f} s in {SEEDS} runs "
        f"of torch ({steps} steps timed in {rounds} turns, scaled): {theirs / ours:.1f} x as fast "
        f"({least:.1f} by the best turns)"
    )
    if at_full_size:
        assert theirs / ours >= 8
