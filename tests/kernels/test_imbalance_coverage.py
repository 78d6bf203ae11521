"""What the interval covers and how the p-value is distributed, by simulation: short here, long when slow tests run."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from penult_kernels.moments.accumulation import moments_of
from penult_kernels.spectra import asymptotic
from penult_kernels.spectra.asymptotic import AsymptoticPairs
from penult_kernels.spectra.inference import infer_imbalance

Rows = NDArray[np.float32]
CONFIDENCE = 0.9
TRUE_RATIO = 1.5**2
"""Of two populations of one shape, one 1.5 times as wide: also what samples of any equal size have on average."""


def gaussian(rng, n, d, decay):
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) ** (-decay / 2)


def heavy(rng, n, d, decay):
    """Student's t with 8 degrees of freedom, along every direction at once."""
    return gaussian(rng, n, d, decay) / np.sqrt(rng.chisquare(8, (n, 1)) / 8)


def mixture(rng, n, d, decay):
    """Every fifth row comes from a distribution three times as wide."""
    return gaussian(rng, n, d, decay) * np.where(rng.random((n, 1)) < 0.2, 2.0, 0.7)


def rectified(rng, n, d, decay):
    """What a ReLU leaves: skewed, half of it zero."""
    return np.maximum(gaussian(rng, n, d, decay), 0)


POPULATIONS = [gaussian, heavy, mixture, rectified]


def simulate(draw: Callable[..., NDArray[np.float64]], shape: tuple[int, float], sizes: tuple[int, int], times: int):
    """Share of intervals that hold the true ratio, and p-values of equal populations."""
    rng = np.random.default_rng(7)
    (d, decay), (n_a, n_b) = shape, sizes
    held, p_values = 0, []
    for seed in range(times):
        a, b = (draw(rng, n, d, decay).astype(np.float32) for n in (n_a, n_b))
        wide = infer_imbalance(1.5 * a, b, replicates=99, confidence=CONFIDENCE, seed=seed)
        held += wide.low <= TRUE_RATIO <= wide.high
        a, b = (draw(rng, n, d, decay).astype(np.float32) for n in (n_a, n_b))
        p_values.append(infer_imbalance(a, b, replicates=39, seed=seed).p_value)
    found = np.asarray(p_values)
    np.testing.assert_allclose(found * 40, np.round(found * 40))
    return held / times, found


def assert_uniform(p_values: NDArray[np.float64]) -> None:
    """None of three levels, multiples of 1/40 as the p-values of 39 permutations are, is far off."""
    for level in (0.05, 0.25, 0.5):
        below = int(np.sum(p_values <= level + 1e-9))
        assert binomtest(below, len(p_values), level).pvalue > 1e-3, f"{below} of {len(p_values)} at {level}"


@pytest.mark.parametrize("draw", [gaussian, mixture])
def test_the_interval_covers_and_the_p_value_is_uniform(draw):
    covered, p_values = simulate(draw, (30, 1.0), (40, 160), 80)
    assert 0.8 <= covered <= 0.98
    assert_uniform(p_values)


def test_wide_minorities_are_found_and_narrow_ones_too(rng):
    """Also where the minority's sample looks wider than the majority's although its population is narrower."""
    a, b = gaussian(rng, 20, 200, 0.0), gaussian(rng, 300, 200, 0.0)
    assert infer_imbalance(1.5 * a, b, replicates=99).p_value == pytest.approx(0.01)
    narrow = infer_imbalance(0.7 * a, b, replicates=99)
    assert np.linalg.norm(0.7 * a, 2) ** 2 / 20 > np.linalg.norm(b, 2) ** 2 / 300
    assert narrow.matched_ratio < 0.6
    assert narrow.p_value == pytest.approx(0.01)


def test_means_apart_are_no_difference_of_covariances(rng):
    p_values = [
        infer_imbalance(gaussian(rng, 20, 8, 1.0) + 10, gaussian(rng, 60, 8, 1.0), replicates=39, seed=seed).p_value
        for seed in range(60)
    ]
    assert_uniform(np.asarray(p_values))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("draw", POPULATIONS)
@pytest.mark.parametrize(
    ("shape", "sizes"),
    [((40, 1.0), (56, 400)), ((40, 1.0), (184, 1000)), ((40, 1.0), (20, 200)), ((200, 0.5), (56, 300))],
)
def test_coverage_and_uniformity_at_length(draw, shape, sizes):
    covered, p_values = simulate(draw, shape, sizes, 300)
    # Resampling a few dozen skewed or heavy-tailed rows tells less about their tails than there is.
    least = 0.84 if draw is gaussian else 0.78
    assert least <= covered
    if draw is not rectified:
        assert_uniform(p_values)
    else:
        assert np.mean(p_values <= 0.05) < 0.1


def simulate_without_replicates(draw, shape, sizes, times):
    """As `simulate`, by all rows without replicates; and the share of pairs for which that holds."""
    rng = np.random.default_rng(7)
    (d, decay), (n_a, n_b) = shape, sizes
    held, holds, p_values = 0, 0, []
    for _ in range(times):
        a, b = (draw(rng, n, d, decay).astype(np.float32) for n in (n_a, n_b))
        c = draw(rng, n_a, d, decay).astype(np.float32)
        groups = (1.5 * a, b, c)
        pairs = AsymptoticPairs([(0, 1), (2, 1)], lambda k, of=groups: moments_of(of[k], np.zeros(len(of[k]), int), 1))
        for k, z in enumerate(groups):
            pairs.add(z, np.full(len(z), k))
        wide, null = pairs.infer(0.9)
        holds += wide is not None
        held += wide is not None and wide.low <= TRUE_RATIO <= wide.high
        if null is not None:
            p_values.append(null.p_value)
    return held / max(holds, 1), holds / times, np.asarray(p_values)


def test_without_replicates_the_interval_covers_too():
    covered, holds, p_values = simulate_without_replicates(gaussian, (6, 1.0), (1000, 1500), 80)
    assert holds > 0.9
    assert 0.8 <= covered <= 0.98
    assert_uniform(p_values)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("draw", POPULATIONS)
@pytest.mark.parametrize(
    ("shape", "sizes"), [((40, 1.0), (1000, 4000)), ((200, 0.5), (1000, 4000)), ((40, 1.0), (2000, 2000))]
)
def test_coverage_and_uniformity_without_replicates_at_length(draw, shape, sizes, monkeypatch):
    """Around the switch, and on its other side: rows that are left to replicates are counted here, too."""
    monkeypatch.setattr(asymptotic, "MOST_LYAPUNOV", 1.0)
    monkeypatch.setattr(asymptotic, "MOST_MIXING", 1.0)
    covered, holds, p_values = simulate_without_replicates(draw, shape, sizes, 300)
    assert holds == 1
    assert covered >= 0.84
    assert_uniform(p_values)
