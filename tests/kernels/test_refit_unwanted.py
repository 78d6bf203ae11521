"""Problems that nobody wants any more leave the batch they are solved in; the others are solved as if alone."""

import warnings

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.linear.solve import ConvergenceWarning, Problem, solve

N, D = 80, 12


def sample(rng, n_classes: int):
    y = rng.permutation(np.arange(N) % n_classes)
    return rng.standard_normal((N, D)) + 0.7 * rng.standard_normal((n_classes, D))[y], y


class Interest:
    """A problem is given up at one of the looks; all looks and passes are counted."""

    def __init__(self, given_up: set[int], looks: int) -> None:
        self.given_up, self.looks, self.checks = given_up, looks, 0

    def check(self) -> None:
        self.checks += 1

    def is_wanted(self, problem: int) -> bool:
        if problem not in self.given_up:
            return True
        self.looks -= 1
        return self.looks > 0


@pytest.mark.parametrize("looks", [1, 2, 4])
@pytest.mark.parametrize("l1", [0.0, 0.002])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_others_take_the_steps_they_would_have_taken(backend, rng, looks: int, l1: float, n_classes: int):
    features, y = sample(rng, n_classes)
    problems = [Problem(l1=l1, l2=l2) for l2 in (0.1, 1e-5, 0.01)]
    solved = {"tolerance": 1e-11, "max_iterations": 200}
    everything, some = Interest(set(), 0), Interest({1}, looks)
    x, labels = backend.array(features), backend.array(y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        stayed = solve(x, labels, n_classes, problems, check=everything.check, **solved)
        left = solve(x, labels, n_classes, problems, check=some.check, is_wanted=some.is_wanted, **solved)
    assert not left[1].certificate.converged
    assert left[1].certificate.iterations < stayed[1].certificate.iterations
    assert some.checks < everything.checks
    for k in (0, 2):
        assert left[k].certificate.converged
        assert left[k].certificate.iterations == stayed[k].certificate.iterations
        np.testing.assert_allclose(to_host(left[k].weight), to_host(stayed[k].weight), rtol=0, atol=1e-5)


def test_what_nobody_wants_is_not_begun(rng):
    features, y = sample(rng, 2)
    fits = solve(features, y, 2, [Problem(l2=0.1)] * 2, is_wanted=lambda _: False)
    assert [(fit.certificate.converged, fit.certificate.passes) for fit in fits] == [(False, 0)] * 2
    assert all(fit.certificate.gap == np.inf for fit in fits)
