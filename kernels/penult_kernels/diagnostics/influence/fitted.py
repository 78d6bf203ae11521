"""Problems with their optima, and the curvatures there: made once for all that is asked about them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array, to_host
from penult_kernels.diagnostics.influence.curvature import Curvature, FlatError, curvature_of
from penult_kernels.linear.blocks.blocks import Block, Preparation
from penult_kernels.linear.problem import Head, Intercept, Link, Problem

KEPT_BYTES = 2**28
"""Factors of curvatures that are kept, about; what is more is computed again."""


def nothing() -> None:
    """Checks for no cancellation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """Draws of one refit over features (N, D) of classes y (N,), and their optima on raw features.

    Its methods raise ValueError where shapes, labels, weights or numbers are not as described, FlatError where a
    Hessian is singular, too large, or has no fixed active set.
    """

    features: Array
    y: Array
    n_classes: int
    problems: Sequence[Problem]
    optima: Sequence[Head]
    is_mean: bool = True
    """Whether the penalty stands beside the mean of the losses: without a row the others then weigh more."""
    check: Callable[[], None] = nothing
    """Called between tiles of rows; what it raises ends a computation."""
    _kept: dict[tuple[int, int], Curvature] = field(default_factory=dict[tuple[int, int], Curvature], init=False)
    _preparation: list[Preparation] = field(default_factory=list[Preparation], init=False)

    @property
    def preparation(self) -> Preparation:
        """Scalings and targets of the problems."""
        if not self._preparation:
            made = Preparation(self.features, self.y, self.n_classes, check=self.check)
            made.fit_scalings(self.problems)
            self._preparation.append(made)
        return self._preparation[0]

    def rows(self, place: int) -> NDArray[np.int64]:
        """(n,) ascending positions that a problem uses."""
        rows = self.problems[place].rows
        return np.arange(int(self.features.shape[0]), dtype=np.int64) if rows is None else rows

    def weighed(self, place: int) -> NDArray[np.int64]:
        """(m,) those of them that weigh something: a draw with replacement has others, too."""
        rows, weight = self.rows(place), self.problems[place].weight
        return rows if weight is None else rows[weight > 0]

    def alone(self, place: int) -> NDArray[np.int64]:
        """(k,) those of them without which there is no optimum: no row is left, or none of a class with a free bias."""
        rows = self.weighed(place)
        if rows.size == 1 or self.problems[place].intercept is not Intercept.FREE:
            return rows[: rows.size == 1]
        y = to_host(self.y)[rows]
        return rows[np.bincount(y, minlength=self.n_classes)[y] == 1]

    def curvatures(self, place: int) -> Iterator[tuple[Curvature, slice]]:
        """The curvature of each block of a problem, with the classes whose logits its columns are.

        Of two classes that is the second: its residual is minus the first's. Raises FlatError for hinge losses.
        """
        if self.problems[place].link is Link.HINGE:
            raise FlatError("hinge losses have no curvature: use link='softmax' or 'ovr'")
        problem = replace(self.problems[place], start=self.optima[place])
        for number, block in enumerate(self.preparation.blocks_of(place, problem)):
            yield self._curvature(place, number, block), _columns(block, self.n_classes, number)

    def _curvature(self, place: int, number: int, block: Block) -> Curvature:
        if (place, number) in self._kept:
            return self._kept[place, number]
        found = curvature_of(self.features, block, self.check)
        size = 8 * int(found.inverse_factor.shape[0]) ** 2
        if (len(self._kept) + 1) * size <= KEPT_BYTES:
            self._kept[place, number] = found
        return found


def _columns(block: Block, n_classes: int, number: int) -> slice:
    if n_classes == 2:
        return slice(1, 2)
    return slice(0, n_classes) if block.n_columns > 1 else slice(number, number + 1)
