"""L2 blocks with fewer rows than features, begun in the space of their rows, sets of rows of one size stacked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from array_api_compat import is_cupy_array

from penult_kernels import budget
from penult_kernels.arrays import Array, is_narrow
from penult_kernels.l2_plan import PROVEN_SHARE, READING, Begun, chunks, union
from penult_kernels.refit_blocks import Block
from penult_kernels.refit_problem import Intercept
from penult_kernels.row_newton import row_newton
from penult_kernels.row_space import heads_of, row_space_of, rows_of
from penult_kernels.solver_control import Control
from penult_kernels.subspace_newton import LEAST_DIRECTIONS, MOST_DIRECTIONS, subspace_newton

ARRAYS_OF_DIRECTIONS = 3
"""As large as a basis: its heads, their logits, and these by the curvature."""
OTHER_VECTORS = 8
NARROW_TOLERANCE = 1e-7
"""What float32 reaches."""
CALLS_ARE_DEAR = is_cupy_array
"""Of features: whether a call costs more than its arithmetic, so that exact Newton steps pay."""
MOST_ROWS_EXACT = 1024
"""Rows of a problem up to which exact Newton steps are taken."""
STACKS_OF_SYSTEMS = 4
"""Of these, that are held at a time."""
EVALUATIONS = 25
"""That a problem takes, about."""


@dataclass(frozen=True, slots=True, eq=False)
class ByRows:
    """Blocks with as many columns each, all with an l2."""

    features: Array
    blocks: Sequence[Block]
    control: Control

    @property
    def _n_columns(self) -> int:
        return self.blocks[0].n_columns

    @property
    def _row_width(self) -> int:
        """Bytes of a number, but for exact Newton steps."""
        return 4 if is_narrow(self.features) and self.control.tolerance >= NARROW_TOLERANCE else 8

    def is_possible(self, index: int) -> bool:
        """Whether a block has few enough rows."""
        block = self.blocks[index]
        return block.start is None and 1 < block.n_used < 2 * int(self.features.shape[1])

    def is_exact(self, n_used: int) -> bool:
        """Whether exact Newton steps are taken."""
        return self._n_columns == 1 and CALLS_ARE_DEAR(self.features) and n_used <= MOST_ROWS_EXACT

    def work(self, positions: Sequence[int]) -> float:
        """What some blocks take, in multiplications, with a Gram matrix for each set of rows."""
        n_features = int(self.features.shape[1])
        total = 0.0
        for own in self._sets(positions):
            n_used = self.blocks[own[0]].n_used
            total += n_used**2 * (n_features + EVALUATIONS * (READING + len(own) * self._n_columns))
        return total

    def begin(self, positions: Sequence[int]) -> dict[int, Begun]:
        """Where some blocks end, all of them or those that were still wanted."""
        begun: dict[int, Begun] = {}
        for sets in self._stacks(positions):
            begun.update(self._begin(sets))
        return begun

    def _sets(self, positions: Sequence[int]) -> list[list[int]]:
        """Blocks with the same Gram matrix."""
        by_rows: dict[tuple[object, ...], list[int]] = {}
        for index in positions:
            block = self.blocks[index]
            key = (block.rows_id, block.scaling_id, block.intercept is Intercept.FREE)
            by_rows.setdefault(key, []).append(index)
        return list(by_rows.values())

    def _stacks(self, positions: Sequence[int]) -> Iterator[list[list[int]]]:
        """As many sets as can be stacked at a time."""
        by_shape: dict[tuple[object, ...], list[list[int]]] = {}
        for members in self._sets(positions):
            first = self.blocks[members[0]]
            per_set, per_block, room = self._bytes(first.n_used)
            for cut in chunks(members, max(1, (room - per_set) // per_block)):
                key = (first.n_used, len(cut), first.scaling_id, first.intercept is Intercept.FREE)
                by_shape.setdefault(key, []).append(cut)
        for sets in by_shape.values():
            per_set, per_block, room = self._bytes(self.blocks[sets[0][0]].n_used)
            for some in chunks(sets, max(1, room // (per_set + len(sets[0]) * per_block))):
                yield from [some] if self._share_rows(some) else [[one] for one in some]

    def _bytes(self, n_used: int) -> tuple[int, int, int]:
        """For a set and for each of its blocks, and how many there may be."""
        if self.is_exact(n_used):
            return 8 * n_used**2, 8 * STACKS_OF_SYSTEMS * n_used**2, budget.DEFAULT.systems_bytes
        vectors = ARRAYS_OF_DIRECTIONS * (LEAST_DIRECTIONS + self._n_columns) + OTHER_VECTORS
        per_block = self._row_width * vectors * self._n_columns * n_used
        return self._row_width * n_used**2, per_block, budget.DEFAULT.batch_bytes

    def _directions(self, members: Sequence[Sequence[Block]]) -> int:
        """As many as there is room for."""
        n_used = members[0][0].n_used
        per_vector = self._row_width * self._n_columns * n_used * sum(len(own) for own in members)
        left = budget.DEFAULT.batch_bytes - len(members) * self._row_width * n_used**2
        vectors = left // per_vector - OTHER_VECTORS
        return max(LEAST_DIRECTIONS, min(vectors // ARRAYS_OF_DIRECTIONS - self._n_columns, MOST_DIRECTIONS))

    def _share_rows(self, sets: Sequence[list[int]]) -> bool:
        """Whether one Gram matrix of all rows is small enough, and less work than one for each set."""
        n_used = self.blocks[sets[0][0]].n_used
        n_union = union([self.blocks[own[0]] for own in sets]).size
        size = 8 * n_union * max(n_union, int(self.features.shape[1]))
        return size <= budget.DEFAULT.batch_rows_bytes and n_union**2 <= len(sets) * n_used**2

    def _begin(self, sets: Sequence[list[int]]) -> dict[int, Begun]:
        members = [[self.blocks[index] for index in own] for own in sets]
        flat = [block for own in members for block in own]
        if self.control.all_unwanted(flat):
            return {}
        first = members[0][0]
        rows = rows_of(
            self.features,
            union([own[0] for own in members]),
            first.scaling,
            centre=first.intercept is Intercept.FREE,
        )
        is_exact = self.is_exact(first.n_used)
        space = row_space_of(rows, members, narrow=self._row_width == 4 and not is_exact)
        limit = PROVEN_SHARE * self.control.limit(self._n_columns)
        check, unwanted = self.control.check, self.control.unwanted(flat)
        if is_exact:
            alpha, bias, products = row_newton(space, limit=limit, check=check, unwanted=unwanted)
        else:
            alpha, bias, products = subspace_newton(
                space, limit=limit, directions=self._directions(members), check=check, unwanted=unwanted
            )
        theta = heads_of(alpha, bias, rows, members)
        return {
            index: Begun(
                theta=theta[place, :, :],
                passes=int(products[place]),
                steps=(int(products[place]) - 1) // (2 if is_exact else 1),
            )
            for place, index in enumerate(index for own in sets for index in own)
        }
