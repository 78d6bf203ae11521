"""Problems that differ in their l2 alone branch off from the rough solution of one of them, in the space of rows."""

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.l2 import by_rows as l2_by_rows
from penult_kernels.linear.l2.paths import sources
from penult_kernels.linear.l2.subspace_newton import subspace_newton
from penult_kernels.linear.solve import Intercept, Link, Problem, solve

TIGHT = 1e-10
PENALTIES = (0.3, 1e-3, 0.1, 1e-2)


def problems_of(rng, n: int, n_sets: int, **more) -> list[Problem]:
    sets = [np.sort(rng.permutation(n)[: n // 2]) for _ in range(n_sets)]
    return [Problem(rows=rows, l2=l2, **more) for rows in sets for l2 in PENALTIES]


@pytest.mark.parametrize("link", [Link.SOFTMAX, Link.OVR])
@pytest.mark.parametrize("intercept", list(Intercept))
def test_answers_do_not_depend_on_it(backend, rng, monkeypatch, link, intercept):
    features = rng.standard_normal((60, 40)) * np.arange(1, 41) ** -0.5 + 1
    y = rng.permutation(np.arange(60) % 3)
    problems = problems_of(rng, 60, 2, link=link, intercept=intercept, offset=rng.standard_normal((60, 3)))
    given = backend.array(features), backend.array(y), 3, problems
    found = solve(*given, tolerance=TIGHT)
    monkeypatch.setattr("penult_kernels.linear.l2.choose.FEWEST_BRANCHES", 1000)
    for problem, one, other in zip(problems, found, solve(*given, tolerance=TIGHT), strict=True):
        assert one.certificate.converged
        assert abs(one.certificate.objective - other.certificate.objective) <= 3 * TIGHT * np.log(3)
        apart = np.linalg.norm(to_host(one.weight) - to_host(other.weight))
        assert apart <= 2 * np.sqrt(6 * TIGHT * np.log(3) / problem.l2)


def test_most_of_the_evaluations_are_those_of_one(rng, monkeypatch):
    features, y = rng.standard_normal((120, 200)) * np.arange(1, 201) ** -0.5, np.arange(120) % 2
    problems = problems_of(rng, 120, 3)

    def passes() -> np.ndarray:
        fits = solve(features, y, 2, problems, tolerance=1e-7)
        return np.asarray([fit.certificate.passes for fit in fits]).reshape(3, len(PENALTIES))

    branched = passes()
    monkeypatch.setattr("penult_kernels.linear.l2.choose.FEWEST_BRANCHES", 1000)
    alone = passes()
    # The second of four penalties by size is solved first: its products count, and those of its rough solution.
    others = [0, 1, 2]
    assert (branched[:, others] < alone[:, others]).all()
    assert branched[:, others].sum() < 0.85 * alone[:, others].sum()
    assert (branched[:, 3] >= branched[:, others].min(axis=1)).all()


def test_which_are_solved_first(rng):
    features, y = rng.standard_normal((30, 40)), np.arange(30) % 2
    weight = rng.random(30)
    problems = [Problem(l2=l2) for l2 in PENALTIES] + [Problem(l2=l2, weight=weight) for l2 in PENALTIES[:2]]
    preparation = Preparation(features, y, 2)
    blocks = [next(preparation.blocks_of(index, problem)) for index, problem in enumerate(problems)]
    assert sources(blocks).tolist() == [3, 3, 3, 3, 5, 5]


@pytest.mark.parametrize(("per_set", "expected"), [(4, True), (2, False)])
def test_where_it_pays(rng, monkeypatch, per_set, expected):
    seen: list[bool] = []

    def spying(space, stop, *, directions, sources):
        seen.append(sources is not None)
        return subspace_newton(space, stop, directions=directions, sources=sources)

    monkeypatch.setattr(l2_by_rows, "subspace_newton", spying)
    features, y = rng.standard_normal((30, 40)), np.arange(30) % 2
    solve(features, y, 2, [Problem(l2=l2) for l2 in PENALTIES[:per_set]])
    assert seen == [expected]
