"""A positive definite matrix of which many principal systems are solved, on supports that have much in common.

B (E, E) is pivoted on a base C of its entries: with y = B x,

    (x on C, y elsewhere) = T (y on C, x elsewhere)

so that a system on a support S has as many unknowns as C and S differ in: x is unknown where S has more, y where it
has less. A matrix B + sum_t s_t v_t v_t^T, with signs s, has the further unknowns w_t = s_t v_t^T x, one for each
correction; the columns v_t are pivoted as those of B are.

Shapes: a systems, E entries, t corrections of a system.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from penult_kernels.products import on_threads, product

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

WORK_OF_PIVOT = 0.25
"""What another base costs beside the systems of the steps to come: a fraction of the cube of all entries, where systems
count by the cubes of their unknowns."""


@dataclass(slots=True, eq=False)
class Corrections:
    """What one problem's matrix is more than the shared one: sum_t s_t v_t v_t^T."""

    n_entries: int
    signs: list[float] = field(default_factory=list[float])
    vectors: list[Floats] = field(default_factory=list[Floats])
    exchanged: list[Floats] = field(default_factory=list[Floats])
    """The first of the vectors, as T has them."""
    base: Mask | None = None
    """The base that these are for."""

    def times(self, x: Floats) -> Floats:
        """The corrections times x (E,)."""
        if not self.vectors:
            return np.zeros(self.n_entries)
        vectors = np.stack(self.vectors)
        return (np.asarray(self.signs) * (vectors @ x)) @ vectors


class Pivoted:
    """B and T. B is positive definite."""

    def __init__(self, matrix: Floats, base: Mask) -> None:
        self.matrix = matrix
        self.pivot(base)

    def pivot(self, base: Mask) -> None:
        """Choose another base."""
        self.base = base
        inside, outside = np.flatnonzero(base), np.flatnonzero(~base)
        rest = self.matrix[np.ix_(inside, outside)]
        inverse = np.linalg.inv(self.matrix[np.ix_(inside, inside)])
        across = product(inverse, rest)
        self.exchanged = np.empty_like(self.matrix)
        self.exchanged[np.ix_(inside, inside)] = inverse
        self.exchanged[np.ix_(inside, outside)] = -across
        self.exchanged[np.ix_(outside, inside)] = across.T
        self.exchanged[np.ix_(outside, outside)] = self.matrix[np.ix_(outside, outside)] - product(rest.T, across)

    def times(self, vectors: Floats) -> Floats:
        """B times vectors (a, E)."""
        return product(vectors, self.matrix)

    def follow(self, support: Mask) -> None:
        """Choose the base that most supports (a, E) have in common, if that saves more work than it costs."""
        most = 2 * np.count_nonzero(support, axis=0) >= len(support)
        sizes, smallest = (np.count_nonzero(support ^ base, axis=1).astype(np.float64) for base in (self.base, most))
        if np.sum(sizes**3) - np.sum(smallest**3) > WORK_OF_PIVOT * most.size**3:
            self.pivot(most)

    def _exchange(self, corrected: Sequence[Corrections]) -> None:
        """Exchange the vectors that have not been exchanged for this base, all in one product."""
        for one in corrected:
            if one.base is not self.base:
                one.exchanged, one.base = [], self.base
        new = [vector for one in corrected for vector in one.vectors[len(one.exchanged) :]]
        if not new:
            return
        vectors = np.stack(new)
        exchanged = iter(
            np.where(self.base, 0.0, vectors) - product(np.where(self.base, vectors, 0.0), self.exchanged.T)
        )
        for one in corrected:
            one.exchanged += [next(exchanged) for _ in one.vectors[len(one.exchanged) :]]

    def solve(self, corrected: Sequence[Corrections], support: Mask, right: Floats) -> tuple[Floats, Floats]:
        """x (a, E), zero off each support, with y = (B + corrections) x equal to `right` on it; and this y everywhere.

        `support` and `right` are (a, E).
        """
        self._exchange(corrected)
        given = np.where(support & self.base, right, 0.0)
        found = product(given, self.exchanged.T)
        unknown = np.zeros_like(given)
        wanted = np.where(self.base, 0.0, right) - found

        def solve_one(k: int) -> None:
            at = np.flatnonzero(support[k] ^ self.base)
            exchanged = np.asarray(corrected[k].exchanged).reshape(-1, given.shape[1])
            mirrored = np.where(self.base, -exchanged, exchanged)
            system = np.empty((at.size + len(exchanged),) * 2)
            system[: at.size, : at.size] = self.exchanged[at[:, None], at]
            system[: at.size, at.size :] = exchanged[:, at].T
            system[at.size :, : at.size] = mirrored[:, at]
            system[at.size :, at.size :] = self._corner(corrected[k], exchanged)
            solved = np.linalg.solve(system, np.concatenate([wanted[k, at], -mirrored @ given[k]]))
            unknown[k, at] = solved[: at.size]
            found[k] += solved[at.size :] @ exchanged

        on_threads(solve_one, range(len(given)))
        found += product(unknown, self.exchanged.T)
        given += unknown
        return np.where(support, np.where(self.base, found, given), 0.0), np.where(self.base, given, found)

    def _corner(self, one: Corrections, exchanged: Floats) -> Floats:
        """What T has for pairs of corrections (t, t)."""
        if not len(exchanged):
            return np.empty((0, 0))
        vectors = np.stack(one.vectors)
        return np.where(self.base, vectors, 0.0) @ exchanged.T - np.diag(one.signs)
