"""L2 blocks with fewer rows than features, solved in the space of their rows: sets of rows of one size stacked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, fits_float32
from penult_kernels.linear.blocks.blocks import Block, union
from penult_kernels.linear.control import Control
from penult_kernels.linear.l2.choose import (
    Group,
    branching_pays,
    bytes_of_a_number,
    share_a_gram_matrix,
    work_in_rows,
)
from penult_kernels.linear.l2.paths import sources
from penult_kernels.linear.l2.plan import CERTIFIED_FRACTION, chunks
from penult_kernels.linear.l2.quick_loop import WarmStart
from penult_kernels.linear.l2.row_space import make_row_space
from penult_kernels.linear.l2.subspace_newton import LEAST_DIRECTIONS, MOST_DIRECTIONS, subspace_newton
from penult_kernels.linear.problem import Intercept

ARRAYS_OF_DIRECTIONS = 3
"""Vectors per direction of a basis: its head, its logits, and its logits times the curvature."""
OTHER_VECTORS = 8
"""Vectors per block in addition to those of its directions."""


@dataclass(frozen=True, slots=True, eq=False)
class ByRows:
    """Solves blocks of equally many columns, all with an l2, in the space of their rows."""

    features: Array
    blocks: Sequence[Block]
    control: Control

    @property
    def _n_columns(self) -> int:
        return self.blocks[0].n_columns

    @property
    def _row_width(self) -> int:
        """Bytes of a number."""
        return bytes_of_a_number(is_float32=fits_float32(self.features), tolerance=self.control.tolerance)

    def work(self, positions: Sequence[int]) -> int:
        """Multiplications that the blocks at `positions` take, with one Gram matrix for each set of rows."""
        sets = self._sets(positions)
        groups = [Group(n_rows=self.blocks[own[0]].n_used, n_heads=len(own) * self._n_columns) for own in sets]
        return work_in_rows(groups, int(self.features.shape[1]))

    def warm_starts(self, positions: Sequence[int]) -> dict[int, WarmStart]:
        """Warm starts of the blocks at `positions`, without those that were cancelled."""
        starts: dict[int, WarmStart] = {}
        for sets in self._stacks(positions):
            starts.update(self._solve(sets))
        return starts

    def _sets(self, positions: Sequence[int]) -> list[list[int]]:
        """Positions grouped by Gram matrix."""
        by_rows: dict[tuple[object, ...], list[int]] = {}
        for index in positions:
            block = self.blocks[index]
            key = (block.rows_id, block.scaling_id, block.intercept is Intercept.FREE)
            by_rows.setdefault(key, []).append(index)
        return list(by_rows.values())

    def _stacks(self, positions: Sequence[int]) -> Iterator[list[list[int]]]:
        """Groups of sets, each as large as fits in one stack."""
        most = budget.of(self.features).batch_bytes
        by_shape: dict[tuple[object, ...], list[list[int]]] = {}
        for members in self._sets(positions):
            first = self.blocks[members[0]]
            per_set, per_block = self._bytes(first.n_used)
            for cut in chunks(members, max(1, (most - per_set) // per_block)):
                key = (first.n_used, len(cut), first.scaling_id, first.intercept is Intercept.FREE)
                by_shape.setdefault(key, []).append(cut)
        for sets in by_shape.values():
            per_set, per_block = self._bytes(self.blocks[sets[0][0]].n_used)
            for some in chunks(sets, max(1, most // (per_set + len(sets[0]) * per_block))):
                yield from [some] if self._share_rows(some) else [[one] for one in some]

    def _bytes(self, n_used: int) -> tuple[int, int]:
        """Bytes of a set's Gram matrix, and of each of its blocks."""
        vectors = ARRAYS_OF_DIRECTIONS * (LEAST_DIRECTIONS + self._n_columns) + OTHER_VECTORS
        return self._row_width * n_used**2, self._row_width * vectors * self._n_columns * n_used

    def _directions(self, members: Sequence[Sequence[Block]]) -> int:
        """Directions of a basis: as many as fit in the memory budget, between the two limits; few on a device.

        There every product is with all of them.
        """
        if not is_numpy_array(self.features):
            return LEAST_DIRECTIONS
        n_used = members[0][0].n_used
        per_vector = self._row_width * self._n_columns * n_used * sum(len(own) for own in members)
        left = budget.of(self.features).batch_bytes - len(members) * self._row_width * n_used**2
        vectors = left // per_vector - OTHER_VECTORS
        return max(LEAST_DIRECTIONS, min(vectors // ARRAYS_OF_DIRECTIONS - self._n_columns, MOST_DIRECTIONS))

    def _share_rows(self, sets: Sequence[list[int]]) -> bool:
        first = self.blocks[sets[0][0]]
        n_union = union([self.blocks[own[0]] for own in sets]).size
        return share_a_gram_matrix(len(sets), first.n_used, n_union, int(self.features.shape[1]))

    def _sources(self, flat: Sequence[Block], n_sets: int) -> NDArray[np.int64] | None:
        """Which blocks are solved roughly first, for each of `flat`; None where that does not pay."""
        found = sources(flat)
        per_set = [np.unique(own).size for own in np.split(found, n_sets)]
        is_worth = branching_pays(len(flat) // n_sets, max(per_set)) and min(per_set) == max(per_set)
        return found if is_worth else None

    def _solve(self, sets: Sequence[list[int]]) -> dict[int, WarmStart]:
        members = [[self.blocks[index] for index in own] for own in sets]
        flat = [block for own in members for block in own]
        if self.control.all_unwanted(flat):
            return {}
        space = make_row_space(self.features, members, is_float32=self._row_width == 4)
        stop = self.control.stop(flat, fraction=CERTIFIED_FRACTION)
        reached = subspace_newton(
            space, stop, directions=self._directions(members), sources=self._sources(flat, len(sets))
        )
        return {
            index: WarmStart(
                theta=reached.theta[place, :, :],
                passes=int(reached.evaluations[place]),
                iterations=int(reached.evaluations[place]) - 1,
            )
            for place, index in enumerate(index for own in sets for index in own)
        }
