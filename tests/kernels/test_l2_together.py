"""L2 problems over different rows, each standardised by its own, solved over all of them together."""

import numpy as np
import pytest

from penult_kernels import budget
from penult_kernels.arrays import to_host
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.blocks.scaling import fitted_scaling, fitted_scalings
from penult_kernels.linear.l2 import by_features as l2_by_features
from penult_kernels.linear.l2 import by_rows as l2_by_rows
from penult_kernels.linear.l2 import solver as l2_solver
from penult_kernels.linear.l2.newton_cg import newton
from penult_kernels.linear.l2.plan import Footprint, together
from penult_kernels.linear.l2.subspace_newton import subspace_newton
from penult_kernels.linear.solve import ConvergenceWarning, Eigenbases, Intercept, Problem, Standardize, solve

TIGHT = 1e-10


def nothing() -> None:
    return


def sample(rng, n: int, d: int, n_classes: int):
    y = rng.permutation(np.arange(n) % n_classes)
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 + 0.5 * rng.standard_normal((n_classes, d))[y], y


def draws(rng, n: int, size: int, count: int):
    return [np.sort(rng.permutation(n)[:size]) for _ in range(count)]


@pytest.fixture
def masks(monkeypatch) -> list[bool]:
    """Of each batch of L-BFGS, whether its blocks are over more rows than their own."""
    seen: list[bool] = []

    def spying(*arguments):
        for part in together(*arguments):
            seen.append(part.is_masked)
            yield part

    monkeypatch.setattr(l2_by_features, "together", spying)
    return seen


@pytest.mark.parametrize("n_classes", [2, 3])
def test_each_answer_is_that_of_its_rows_alone(backend, rng, masks, n_classes):
    features, y = sample(rng, 240, 8, n_classes)
    given = backend.array(features.astype(np.float32)), backend.array(y)
    offset = rng.standard_normal((240, n_classes))
    problems = [
        Problem(
            rows=rows, l2=l2, standardize=Standardize.ROWS, offset=offset, intercept=intercept, weight=rng.random(120)
        )
        for rows, intercept in zip(draws(rng, 240, 120, 3), Intercept, strict=True)
        for l2 in (0.1, 1e-3)
    ]
    for problem, fit in zip(problems, solve(*given, n_classes, problems, tolerance=TIGHT), strict=True):
        # Rows cut out beforehand, as one problem over all of what is left.
        alone = Problem(
            l2=problem.l2,
            standardize=Standardize.ROWS,
            offset=offset[problem.rows],
            intercept=problem.intercept,
            weight=problem.weight,
        )
        x = features.astype(np.float32)[problem.rows].astype(np.float64)
        expected = solve(x, y[problem.rows], n_classes, [alone], tolerance=TIGHT)[0]
        assert fit.certificate.converged
        assert abs(fit.certificate.objective - expected.certificate.objective) <= TIGHT * np.log(n_classes)
        # Heads in the space solved are within sqrt(2 gap / l2) of the optimum, each.
        scale = x.std(axis=0)
        apart = np.linalg.norm((to_host(fit.weight) - expected.weight) * scale)
        assert apart <= 2 * np.sqrt(2 * TIGHT * np.log(n_classes) / problem.l2)
    assert masks[0]


def test_what_float32_leaves_is_solved_over_its_own_rows(rng, monkeypatch):
    """L-BFGS that stops at once leaves all of the way to Newton's method."""
    monkeypatch.setattr(l2_by_features, "CERTIFIED_FRACTION", 1e12)
    sizes: list[int] = []

    def spying(batch, *arguments, **named):
        sizes.append(int(batch.sample_weight.shape[0]))
        return newton(batch, *arguments, **named)

    monkeypatch.setattr(l2_solver, "newton", spying)
    features, y = sample(rng, 200, 6, 2)
    problems = [Problem(rows=rows, l2=1e-4, standardize=Standardize.ROWS) for rows in draws(rng, 200, 100, 4)]
    fits = solve(features, y, 2, problems, tolerance=1e-13)
    assert sizes == [200, 100, 100, 100, 100]
    for problem, fit in zip(problems, fits, strict=True):
        alone = solve(features, y, 2, [problem], tolerance=1e-13)[0]
        assert fit.certificate.converged
        np.testing.assert_allclose(fit.weight, alone.weight, atol=1e-5)
        assert fit.certificate.iterations > l2_solver.STEPS_TOGETHER
    sizes.clear()
    with pytest.warns(ConvergenceWarning):
        stopped = solve(features, y, 2, problems, tolerance=1e-13, max_iterations=1)
    assert sizes == [200]
    assert not any(fit.certificate.converged for fit in stopped)


def test_parts_that_have_room(rng, set_budget):
    features, y = sample(rng, 200, 6, 2)
    problems = [Problem(rows=rows, l2=1e-2) for rows in draws(rng, 200, 100, 8)]
    whole = solve(features, y, 2, problems, tolerance=TIGHT)
    set_budget(batch_bytes=20_000)
    for one, other in zip(whole, solve(features, y, 2, problems, tolerance=TIGHT), strict=True):
        assert abs(one.certificate.objective - other.certificate.objective) <= TIGHT * np.log(2)


@pytest.mark.parametrize("is_solved", [True, False])
def test_more_are_certified_at_a_time_than_newton_has_room_for(rng, monkeypatch, set_budget, is_solved):
    """What L-BFGS has solved takes one call for all; what it has not goes on, as many at a time as have room."""
    calls: list[tuple[int, int]] = []

    def spying(batch, start, stop, **named):
        calls.append((batch.n_blocks, stop.max_iterations))
        return newton(batch, start, stop, **named)

    features, y = sample(rng, 200, 6, 2)
    features = features.astype(np.float32)
    problems = [Problem(l2=float(l2)) for l2 in np.logspace(-3, 0, 8)]
    alone = [solve(features, y, 2, [problem], tolerance=1e-6)[0] for problem in problems]
    monkeypatch.setattr(l2_solver, "newton", spying)
    # 48 bytes a row of a block for Newton's method, 16 for a proof.
    set_budget(batch_bytes=26_000)
    if not is_solved:
        monkeypatch.setattr(l2_by_features, "CERTIFIED_FRACTION", 1e12)
    fits = solve(features, y, 2, problems, tolerance=1e-6, max_iterations=50)
    assert calls == [(8, 0)] if is_solved else calls == [(8, 0), *[(2, 50)] * 4]
    for one, other in zip(fits, alone, strict=True):
        assert one.certificate.converged
        assert abs(one.certificate.objective - other.certificate.objective) <= 1e-6 * np.log(2)


def test_when_rows_are_shared(rng):
    features, y = sample(rng, 2000, 4, 2)
    preparation = Preparation(features, y, 2)

    def parts(size: int, count: int, **more):
        footprint = Footprint(n_rows=2000, n_features=4, row_width=8, per_block=1, **more)
        problems = [Problem(rows=rows, l2=0.1) for rows in draws(rng, 2000, size, count)]
        blocks = [next(preparation.blocks_of(index, problem)) for index, problem in enumerate(problems)]
        return list(together(blocks, range(count), footprint))

    # Half of the rows each: all are read once, not ten times a half.
    (half,) = parts(1000, 10)
    assert half.is_masked
    assert (half.rows, half.n_used) == (None, 2000)
    # A tenth each: not all rows, but those that one of them has.
    (tenth,) = parts(200, 5)
    assert tenth.is_masked
    assert tenth.n_used == tenth.rows.size < 1000
    # A hundredth each: they hardly share a row.
    assert [part.is_masked for part in parts(20, 3)] == [False] * 3
    # Room for five at a time.
    assert [len(part.positions) for part in parts(1000, 10, per_row=budget.DEFAULT.batch_bytes // 11_000)] == [5, 5]


def test_scalings_by_products_are_those_of_each_set(backend, rng):
    features = rng.standard_normal((400, 6)) * np.geomspace(1e-3, 1e3, 6)
    features[:, 1] = 0.1
    features[:, 4] += 1e7
    sets = draws(rng, 400, 200, 5)
    # All equal in one set, though not elsewhere.
    features[sets[2], 2] = -0.3
    given = backend.array(features)
    for rows, one in zip(sets, fitted_scalings(given, sets, nothing), strict=True):
        other = fitted_scaling(given, rows, nothing)
        np.testing.assert_allclose(to_host(one.mean), to_host(other.mean), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(to_host(one.scale), to_host(other.scale), rtol=1e-9)
        assert np.isinf(to_host(one.scale)[1])
        assert to_host(one.mean)[1] == 0.1
    assert to_host(fitted_scalings(given, sets, nothing)[2].scale)[2] == np.inf


def test_small_sets_and_odd_columns_are_scaled_one_by_one(rng):
    features = rng.standard_normal((4000, 3))
    few = draws(rng, 4000, 5, 3)
    constant = np.ones((400, 3))
    for x, sets in ((features, few), (constant, draws(rng, 400, 300, 3))):
        for rows, one in zip(sets, fitted_scalings(x, sets, nothing), strict=True):
            np.testing.assert_array_equal(one.scale, fitted_scaling(x, rows, nothing).scale)


def test_rows_are_taken_where_no_eigenbasis_pays(rng, monkeypatch):
    """Many sets of about as many rows as features: better over all rows, if that had not to be paid for first."""
    features, y = sample(rng, 300, 30, 2)
    problems = [Problem(rows=rows, l2=1e-2) for rows in draws(rng, 300, 40, 12)]
    in_row_space: list[int] = []

    def spying(space, stop, **more):
        in_row_space.append(space.n_blocks)
        return subspace_newton(space, stop, **more)

    monkeypatch.setattr(l2_by_rows, "subspace_newton", spying)
    objectives: list[list[float]] = []
    for saved in (100.0, 0.0):
        monkeypatch.setattr("penult_kernels.linear.l2.choose.PASSES_SAVED", saved)
        bases = Eigenbases()
        fits = solve(features, y, 2, problems, tolerance=TIGHT, bases=bases)
        assert all(fit.certificate.converged for fit in fits)
        assert bool(in_row_space) != bool(bases.found) == bool(saved)
        objectives.append([fit.certificate.objective for fit in fits])
    np.testing.assert_allclose(*objectives, atol=TIGHT * np.log(2))
