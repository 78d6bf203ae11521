"""How far to go along a direction, for B convex problems at once, each by a length of its own.

There are two rules. The secant rule uses only the derivative of the objective along the direction: a step that ends far
beyond the minimum is cut to where the secant of the derivatives crosses zero. Armijo's rule uses the objective, and
halves a step until the objective has decreased enough.
"""

from collections.abc import Callable

from array_api_compat import array_namespace

from penult_kernels.arrays import Array

OVERSHOOT = 0.5
"""A step is too long when the derivative at its end exceeds this fraction of |derivative at its start|."""
SHORTEST_CUT = 0.1
"""A cut leaves at least this fraction of a step."""
LONGEST_CUT = 0.5
"""A cut leaves at most this fraction of a step."""
SUFFICIENT_DECREASE = 1e-4
"""Armijo's rule asks for this fraction of the decrease that the derivative predicts."""
MAX_HALVINGS = 40
"""A step that is still too long after so many halvings is not taken."""
ROUNDING = 8 * 2.0**-52
"""An objective may grow by this fraction of itself, or of 1 where it is smaller: that is rounding in float64."""


def is_near_enough(derivative: Array, derivative_there: Array) -> Array:
    """Whether steps (B,) do not end far beyond the minimum; False where the derivative at the end is NaN."""
    return derivative_there <= OVERSHOOT * array_namespace(derivative).abs(derivative)


def secant_cut(derivative: Array, derivative_there: Array) -> Array:
    """The fraction (B,) of each step at which the secant of the derivatives crosses zero; half where one is NaN."""
    xp = array_namespace(derivative)
    down = xp.abs(derivative)
    ratio = down / xp.where(derivative_there > 0, down + derivative_there, 2.0 * down + 1e-30)
    ratio = xp.where(ratio > SHORTEST_CUT, ratio, SHORTEST_CUT)
    return xp.where(ratio < LONGEST_CUT, ratio, LONGEST_CUT)


def backtrack(objective: Callable[[Array], Array], *, value: Array, derivative: Array) -> Array:
    """Largest of 1, 1/2, 1/4, ... that satisfies Armijo's rule, for every problem (B,); 0 where none does.

    Near the optimum the decrease is below the rounding of the objective, which is therefore allowed for: a mean of
    logarithms of sums near 1 is rounded on the scale of 1 even where it is almost 0.
    """
    xp = array_namespace(value)
    rounding = ROUNDING * xp.maximum(xp.abs(value), xp.ones_like(value))
    length = xp.where(derivative < 0, xp.ones_like(value), xp.zeros_like(value))
    for _ in range(MAX_HALVINGS):
        too_far = objective(length) > value + SUFFICIENT_DECREASE * length * derivative + rounding
        if not bool(xp.any(too_far)):
            return length
        length = xp.where(too_far, 0.5 * length, length)
    return xp.where(length <= 0.5**MAX_HALVINGS, xp.zeros_like(length), length)
