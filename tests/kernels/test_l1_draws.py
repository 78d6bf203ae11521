"""Draws of many rows with an l1, which share the curvature of the first: answers are those of active sets."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from penult_kernels import products
from penult_kernels.linear.l1 import active_set, solver
from penult_kernels.linear.l1 import family as family_module
from penult_kernels.linear.l1 import shared_curvature as shared_module
from penult_kernels.linear.l1.own_rows import OwnRows
from penult_kernels.linear.l1.sweeps import Sweeps
from penult_kernels.linear.problem import Head, Intercept, Link, Problem, Standardize
from penult_kernels.linear.solve import solve

N, D, DRAWN = 6000, 12, 2500
TOLERANCE = 1e-7


def rows_of(rng, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Features whose variance falls as 1 / rank along directions of their own, or along the columns."""
    x = rng.standard_normal((N, D)) * np.arange(1, D + 1) ** -0.5
    if kind == "correlated":
        x = x @ np.linalg.qr(rng.standard_normal((D, D)))[0]
    y = (rng.random(N) < 1 / (1 + np.exp(-2 * x[:, 0] + x[:, 3] - 1))).astype(np.int64)
    return (x + 0.5).astype(np.float32), y


def draws(rng, like: Problem, count: int = 5) -> list[Problem]:
    return [replace(like, rows=np.sort(rng.choice(N, DRAWN - 20 * k, replace=False))) for k in range(count)]


@pytest.fixture(autouse=True)
def no_room(set_budget) -> None:
    """These rows would fit in memory, where active sets solve them."""
    set_budget(columns_bytes=0, rows_per_tile=256)


@pytest.fixture
def solved_so(monkeypatch) -> list[int]:
    """Numbers of blocks that were solved with a shared curvature."""
    sizes: list[int] = []
    original = solver.shared_curvature

    def counted(rows, members, stop):
        sizes.append(len(members))
        return original(rows, members, stop)

    monkeypatch.setattr(solver, "shared_curvature", counted)
    return sizes


def by_active_sets(monkeypatch, *args, **options):
    with monkeypatch.context() as patch:
        patch.setattr(shared_module, "TALL", np.inf)
        return solve(*args, **options)


def compare(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.certificate.converged
        assert other.certificate.converged
        assert one.certificate.objective <= other.certificate.objective + TOLERANCE * np.log(2)
        assert other.certificate.objective <= one.certificate.objective + TOLERANCE * np.log(2)
        np.testing.assert_allclose(one.weight, other.weight, atol=3e-3)
        np.testing.assert_allclose(one.bias, other.bias, atol=3e-3)


@pytest.mark.parametrize("kind", ["correlated", "independent"])
@pytest.mark.parametrize(
    "like",
    [
        Problem(l1=0.002),
        Problem(l1=0.05, standardize=Standardize.ROWS),
        Problem(l1=0.01, l2=0.02, intercept=Intercept.PENALIZED, intercept_scale=2.0, link=Link.OVR),
        Problem(l1=0.01, intercept=Intercept.NONE, center=Head(weight=np.ones((2, D)) * [[0], [0.3]], bias=np.ones(2))),
    ],
)
def test_answers_are_those_of_active_sets(rng, monkeypatch, solved_so, kind, like):
    features, y = rows_of(rng, kind)
    problems = draws(rng, like)
    found = solve(features, y, 2, problems, tolerance=TOLERANCE)
    assert sum(solved_so) == len(problems)
    compare(found, by_active_sets(monkeypatch, features, y, 2, problems, tolerance=TOLERANCE))


@pytest.mark.parametrize("intercept", list(Intercept))
def test_a_penalty_under_which_nothing_moves(rng, solved_so, intercept):
    """The first head is the optimum, and without a free bias no entry joins a step."""
    features, y = rows_of(rng, "correlated")
    problems = draws(rng, Problem(l1=10.0, intercept=intercept))
    found = solve(features, y, 2, problems, tolerance=TOLERANCE)
    assert sum(solved_so) == len(problems)
    assert all(one.certificate.converged and not np.any(one.weight) for one in found)


def test_weights_offsets_soft_targets_and_a_path(rng, monkeypatch, solved_so):
    """Problems of other kinds beside each other: draws with weights, some of them 0; and a path."""
    features, y = rows_of(rng, "correlated")
    soft = np.stack([0.9 - 0.8 * y, 0.1 + 0.8 * y], axis=1)
    weighted = draws(rng, Problem(l1=0.01, target=soft, offset=rng.standard_normal((N, 2))), 3)
    weighted = [replace(one, weight=rng.integers(0, 3, one.rows.size).astype(np.float64)) for one in weighted]
    path = [Problem(l1=l1, standardize=Standardize.ROWS) for l1 in (0.1, 0.01, 0.001, 1e-5)]
    problems = [*weighted, *path, Problem(l1=10.0)]
    found = solve(features, y, 2, problems, tolerance=TOLERANCE)
    assert solved_so == [len(problems)]
    compare(found, by_active_sets(monkeypatch, features, y, 2, problems, tolerance=TOLERANCE))
    assert not found[-1].weight.any()


def test_few_steps_and_one_hessian_for_all_draws(rng, monkeypatch, solved_so):
    grams: list[int] = []
    original = family_module.gram
    monkeypatch.setattr(family_module, "gram", lambda rows: grams.append(rows.shape[1]) or original(rows))
    features, y = rows_of(rng, "correlated")
    found = solve(features, y, 2, draws(rng, Problem(l1=0.003), 20), tolerance=1e-6)
    assert sum(grams) <= N
    assert max(one.certificate.iterations for one in found) <= 12
    assert solved_so == [20]


def test_float64_is_for_certificates(rng, monkeypatch, solved_so):
    """Steps are evaluated in float32 by their differences: in float64 now and then, and at the end."""
    evaluated: list[bool] = []
    original = Sweeps.logits

    def counted(self, which, heads, *, float32):
        evaluated.extend([float32] * len(which))
        return original(self, which, heads, float32=float32)

    monkeypatch.setattr(Sweeps, "logits", counted)
    features, y = rows_of(rng, "correlated")
    problems = draws(rng, Problem(l1=0.003), 10)
    found = solve(features, y, 2, problems, tolerance=1e-9)
    assert all(one.certificate.converged for one in found)
    assert evaluated.count(False) <= 4 * len(problems)
    assert evaluated.count(False) < evaluated.count(True)
    assert 2 * len(evaluated) == sum(one.certificate.passes for one in found)
    assert solved_so == [10]


def test_what_stalls_goes_on_by_active_sets(rng, monkeypatch, solved_so):
    """With no patience at all every block is handed over after its first steps."""
    features, y = rows_of(rng, "correlated")
    problems = draws(rng, Problem(l1=0.01))
    expected = by_active_sets(monkeypatch, features, y, 2, problems, tolerance=TOLERANCE)
    monkeypatch.setattr("penult_kernels.linear.l1.draw_state.PATIENCE", 0)
    monkeypatch.setattr("penult_kernels.linear.l1.draw_state.SHRINKING", 0.0)
    compare(solve(features, y, 2, problems, tolerance=TOLERANCE), expected)
    assert solved_so


def test_a_certificate_is_of_float64_also_where_steps_are_used_up(rng, solved_so):
    features, y = rows_of(rng, "correlated")
    problems = draws(rng, Problem(l1=0.003))
    optimal = [one.certificate.objective for one in solve(features, y, 2, problems, tolerance=1e-10)]
    with pytest.warns(UserWarning, match="raise max_iterations"):
        stopped = solve(features, y, 2, problems, tolerance=1e-10, max_iterations=1)
    for one, best in zip(stopped, optimal, strict=True):
        assert not one.certificate.converged
        assert -1e-12 <= one.certificate.objective - best <= one.certificate.gap + 1e-10
        assert one.certificate.gap < 1
    assert solved_so == [5, 5]


def test_a_block_that_nobody_wants_leaves_and_the_others_stay_the_same(rng, solved_so):
    features, y = rows_of(rng, "correlated")
    problems = draws(rng, Problem(l1=0.003))
    asked = [0]

    def is_wanted(index: int) -> bool:
        asked[0] += 1
        return index != 2 or asked[0] < 8

    found = solve(features, y, 2, problems, is_wanted=is_wanted)
    assert not found[2].certificate.converged
    for index, (one, other) in enumerate(zip(found, solve(features, y, 2, problems), strict=True)):
        if index != 2:
            assert one.certificate.converged
            np.testing.assert_allclose(one.weight, other.weight, atol=1e-2)
    assert solved_so == [5, 5]


def test_the_same_bits_for_any_number_of_threads(rng, solved_so):
    features, y = rows_of(rng, "correlated")
    problems = draws(rng, Problem(l1=0.003))
    found = []
    for count in (2, 3):
        products.spread_over(count)
        try:
            found.append(solve(features, y, 2, problems))
        finally:
            products.spread_over(0)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
    assert solved_so == [5, 5]


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
def test_draws_of_few_rows_are_evaluated_on_copies(rng, monkeypatch, set_budget, solved_so, stored):
    """Six draws at a time, by what the copies take; answers are those of products that all draws share."""
    drawn, dtype = 400, np.dtype(stored)
    features, y = rows_of(rng, "correlated")
    features = features.astype(dtype)
    problems = [Problem(rows=np.sort(rng.choice(N, drawn, replace=False)), l1=0.01) for _ in range(20)]
    copied: list[int] = []
    original = shared_module.OwnRows

    def counted(rows, members):
        copied.append(len(members))
        return original(rows, members)

    monkeypatch.setattr(shared_module, "OwnRows", counted)
    room = 6 * drawn * D * max(dtype.itemsize, 4)
    monkeypatch.setattr(shared_module, "LARGEST_COPIES", N)
    set_budget(own_rows_bytes=room)
    left: list[float] = []
    found = solve(features, y, 2, problems, tolerance=TOLERANCE, report=lambda done, _: left.append(done))
    assert copied == [6, 6, 6, 2]
    assert left == sorted(left)
    monkeypatch.setattr(shared_module, "MOST_SHARE", 0.0)
    compare(found, solve(features, y, 2, problems, tolerance=TOLERANCE))
    assert copied == [6, 6, 6, 2]
    assert solved_so == [20, 20]


def test_few_rows_and_starts_are_left_to_active_sets(rng, set_budget, solved_so):
    features, y = rows_of(rng, "correlated")
    some = np.arange(8 * D)
    start = Head(weight=np.zeros((2, D)), bias=np.zeros(2))
    solve(features, y, 2, [Problem(rows=some, l1=0.01), Problem(l1=0.01, start=start)])
    set_budget(columns_bytes=2**26)
    solve(features, y, 2, draws(rng, Problem(l1=0.01)))
    assert not solved_so


def test_a_family_is_sampled_by_its_weights(rng):
    """Rows of larger weight come more often, and the sample's weights are those of the family."""
    count, size = 5000, 400
    mass = rng.random(count) ** 4
    mass[rng.random(count) < 0.3] = 0.0
    family = [SimpleNamespace(rows=None, sample_weight=lambda: mass / mass.sum())]
    rows, weight = family_module._sampled(family, count, size)
    assert weight.sum() == pytest.approx(1)
    assert len(rows) <= size
    assert (mass[rows] > 0).all()
    z = rng.random(count)
    assert weight @ z[rows] == pytest.approx(mass @ z / mass.sum(), abs=0.05)
    rows, weight = family_module._sampled(family, count, count)
    np.testing.assert_allclose(weight, mass[mass > 0] / mass.sum())


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("float32", [True, False])
@pytest.mark.parametrize("kind", [Sweeps, OwnRows])
def test_passes_are_products_of_scaled_rows(rng, monkeypatch, kind, is_whole, float32):
    """A run of rows, rows far apart, and all of them."""
    features, y = rows_of(rng, "correlated")
    rows = None if is_whole else np.sort(rng.choice(N, 70, replace=False))
    seen = []
    monkeypatch.setattr(solver, "_solve_binary", lambda x, members, control: seen.extend(members) or 1 / 0)
    monkeypatch.setattr(shared_module, "TALL", np.inf)
    with pytest.raises(ZeroDivisionError):
        solve(features, y, 2, [Problem(rows=rows, l1=1.0, standardize=Standardize.ROWS)])
    (block,) = seen
    passes = kind(features, [block])
    z = features[slice(None) if rows is None else rows].astype(np.float64)
    z = np.concatenate([(z - z.mean(axis=0)) / z.std(axis=0), np.ones((len(z), 1))], axis=1)
    head, residual = rng.standard_normal(D + 1), rng.standard_normal(len(z))
    which, close = np.asarray([0]), 1e-4 if float32 else 1e-10
    np.testing.assert_allclose(passes.logits(which, head[None, :], float32=float32)[0], z @ head, atol=close)
    found = passes.gradients(which, [residual], float32=float32)[0]
    np.testing.assert_allclose(found, residual @ z, atol=100 * close)


def test_few_steps_where_classes_are_nearly_separable(rng, monkeypatch, solved_so):
    """The objective is a twentieth of that of zeros: a first head has to be as near to the optimum as that."""
    x = rng.standard_normal((N, D))
    y = (rng.random(N) < 1 / (1 + np.exp(-40 * x[:, 0] + 20 * x[:, 3]))).astype(np.int64)
    problems = draws(rng, Problem(l1=1e-4), 5)
    found = solve(x, y, 2, problems, tolerance=1e-6)
    assert all(one.certificate.converged and one.certificate.objective < 0.05 for one in found)
    assert solved_so == [5]
    steps = [one.certificate.iterations for one in found]
    # As it was: a first head that is only near enough for classes that overlap, and a Hessian for good.
    monkeypatch.setattr(active_set, "ROUGH", 1e9)
    monkeypatch.setattr(family_module, "LOOKED_AT", 1000)
    before = [one.certificate.iterations for one in solve(x, y, 2, problems, tolerance=1e-6)]
    assert sum(steps) <= 0.8 * sum(before), (steps, before)
    monkeypatch.setattr(family_module, "LOOKED_AT", 3)
    made_anew = [one.certificate.iterations for one in solve(x, y, 2, problems, tolerance=1e-6)]
    assert sum(made_anew) <= 0.8 * sum(before), (made_anew, before)
