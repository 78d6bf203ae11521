"""How far to go along a direction: the secant rule and Armijo's, each problem by a length of its own."""

import numpy as np

from penult_kernels.arrays import to_host
from penult_kernels.linear.line_search import LONGEST_CUT, SHORTEST_CUT, backtrack, is_near_enough, secant_cut


def test_a_step_is_near_enough_until_it_is_far_beyond_the_minimum(backend):
    derivative, there = (backend.array(v) for v in ([-1.0] * 5, [-0.9, 0.0, 0.5, 0.6, np.nan]))
    assert to_host(is_near_enough(derivative, there)).tolist() == [True, True, True, False, False]


def test_a_cut_is_where_the_secant_crosses_zero(backend):
    derivative, there = (backend.array(v) for v in ([-1.0] * 4, [2.0, 1e9, 0.6, np.nan]))
    np.testing.assert_allclose(to_host(secant_cut(derivative, there)), [1 / 3, SHORTEST_CUT, LONGEST_CUT, LONGEST_CUT])


def test_backtracking_halves_until_the_objective_decreases(backend):
    """Parabolas c t^2 / 2 - t, minimum at 1 / c; and a direction that does not go down."""
    curvature = np.asarray([1.0, 3.9, 9.0, 1.0])

    def objective(length):
        return backend.array(curvature) * length * length / 2 - length

    value, derivative = backend.array(np.zeros(4)), backend.array([-1.0, -1.0, -1.0, 0.0])
    assert to_host(backtrack(objective, value=value, derivative=derivative)).tolist() == [1.0, 0.5, 0.125, 0.0]
