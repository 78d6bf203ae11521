"""Many penalties of one problem: a few roughly first, all from between these; and heads that are not rounded."""

import numpy as np
import pytest

from penult_kernels.linear.blocks.batch import make_batch
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.l2 import by_features, paths
from penult_kernels.linear.solve import Head, Intercept, Problem, solve


def sample(rng, n: int, d: int, n_classes: int = 2, dtype=np.float64):
    y = rng.permutation(np.arange(n) % n_classes)
    rows = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 + 0.7 * rng.standard_normal((n_classes, d))[y]
    return rows.astype(dtype), y


def blocks_of(features, y, problems):
    preparation = Preparation(features, y, int(y.max()) + 1)
    return [block for place, one in enumerate(problems) for block in preparation.blocks_of(place, one)]


@pytest.mark.parametrize(("n_classes", "dtype"), [(2, np.float32), (3, np.float64)])
def test_a_path_has_the_answers_of_its_penalties_alone(backend, rng, monkeypatch, n_classes, dtype):
    features, y = sample(rng, 500, 12, n_classes, dtype)
    penalties = rng.permutation(np.append(np.logspace(0, -4, 15), 1e-3))
    problems = [Problem(l2=float(l2), intercept=kind) for kind in (Intercept.FREE, Intercept.NONE) for l2 in penalties]
    rows = backend.array(features)
    together = solve(rows, y, n_classes, problems, tolerance=1e-8)
    monkeypatch.setattr(by_features, "anchors", lambda members: None)
    apart = solve(rows, y, n_classes, problems, tolerance=1e-8)
    for one, other in zip(together, apart, strict=True):
        assert one.certificate.converged
        assert one.certificate.gap <= 1e-8 * np.log(n_classes)
        assert abs(one.certificate.objective - other.certificate.objective) <= 1e-8 * np.log(n_classes)
    passes = [sum(one.certificate.passes for one in found) for found in (together, apart)]
    assert passes[0] <= 0.8 * passes[1]


def test_ends_are_solved_first_and_nothing_is_extrapolated(rng):
    features, y = sample(rng, 60, 4)
    penalties = [1e-4, 1.0, *np.logspace(-3.9, -0.1, 30), 1.0]
    start = Head(weight=np.zeros((2, 4)), bias=np.zeros(2))
    problems = [Problem(l2=float(l2)) for l2 in penalties] + [Problem(l2=1e-2, start=start)]
    few = paths.anchors(blocks_of(features, y, problems))
    assert few is not None
    first = few.positions.tolist()
    assert len(first) == 8, "four decades in six steps, and the problem that has a start"
    assert {0, 33} <= set(first)
    assert len({1, 32} & set(first)) == 1, "of two equal penalties one is solved first"
    np.testing.assert_allclose(few.weights.sum(axis=1), 1)
    # A cubic of log l2 is interpolated exactly; the problem that has a start is only its own.
    logs = np.log10([*penalties, 1e-2])
    np.testing.assert_allclose(few.weights @ logs[first] ** 3, logs**3, atol=1e-9)
    assert few.weights[33].tolist() == [float(index == 33) for index in first]
    assert all(few.weights[index, place] == 1 for place, index in enumerate(first))


@pytest.mark.parametrize("tolerance", [0.9, 0.02])
def test_a_path_of_which_some_need_no_step(rng, tolerance):
    """Problems that have left before any step was taken have no pairs to give."""
    features, y = sample(rng, 500, 12)
    penalties = np.logspace(4, -3, 30)
    found = solve(features, y, 2, [Problem(l2=float(l2)) for l2 in penalties], tolerance=tolerance)
    assert all(one.certificate.converged for one in found)


@pytest.mark.parametrize("penalties", [[0.1], np.logspace(-3, 0, 8), [0.1] * 5])
def test_few_penalties_are_solved_at_once(rng, penalties):
    features, y = sample(rng, 60, 4)
    assert paths.anchors(blocks_of(features, y, [Problem(l2=float(l2)) for l2 in penalties])) is None


def test_weights_of_very_many_blocks_are_not_made(rng, set_budget):
    features, y = sample(rng, 60, 4)
    sets = [np.arange(first, 60) for first in range(20)]
    blocks = blocks_of(features, y, [Problem(rows=rows, l2=float(l2)) for rows in sets for l2 in np.logspace(-1, 0, 9)])
    assert paths.anchors(blocks) is not None
    set_budget(batch_bytes=2**16)
    assert paths.anchors(blocks) is None


def test_paths_of_different_rows_are_not_mixed(rng):
    features, y = sample(rng, 60, 4)
    sets = [np.arange(first, 60) for first in (0, 5, 10)]
    problems = [Problem(rows=rows, l2=float(l2)) for rows in sets for l2 in np.logspace(-1, 0, 9)]
    few = paths.anchors(blocks_of(features, y, problems))
    assert few is not None
    for index, own in enumerate(few.weights):
        assert {int(few.positions[place]) // 9 for place in np.flatnonzero(own)} == {index // 9}


def test_what_rounding_takes_from_a_head_has_columns_of_its_own():
    """Differences of weights that float32 does not tell apart; how much it helps a gradient depends on the BLAS."""
    n_features = 30
    features = (np.eye(n_features) - np.roll(np.eye(n_features), 1, axis=1)).astype(np.float32)
    blocks = blocks_of(features, np.arange(n_features) % 2, [Problem(l2=l2) for l2 in (1e-2, 1e-3)])
    weights = 1 / 3 + 1e-10 * np.arange(n_features)
    theta = np.tile(np.append(weights, 0.0), (2, 1, 1))
    batch = make_batch(features, blocks, in_float32=True)

    def logits(fine):
        return batch.logits_with_offset(theta, fine)(slice(0, n_features), features)[:, :, 0]

    expected = weights - np.roll(weights, -1)
    assert np.all(logits([]) == 0)
    np.testing.assert_allclose(logits([0, 1]), np.stack([expected, expected], axis=1), rtol=1e-5)
    np.testing.assert_allclose(logits([1]), np.stack([0 * expected, expected], axis=1), rtol=1e-5)
