"""The quadratic models of the draws of a family: one Hessian for all, and what each draw has seen besides.

About a head v with gradient g, the model of a draw is

    g^T (u - v) + (u - v)^T (M + L + A) (u - v) / 2 + sum_j l1_j |u_j|

with the shared Hessian M, the l2 of the entries L, and the draw's corrections A (BFGS), by which it has the curvature
that the draw's own steps have shown. It is minimised by guessing signs (`l1.quadratic`), for all draws at once: M + L
is pivoted on the entries that most draws have in their supports, so that a draw's systems have few unknowns
(`l1.pivoted`).

Shapes: a draws, E = D + 1 entries.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.l1.pivoted import Corrections, Mask, Pivoted
from penult_kernels.linear.l1.quadratic import MAX_GUESSES, SLACK, minimize_quadratic

Floats = NDArray[np.float64]

SMALLEST_CURVATURE = 1e-8
"""Curvature seen along a step, as a fraction of the model's, below which the model learns nothing from it."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A model that is to be minimised."""

    start: Floats
    """(E,) v."""
    gradient: Floats
    """(E,) g with that of the l2."""
    chosen: Mask
    """(E,) entries that may be other than zero: at least those that are now."""
    corrections: Corrections


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A step of a draw, and how the gradient of its loss changed along it."""

    change: Floats
    of_gradient: Floats
    corrections: Corrections


class SharedModel:
    """M + L of a family, and its l1."""

    def __init__(self, hessian: Floats, l1: Floats, l2: Floats, head: Floats) -> None:
        """A head (E,) shows which entries are likely to be in supports."""
        self._l1, self._l2 = l1, l2
        hessian.flat[:: l1.size + 1] += l2
        self._pivoted = Pivoted(hessian, head != 0)

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Correct each model so that it has the curvature seen along a change of the head (BFGS)."""
        if not lessons:
            return
        changes = np.stack([one.change for one in lessons])
        expected = self._pivoted.times(changes) - self._l2 * changes
        for one, of_model in zip(lessons, expected, strict=True):
            of_model += one.corrections.times(one.change)
            curvature, seen = float(one.change @ of_model), float(one.change @ one.of_gradient)
            if seen > SMALLEST_CURVATURE * curvature > 0:
                one.corrections.signs += [-1.0, 1.0]
                one.corrections.vectors += [of_model / math.sqrt(curvature), one.of_gradient / math.sqrt(seen)]

    def minimize(self, asked: Sequence[Asked]) -> list[Floats]:
        """The minimiser (E,) of each model over the entries chosen for it."""
        start, gradient, chosen = (
            np.stack([getattr(one, name) for one in asked]) for name in ("start", "gradient", "chosen")
        )
        corrected = [one.corrections for one in asked]
        is_free = self._l1 == 0
        joins = (start == 0) & (np.abs(gradient) > self._l1)
        signs = np.where(chosen & ~is_free, np.where(joins, -np.sign(gradient), np.sign(start)), 0.0)
        right = self._pivoted.times(start) - gradient
        right += np.stack([one.corrections.times(one.start) for one in asked])
        left = np.arange(len(asked))
        found: dict[int, Floats] = {}
        for _ in range(MAX_GUESSES):
            support = chosen[left] & (is_free | (signs[left] != 0))
            own = signs[left]
            u, y = self._pivoted.solve([corrected[k] for k in left], support, right[left] - self._l1 * own)
            excess = y - right[left]
            wrong = support & ~is_free & (np.sign(u) != own)
            joins = chosen[left] & ~support & (np.abs(excess) > self._l1 * (1 + SLACK))
            signs[left] = np.where(wrong, 0.0, np.where(joins, -np.sign(excess), own))
            is_open = np.any(wrong | joins, axis=1)
            found.update(zip(left[~is_open].tolist(), u[~is_open], strict=True))
            left = left[is_open]
            if not left.size:
                break
        for index in left.tolist():
            found[index] = self._one_by_one(asked[index])
        heads = [found[index] for index in range(len(asked))]
        self._pivoted.follow(np.stack(heads) != 0)
        return heads

    def _one_by_one(self, asked: Asked) -> Floats:
        """The minimiser where guesses go round in a circle."""
        at = np.flatnonzero(asked.chosen)
        model = self._pivoted.matrix[np.ix_(at, at)]
        if asked.corrections.vectors:
            vectors = np.stack(asked.corrections.vectors)[:, at]
            model += (vectors.T * asked.corrections.signs) @ vectors
        found = np.zeros_like(asked.start)
        found[at] = minimize_quadratic(model, asked.gradient[at], asked.start[at], self._l1[at])
        return found
