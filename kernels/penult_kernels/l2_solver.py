"""How L2 problems are solved: a quick method where it pays, then Newton's method, which proves the answer.

Problems with fewer rows than features go down in the space of their rows by Newton's method in a growing subspace, sets
of one size together; others by L-BFGS in the space of their features, a passing tile of rows multiplied with all heads.
Both in float32 where the features are no wider and no more is asked for. On a GPU, where calls are dear and
arithmetic is cheap, binary problems of not too many rows take exact Newton steps in the space of their rows instead,
in float64. Newton's method begins where they ended: one gradient in float64 is enough where they ended well, and
where they did not it goes on.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from array_api_compat import array_namespace, is_cupy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array
from penult_kernels.batch_lbfgs import lbfgs
from penult_kernels.batch_newton import Solved, newton, unsolved
from penult_kernels.moments import Moments
from penult_kernels.preconditioner import Preconditioner, is_worthwhile, make_preconditioner
from penult_kernels.primal_space import PrimalSpace
from penult_kernels.refit_batch import make_batch, narrowed, starting_point
from penult_kernels.refit_blocks import Block
from penult_kernels.refit_problem import Intercept
from penult_kernels.row_newton import row_newton
from penult_kernels.row_space import heads_of, row_space_of, rows_of
from penult_kernels.solver_control import LARGEST_COPY, WORKSPACE, Control, fits
from penult_kernels.subspace_newton import LEAST_DIRECTIONS, MOST_DIRECTIONS, subspace_newton

T = TypeVar("T")

NEWTON_ARRAYS = 6
"""(n, B, q) arrays that Newton's method has at a time."""
MEMORY_OF_FEATURES = 8
"""Pairs that L-BFGS remembers."""
ARRAYS_OF_DIRECTIONS = 3
"""As large as a basis in the space of rows: its heads, their logits, and these by the curvature."""
OTHER_VECTORS = 8
PROVEN_SHARE = 0.5
"""Of the tolerance: what L-BFGS goes down to, so that the proof finds it met."""
NARROW_SHARE = 0.5
"""Of the tolerance: what Newton's method with float32 products goes down to where nothing has begun."""
NARROW_TOLERANCE = 1e-7
"""What float32 reaches in the space of rows."""
CALLS_ARE_DEAR = is_cupy_array
"""Of features: whether a call costs more than its arithmetic, so that exact Newton steps pay,"""
MOST_ROWS_EXACT = 1024
"""for problems of at most so many rows,"""
SYSTEMS = 2**31
"""whose stacks of n x n matrices may take so many bytes of the device."""
STACKS_OF_SYSTEMS = 4
"""Of these, that are held at a time."""
LEAST_SHARED = 0.3
"""Of the rows of several sets together, those of one: below it, Newton's method takes the sets one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """Where L-BFGS left a block."""

    theta: Array
    """(q, D + 1)."""
    passes: int
    steps: int


def solve_l2(features: Array, blocks: Sequence[Block], control: Control, moments: Moments | None) -> list[Solved]:
    """Minimise every block, in order; their l1 is not looked at."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, block in enumerate(blocks):
        alike.setdefault((id(block.scaling), block.n_columns, block.l2 > 0), []).append(index)
    solved: dict[int, Solved] = {}
    for positions in alike.values():
        part = _Part(features, [blocks[index] for index in positions], control, moments)
        solved.update(zip(positions, part.solve(), strict=True))
    return [solved[index] for index in range(len(blocks))]


class _Part:
    """Blocks in one scaling, with as many columns each, all with an l2 or none."""

    def __init__(self, features: Array, blocks: Sequence[Block], control: Control, moments: Moments | None) -> None:
        self.features = features
        self.blocks = blocks
        self.control = control
        self.moments = moments
        self.n_columns = blocks[0].n_columns
        self.is_narrow = features.dtype != array_namespace(features).float64
        self.calls_are_dear = self.n_columns == 1 and CALLS_ARE_DEAR(features)
        self.row_width = 4 if self.is_narrow and control.tolerance >= NARROW_TOLERANCE else 8
        """Bytes of a number in the space of rows, but for exact Newton steps."""
        self.begun: dict[int, _Begun] = {}
        self.preconditioners: dict[object, Preconditioner] = {}

    def solve(self) -> list[Solved]:
        """Every block."""
        if self.blocks[0].l2 > 0:
            for sets in self._stacks():
                self._begin_by_rows(sets)
            for together in self._same_rows(range(len(self.blocks)), self._most_heads()):
                self._begin_by_features(together)
        solved: dict[int, Solved] = {}
        for together, members in self._to_prove():
            solved.update(zip(together, self._prove(together, members), strict=True))
        return [solved[index] for index in range(len(self.blocks))]

    def _stacks(self) -> Iterator[list[list[int]]]:
        """Sets of blocks over fewer rows than features, as many as can be stacked at a time."""
        by_rows: dict[tuple[bytes | None, bool], list[int]] = {}
        for index, block in enumerate(self.blocks):
            if block.start is None and 1 < block.n_used < 2 * self.features.shape[1]:
                by_rows.setdefault((block.rows_key, block.intercept is Intercept.FREE), []).append(index)
        by_shape: dict[tuple[int, int, bool], list[list[int]]] = {}
        for (_, is_free), members in by_rows.items():
            n_used = self.blocks[members[0]].n_used
            per_set, per_block, room = self._row_work(n_used)
            for cut in _chunks(members, max(1, (room - per_set) // per_block)):
                by_shape.setdefault((n_used, len(cut), is_free), []).append(cut)
        for (n_used, n_problems, _), sets in by_shape.items():
            per_set, per_block, room = self._row_work(n_used)
            for some in _chunks(sets, max(1, room // (per_set + n_problems * per_block))):
                yield from [some] if self._share_rows(some) else [[one] for one in some]

    def _row_work(self, n_used: int) -> tuple[int, int, int]:
        """Bytes in the space of rows for a set and for each of its blocks, and how many there may be."""
        if self._is_exact(n_used):
            return 8 * n_used**2, 8 * STACKS_OF_SYSTEMS * n_used**2, SYSTEMS
        vectors = ARRAYS_OF_DIRECTIONS * (LEAST_DIRECTIONS + self.n_columns) + OTHER_VECTORS
        return self.row_width * n_used**2, self.row_width * vectors * self.n_columns * n_used, WORKSPACE

    def _directions(self, members: Sequence[Sequence[Block]]) -> int:
        """As many as there is room for."""
        n_used = members[0][0].n_used
        per_vector = self.row_width * self.n_columns * n_used * sum(len(own) for own in members)
        vectors = (WORKSPACE - len(members) * self.row_width * n_used**2) // per_vector - OTHER_VECTORS
        return max(LEAST_DIRECTIONS, min(vectors // ARRAYS_OF_DIRECTIONS - self.n_columns, MOST_DIRECTIONS))

    def _is_exact(self, n_used: int) -> bool:
        return self.calls_are_dear and n_used <= MOST_ROWS_EXACT

    def _share_rows(self, sets: Sequence[list[int]]) -> bool:
        """Whether one Gram matrix of all rows is small enough, and less work than one for each set."""
        n_used = self.blocks[sets[0][0]].n_used
        n_union = _union([self.blocks[own[0]] for own in sets]).size
        size = 8 * n_union * max(n_union, int(self.features.shape[1]))
        return size <= LARGEST_COPY and n_union**2 <= len(sets) * n_used**2

    def _begin_by_rows(self, sets: Sequence[list[int]]) -> None:
        members = [[self.blocks[index] for index in own] for own in sets]
        if self.control.all_unwanted([block for own in members for block in own]):
            return
        first = members[0][0]
        union = _union([own[0] for own in members])
        rows = rows_of(self.features, union, first.scaling, centre=first.intercept is Intercept.FREE)
        is_exact = self._is_exact(first.n_used)
        space = row_space_of(rows, members, narrow=self.row_width == 4 and not is_exact)
        limit = PROVEN_SHARE * self.control.limit(self.n_columns)
        check, unwanted = self.control.check, self.control.unwanted([block for own in members for block in own])
        if is_exact:
            alpha, bias, products = row_newton(space, limit=limit, check=check, unwanted=unwanted)
        else:
            alpha, bias, products = subspace_newton(
                space, limit=limit, directions=self._directions(members), check=check, unwanted=unwanted
            )
        theta = heads_of(alpha, bias, rows, members)
        for place, index in enumerate(index for own in sets for index in own):
            steps = (int(products[place]) - 1) // (2 if is_exact else 1)
            self.begun[index] = _Begun(theta[place, :, :], int(products[place]), steps)

    def _begin_by_features(self, together: Sequence[int]) -> None:
        members = [self.blocks[index] for index in together if index not in self.begun]
        if not members or self.control.all_unwanted(members):
            return
        batch = make_batch(self.features, members, dense=fits(members[0], int(self.features.shape[1])))
        if not is_worthwhile(batch):
            return
        key = members[0].rows_key
        if key not in self.preconditioners:
            self.preconditioners[key] = make_preconditioner(batch, self.moments)
        space = PrimalSpace(narrowed(batch, throughout=True) if self.is_narrow else batch, self.preconditioners[key])
        start = space.flat(batch.mask(starting_point(self.features, members)))
        limit = PROVEN_SHARE * self.control.limit(self.n_columns)
        x, count = lbfgs(
            space,
            start,
            limit=limit,
            memory=MEMORY_OF_FEATURES,
            check=self.control.check,
            unwanted=self.control.unwanted(members),
        )
        theta = space.theta(x)
        for place, index in enumerate(index for index in together if index not in self.begun):
            self.begun[index] = _Begun(theta[place, :, :], 2 * int(count[place]), int(count[place]))

    def _to_prove(self) -> Iterator[tuple[list[int], list[Block]]]:
        """Blocks that Newton's method takes together: over the same rows, or over most of the union of theirs."""
        everything = list(range(len(self.blocks)))
        keys = {block.rows_key for block in self.blocks}
        if len(keys) > 1 and None not in keys and len(self.begun) == len(self.blocks):
            union = _union(self.blocks)
            mean_used = sum(block.n_used for block in self.blocks) / len(self.blocks)
            size = 8 * union.size * int(self.features.shape[1])
            if size <= LARGEST_COPY and mean_used >= LEAST_SHARED * union.size:
                masked = _masked(self.blocks, union)
                for together in _chunks(everything, self._most_logits(union.size)):
                    yield together, [masked[index] for index in together]
                return
        for together in self._same_rows(everything, None):
            for some in _chunks(together, self._most_logits(self.blocks[together[0]].n_used)):
                yield some, [self.blocks[index] for index in some]

    def _prove(self, together: Sequence[int], members: Sequence[Block]) -> list[Solved]:
        """Newton's method: with float32 products first where nothing has begun, and with float64 gradients at last."""
        start = starting_point(self.features, members)
        unwanted = self.control.unwanted(members)
        if self.control.all_unwanted(members) and not any(index in self.begun for index in together):
            return [unsolved(start[k, :, :]) for k in range(len(members))]
        batch = make_batch(self.features, members, dense=fits(members[0], int(self.features.shape[1])))
        inner = narrowed(batch) if self.is_narrow else batch
        preconditioner = self.preconditioners.get(members[0].rows_key)
        xp = array_namespace(start)
        begun = [self.begun.get(index) for index in together]
        start = xp.stack([start[k, :, :] if one is None else one.theta for k, one in enumerate(begun)])
        extra = [(0, 0) if one is None else (one.steps, one.passes) for one in begun]
        most = self.control.max_iterations
        if self.is_narrow and None in begun:
            loose = NARROW_SHARE * self.control.tolerance
            first = newton(
                inner, start, tolerance=loose, max_iterations=most, check=self.control.check, unwanted=unwanted
            )
            start = xp.stack([one.theta for one in first])
            extra = [
                (steps + one.iterations, passes + one.passes) for (steps, passes), one in zip(extra, first, strict=True)
            ]
        last = newton(
            batch,
            start,
            tolerance=self.control.tolerance,
            max_iterations=most,
            check=self.control.check,
            unwanted=unwanted,
            inner=inner,
            preconditioner=preconditioner,
        )
        return [
            replace(one, iterations=one.iterations + steps, passes=one.passes + passes)
            for one, (steps, passes) in zip(last, extra, strict=True)
        ]

    def _same_rows(self, positions: Iterable[int], most: int | None) -> Iterator[list[int]]:
        by_rows: dict[object, list[int]] = {}
        for index in positions:
            by_rows.setdefault(self.blocks[index].rows_key, []).append(index)
        for members in by_rows.values():
            yield from _chunks(members, len(members) if most is None else most)

    def _most_heads(self) -> int:
        """Blocks whose vectors L-BFGS may have at a time."""
        per_block = (2 * MEMORY_OF_FEATURES + OTHER_VECTORS) * self.n_columns * int(self.features.shape[1])
        return max(1, WORKSPACE // (8 * per_block))

    def _most_logits(self, n_used: int) -> int:
        return max(1, WORKSPACE // (8 * NEWTON_ARRAYS * n_used * self.n_columns))


def _chunks(values: Sequence[T], most: int) -> Iterator[list[T]]:
    return (list(values[first : first + most]) for first in range(0, len(values), most))


def _union(blocks: Sequence[Block]) -> NDArray[np.int64]:
    distinct = {block.rows_key: block for block in blocks}
    return np.unique(np.concatenate([block.used() for block in distinct.values()]))


def _masked(blocks: Sequence[Block], union: NDArray[np.int64]) -> list[Block]:
    """The same blocks over all rows, with weights of zero where they have none."""
    weights: dict[tuple[object, int], NDArray[np.float64]] = {}
    masked: list[Block] = []
    for block in blocks:
        key = (block.rows_key, id(block.weight))
        if key not in weights:
            weights[key] = np.zeros(union.size)
            weights[key][np.searchsorted(union, block.used())] = block.share()
        masked.append(replace(block, rows=union, weight=weights[key]))
    return masked
