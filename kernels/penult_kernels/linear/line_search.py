"""How far to go along a direction, for B convex problems at once, each by a length of its own.

Two rules. The secant rule looks at slopes alone: a step is taken unless it has gone far beyond the minimum along its
direction, and is cut to where the secant of the slopes crosses zero if it has. Armijo's rule looks at objectives,
and halves a step until the objective has decreased enough.
"""

from collections.abc import Callable

from array_api_compat import array_namespace

from penult_kernels.arrays import Array

FARTHEST_SLOPE = 0.5
"""A step has gone too far when the slope at its end is positive and above this share of the slope at its start."""
SHORTEST_CUT = 0.1
"""A cut leaves at least this share of a step."""
LONGEST_CUT = 0.5
"""A cut leaves at most this share of a step."""
SUFFICIENT_DECREASE = 1e-4
"""Armijo's rule asks for this share of the decrease that the slope promises."""
MAX_HALVINGS = 40
"""A step that is still too long after so many halvings is none."""
ROUNDING = 8 * 2.0**-52
"""An objective may grow by this share of itself, or of 1 where it is smaller: that is rounding in float64."""


def is_near_enough(slope: Array, slope_there: Array) -> Array:
    """Whether steps (B,) end before they are far beyond the minimum; False where the slope there is no number."""
    return slope_there <= FARTHEST_SLOPE * array_namespace(slope).abs(slope)


def secant_cut(slope: Array, slope_there: Array) -> Array:
    """The share (B,) of each step where the secant of the slopes crosses zero; half where a slope is no number."""
    xp = array_namespace(slope)
    down = xp.abs(slope)
    ratio = down / xp.where(slope_there > 0, down + slope_there, 2.0 * down + 1e-30)
    ratio = xp.where(ratio > SHORTEST_CUT, ratio, SHORTEST_CUT)
    return xp.where(ratio < LONGEST_CUT, ratio, LONGEST_CUT)


def backtrack(objective: Callable[[Array], Array], *, value: Array, slope: Array) -> Array:
    """Largest of 1, 1/2, 1/4, ... that satisfies Armijo's rule, for every problem (B,); 0 where none does.

    Near the optimum the decrease drowns in the rounding of the objective, so that much is forgiven: a mean
    of logarithms of sums near 1 is rounded on the scale of 1 even where it is almost 0.
    """
    xp = array_namespace(value)
    rounding = ROUNDING * xp.maximum(xp.abs(value), xp.ones_like(value))
    length = xp.where(slope < 0, xp.ones_like(value), xp.zeros_like(value))
    for _ in range(MAX_HALVINGS):
        too_far = objective(length) > value + SUFFICIENT_DECREASE * length * slope + rounding
        if not bool(xp.any(too_far)):
            return length
        length = xp.where(too_far, 0.5 * length, length)
    return xp.where(length <= 0.5**MAX_HALVINGS, xp.zeros_like(length), length)
