"""Exact Newton steps in the space of rows, as GPUs take them, forced on every library."""

from dataclasses import replace

import numpy as np
import pytest

from penult_kernels import l2_by_rows, row_newton
from penult_kernels.arrays import to_host
from penult_kernels.refit_engine import Head, Intercept, Link, Problem, Scaler, solve

TIGHT = 1e-11


@pytest.fixture(autouse=True)
def _calls_are_dear(monkeypatch):
    monkeypatch.setattr(l2_by_rows, "CALLS_ARE_DEAR", lambda _: True)
    # Any other would be a failure to choose.
    monkeypatch.setattr(l2_by_rows, "subspace_newton", None)


def sample(rng, n: int, d: int):
    y = rng.permutation(np.arange(n) % 2)
    return rng.standard_normal((n, d)) + 0.7 * rng.standard_normal((2, d))[y], y


def by_newton(features, y, problem):
    """The same problem by Newton-CG alone: a start keeps it out of the space of rows."""
    zero = Head(weight=np.zeros((2, features.shape[1])), bias=np.zeros(2))
    return solve(features, y, 2, [replace(problem, start=zero)], max_iterations=500, tolerance=TIGHT)[0]


@pytest.mark.parametrize("eliminated", [7, 64])
@pytest.mark.parametrize("intercept", list(Intercept))
def test_against_newton_cg(backend, rng, monkeypatch, intercept, eliminated):
    monkeypatch.setattr(row_newton, "ELIMINATED", eliminated)
    features, y = sample(rng, 60, 40)
    features = features * np.geomspace(0.1, 3, 40) + 2
    scaler = Scaler(mean=rng.standard_normal(40), scale=rng.random(40) + 0.5)
    problems = [
        Problem(
            rows=np.sort(rng.permutation(60)[:size]),
            l2=l2,
            weight=rng.random(size) * (rng.random(size) < 0.9),
            offset=offset,
            intercept=intercept,
            intercept_scale=2.0,
            standardize=scaler,
            link=Link.OVR,
        )
        for size, offset in zip((30, 30, 45, 30), [None, 3 * rng.standard_normal((60, 2))] * 2, strict=True)
        for l2 in (10.0, 0.1, 1e-3, 1e-5)
    ]
    found = solve(backend.array(features), backend.array(y), 2, problems, tolerance=TIGHT)
    for problem, fit in zip(problems, found, strict=True):
        expected = by_newton(features, y, problem)
        assert fit.certificate.converged
        assert fit.certificate.gap <= TIGHT * np.log(2)
        assert abs(fit.certificate.objective - expected.certificate.objective) <= TIGHT * np.log(2)
        assert fit.certificate.iterations <= 25
        distance = np.sqrt(np.sum((to_host(fit.weight) - expected.weight) ** 2 * scaler.scale**2))
        assert distance <= np.sqrt(8 * TIGHT / problem.l2)


def test_stacks_within_the_memory(rng, set_budget):
    features, y = sample(rng, 90, 40)
    problems = [Problem(rows=np.sort(rng.permutation(90)[:35]), l2=l2) for l2 in (1e-3, 0.01, 0.1)] * 3
    whole = solve(features, y, 2, problems, tolerance=TIGHT)
    set_budget(systems_bytes=8 * 35**2 * 5)
    for one, other in zip(whole, solve(features, y, 2, problems, tolerance=TIGHT), strict=True):
        assert abs(one.certificate.objective - other.certificate.objective) <= TIGHT * np.log(2)


def test_saturated_rows_and_who_is_unwanted(rng):
    """Offsets of hundreds leave most rows without curvature; a problem nobody wants does not hold the others."""
    features, y = sample(rng, 30, 40)
    offset = np.outer(rng.standard_normal(30) * 300, [-0.5, 0.5])
    problems = [Problem(l2=l2, offset=offset) for l2 in (1e-2, 1.0)]
    unwanted, fit = solve(features, y, 2, problems, tolerance=TIGHT, is_wanted=lambda position: position == 1)
    assert not unwanted.certificate.converged
    assert fit.certificate.converged
    expected = by_newton(features, y, problems[1]).certificate.objective
    assert abs(fit.certificate.objective - expected) <= 1e-9


def test_solve_by_blocks(backend, rng):
    factor = rng.standard_normal((3, 150, 150))
    matrix = factor @ np.swapaxes(factor, 1, 2) + 0.1 * np.eye(150)
    right = rng.standard_normal((3, 150, 2))
    found = to_host(row_newton.solve_by_blocks(backend.array(matrix), backend.array(right)))
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-8, atol=1e-8)
