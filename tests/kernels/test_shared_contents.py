"""What problems share is seen by its content: equal arrays made twice are batched as one array is."""

from dataclasses import replace

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.linear.blocks import batch as refit_batch
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.blocks.content_ids import ContentIds
from penult_kernels.linear.l1 import proximal_newton
from penult_kernels.linear.l2 import by_features as l2_by_features
from penult_kernels.linear.l2 import solver as l2_solver
from penult_kernels.linear.problem import Head, Intercept, Problem, Scaler
from penult_kernels.linear.solve import solve
from penult_kernels.trajectories import run as trajectory_run
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import TrajectorySettings

N, D = 80, 6
STRENGTHS = (0.01, 0.1, 1.0)
SHARED = ("rows", "weight", "target", "offset", "center", "standardize")


def arrays(rng: np.random.Generator, n_classes: int) -> dict[str, object]:
    """One of everything that problems can share."""
    rows = np.sort(rng.choice(N, 60, replace=False))
    return {
        "rows": rows,
        "weight": rng.uniform(0.5, 2, rows.size),
        "target": rng.dirichlet(np.ones(n_classes), N),
        "offset": rng.standard_normal((N, n_classes)),
        "center": Head(weight=rng.standard_normal((n_classes, D)), bias=rng.standard_normal(n_classes)),
        "standardize": Scaler(mean=rng.standard_normal(D), scale=rng.uniform(0.5, 2, D)),
    }


def again(value):
    """The same made anew."""
    if isinstance(value, Head):
        return Head(weight=value.weight.copy(), bias=value.bias.copy())
    if isinstance(value, Scaler):
        return Scaler(mean=value.mean.copy(), scale=value.scale.copy())
    return value.copy()


def other(value):
    """Of the same shape, with another content."""
    if isinstance(value, Head):
        return Head(weight=value.weight + 1, bias=value.bias)
    if isinstance(value, Scaler):
        return Scaler(mean=value.mean, scale=2 * value.scale)
    if value.dtype == np.int64:
        return np.setdiff1d(np.arange(N), value[:20])
    changed = value.copy()
    changed[0] = changed[0][::-1] if changed.ndim > 1 else changed[0] + 1
    return changed


@pytest.fixture
def batches(monkeypatch) -> list[tuple[int, ...]]:
    """Shapes of all batches that are made: blocks, and how many of weights, targets, offsets and scalings."""
    made: list[tuple[int, ...]] = []
    true = refit_batch.make_batch

    def spying(features, members, **named):
        batch = true(features, members, **named)
        own = (batch.sample_weight.shape[1], batch.target.shape[1], batch.offset.shape[1], batch.scaling.mean.ndim)
        made.append((batch.n_blocks, *own))
        return batch

    for module in (proximal_newton, l2_by_features, l2_solver):
        monkeypatch.setattr(module, "make_batch", spying)
    return made


@pytest.mark.parametrize("kind", ["l2", "l1"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_equal_contents_are_solved_as_one_object_is(rng, batches, n_classes, kind):
    features, shared = rng.standard_normal((N, D)), arrays(rng, n_classes)
    problems = [Problem(**shared, **{kind: strength}) for strength in STRENGTHS]
    once = solve(features, None, n_classes, problems, tolerance=1e-8)
    of_one = list(batches)
    batches.clear()
    made_anew = [replace(one, **{name: again(shared[name]) for name in SHARED}) for one in problems]
    twice = solve(features, None, n_classes, made_anew, tolerance=1e-8)
    assert batches == of_one
    # Binary problems with an l1 are solved by active sets, which make no batch.
    assert all(shape[1:] == (1, 1, 1, 1) for shape in of_one)
    assert bool(of_one) == (kind == "l2" or n_classes > 2)
    for one, another in zip(once, twice, strict=True):
        np.testing.assert_array_equal(to_host(one.weight), to_host(another.weight))
        np.testing.assert_array_equal(to_host(one.bias), to_host(another.bias))
        assert one.certificate == another.certificate


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_other_contents_are_kept_apart(rng, n_classes, name):
    features, shared = rng.standard_normal((N, D)), arrays(rng, n_classes)
    mixed = [Problem(**shared, l2=0.1), Problem(**{**shared, name: other(shared[name])}, l2=0.1)]
    together = solve(features, None, n_classes, mixed, tolerance=1e-10)
    for problem, fit in zip(mixed, together, strict=True):
        alone = solve(features, None, n_classes, [problem], tolerance=1e-10)[0]
        np.testing.assert_allclose(to_host(fit.weight), to_host(alone.weight), atol=1e-4)
    assert np.abs(to_host(together[0].weight) - to_host(together[1].weight)).max() > 1e-3


@pytest.mark.parametrize("name", SHARED)
def test_numbers_of_a_block_say_what_is_equal(rng, name):
    shared = arrays(rng, 2)
    preparation = Preparation(rng.standard_normal((N, D)), None, 2)
    problems = [shared, {**shared, name: again(shared[name])}, {**shared, name: other(shared[name])}]
    one, same, another = (next(preparation.blocks_of(i, Problem(**fields))) for i, fields in enumerate(problems))
    numbered = {"standardize": "scaling", "center": "offset"}.get(name, name)
    for field in ("rows", "weight", "target", "offset", "scaling"):
        of_one, of_same, of_another = (getattr(block, f"{field}_id") for block in (one, same, another))
        assert of_one == of_same
        assert (of_one == of_another) == (field != numbered)


def test_a_scaler_made_twice_is_one_trajectory_run(rng, monkeypatch):
    runs: list[int] = []
    true = trajectory_run.TrajectoryRun.follow
    monkeypatch.setattr(trajectory_run.TrajectoryRun, "follow", lambda run, *a: runs.append(1) or true(run, *a))
    features, shared = rng.standard_normal((N, D)), arrays(rng, 2)
    problems = [Problem(**shared, l2=l2, intercept=Intercept.FREE) for l2 in STRENGTHS]
    settings = [TrajectorySettings(learning_rate=0.1, steps=5)] * 3
    once = descend(features, None, 2, problems, settings)
    assert len(runs) == 1
    anew = [replace(one, **{name: again(shared[name]) for name in SHARED}) for one in problems]
    twice = descend(features, None, 2, anew, settings)
    assert len(runs) == 2
    for one, another in zip(once, twice, strict=True):
        np.testing.assert_array_equal(to_host(one.weight), to_host(another.weight))


def test_numbers_follow_contents():
    ids = ContentIds()
    assert ids.of(np.arange(3)) == ids.of(np.arange(3)) == ids.of(np.arange(6)[::2] // 2)
    of_all = {ids.of(None), ids.of(np.arange(3)), ids.of(np.arange(3.0)), ids.of(np.arange(3)[:, None])}
    assert len(of_all) == 4
    # An object that is gone gives its address to the next; its number stays its own.
    assert len({ids.of(np.full(3, float(k))) for k in range(50)}) == 50
