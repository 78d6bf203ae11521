"""What kernels report of their work: it never falls, ends at the total, and changes no number."""

import numpy as np
import pytest

from penult_kernels.linear.problem import Intercept, Link
from penult_kernels.linear.solve import Problem, solve
from penult_kernels.spectra.inference import infer_imbalance
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import TrajectorySettings

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((120, 10)).astype(np.float32), RNG.integers(0, 3, 120)


class Reports:
    def __init__(self) -> None:
        self.done: list[float] = []
        self.totals: set[float] = set()

    def __call__(self, done: float, total: float) -> None:
        self.done.append(done)
        self.totals.add(total)

    def check(self, total: float) -> None:
        assert self.totals == {total}
        assert self.done == sorted(self.done)
        assert self.done[-1] == total


def test_resamples_of_an_imbalance_are_counted():
    reports = Reports()
    told = infer_imbalance(X[:40], X[40:], replicates=20, report=reports)
    reports.check(100)
    assert len(set(reports.done)) > 5
    assert told == infer_imbalance(X[:40], X[40:], replicates=20)


HINGE = {"link": Link.HINGE, "l2": 1e-2, "intercept": Intercept.NONE}
"""These losses have an l2 and no free intercept."""
PENALTIES = ({"l1": 1e-2}, {"l2": 1e-2}, {})
KINDS = [HINGE, *({"link": link, **one} for link in (Link.SOFTMAX, Link.OVR) for one in PENALTIES)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_problems_that_are_solved_are_counted(kind, n_classes):
    y, reports = np.minimum(Y, n_classes - 1), Reports()
    problems = [Problem(rows=np.arange(first, 120), **kind) for first in (0, 10, 20, 30)]
    told = solve(X, y, n_classes, problems, report=reports)
    # Two classes are one binary problem by either link.
    reports.check(len(problems) * (n_classes if kind["link"] is Link.OVR and n_classes > 2 else 1))
    for fit, alone in zip(told, solve(X, y, n_classes, problems), strict=True):
        np.testing.assert_array_equal(fit.weight, alone.weight)


def test_steps_of_all_paths_are_counted():
    settings = [TrajectorySettings(learning_rate=0.1, steps=steps) for steps in (5, 5, 7)]
    reports = Reports()
    descend(X, Y, 3, [Problem()] * 3, settings, report=reports)
    # Paths of equal length step together.
    reports.check(12)
    assert reports.done == list(range(1, 13))
