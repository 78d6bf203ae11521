"""How L2 problems are solved: a quick method where it pays, then Newton's method, which proves the answer.

Problems with fewer rows than features go down in the space of their rows by Newton's method in a growing subspace, sets
of one size together (`l2_by_rows`); others by L-BFGS in the space of their features, a passing tile of rows
multiplied with all heads (`l2_by_features`). Both in float32 where the features are no wider and no more is asked for.
On a GPU, where calls are dear and arithmetic is cheap, binary problems of not too many rows take exact Newton steps
in the space of their rows instead, in float64. Newton's method begins where they ended: one gradient in float64 is
enough where they ended well, and where they did not it goes on.
"""

from collections.abc import Sequence
from dataclasses import replace

from array_api_compat import array_namespace

from penult_kernels.arrays import Array, is_narrow
from penult_kernels.batch_newton import newton
from penult_kernels.block_fit import BlockFit, unsolved
from penult_kernels.eigenbasis import Eigenbases
from penult_kernels.l2_by_features import ByFeatures
from penult_kernels.l2_by_rows import ByRows
from penult_kernels.l2_plan import Begun, Room, Together, apart, together
from penult_kernels.preconditioner import Preconditioner
from penult_kernels.refit_batch import make_batch, narrowed, starting_point
from penult_kernels.refit_blocks import Block
from penult_kernels.solver_control import Control

NEWTON_ARRAYS = 6
"""(n, B, q) arrays that Newton's method has at a time,"""
PROOF_ARRAYS = 2
"""and that it takes to see that no step is needed."""
NARROW_SHARE = 0.5
"""Of the tolerance: what Newton's method with float32 products goes down to where nothing has begun."""
STEPS_TOGETHER = 2
"""Of Newton's method over more rows than a block has; one that takes more goes on over its own."""


def solve_l2(features: Array, blocks: Sequence[Block], control: Control, bases: Eigenbases) -> list[BlockFit]:
    """Minimise every block, in order; their l1 is not looked at."""
    alike: dict[tuple[int, bool], list[int]] = {}
    for index, block in enumerate(blocks):
        alike.setdefault((block.n_columns, block.l2 > 0), []).append(index)
    solved: dict[int, BlockFit] = {}
    for positions in alike.values():
        part = _Part(features, [blocks[index] for index in positions], control, bases)
        solved.update(zip(positions, part.solve(), strict=True))
    return [solved[index] for index in range(len(blocks))]


class _Part:
    """Blocks with as many columns each, all with an l2 or none."""

    def __init__(self, features: Array, blocks: Sequence[Block], control: Control, bases: Eigenbases) -> None:
        self.features = features
        self.blocks = blocks
        self.control = control
        self.is_narrow = is_narrow(features)
        self.by_rows = ByRows(features, blocks, control)
        self.by_features = ByFeatures(features, blocks, control, bases)
        self.begun: dict[int, Begun] = {}
        self.room = Room(
            n_rows=int(features.shape[0]),
            n_features=int(features.shape[1]),
            row_width=8,
            per_block=0,
            per_row=8 * NEWTON_ARRAYS * blocks[0].n_columns,
        )

    def solve(self) -> list[BlockFit]:
        """Every block."""
        everything = range(len(self.blocks))
        if self.blocks[0].l2 > 0:
            possible = [index for index in everything if self.by_rows.is_possible(index)]
            by_rows = set(possible) - self._better_by_features(possible)
            others = [index for index in everything if index not in by_rows and self.by_features.is_possible(index)]
            self.begun.update(self.by_features.begin(others))
            # Also those for which an eigenbasis would not have paid.
            self.begun.update(self.by_rows.begin([index for index in possible if index not in self.begun]))
        solved: dict[int, BlockFit] = {}
        for alike in self._by_preconditioner():
            parts = self._parts(alike)
            if len(parts) > 1 and alike[0] in self.begun:
                room = replace(self.room, per_row=8 * PROOF_ARRAYS * self.blocks[0].n_columns)
                larger = list(together(self.blocks, alike, room))
                if len(larger) < len(parts):
                    solved.update(self._proven_as_begun(larger))
                    left = [index for index in alike if index not in solved]
                    parts = self._parts(left) if left else []
            for part in parts:
                solved.update(zip(part.positions, self._prove(part, self.control.max_iterations), strict=True))
        return [solved[index] for index in everything]

    def _proven_as_begun(self, parts: Sequence[Together]) -> dict[int, BlockFit]:
        """Blocks that a quick method has solved, in parts too large for a step of Newton's method."""
        found: dict[int, BlockFit] = {}
        for part in parts:
            for index, one in zip(part.positions, self._prove(part, 0), strict=True):
                if one.converged:
                    found[index] = one
                else:
                    self.begun[index] = replace(self.begun[index], passes=one.passes)
        return found

    def _better_by_features(self, possible: Sequence[int]) -> set[int]:
        """Of blocks that can be begun in the space of their rows, those that had better not be."""
        either = [
            index
            for index in possible
            if self.by_features.is_possible(index) and not self.by_rows.is_exact(self.blocks[index].n_used)
        ]
        is_less = bool(either) and self.by_features.work(either) < self.by_rows.work(either)
        return set(either) if is_less else set()

    def _by_preconditioner(self) -> list[list[int]]:
        found: dict[object, list[int]] = {}
        for index in range(len(self.blocks)):
            begun = self.begun.get(index)
            found.setdefault(None if begun is None else ("begun", begun.basis), []).append(index)
        return list(found.values())

    def _parts(self, positions: Sequence[int]) -> list[Together]:
        """Those that are proven together. From the beginning Newton's method takes too many passes for more rows."""
        if positions[0] in self.begun:
            return list(together(self.blocks, positions, self.room))
        return list(apart(self.blocks, positions, self.room))

    def _prove(self, part: Together, most: int) -> list[BlockFit]:
        """At most so many steps of Newton's method.

        With float32 products first where nothing has begun, and with float64 gradients at last.
        """
        members = part.members(self.blocks)
        start = starting_point(self.features, members)
        unwanted = self.control.unwanted(members)
        begun = [self.begun.get(index) for index in part.positions]
        if begun[0] is None and self.control.all_unwanted(members):
            return [unsolved(start[k, :, :]) for k in range(len(members))]
        batch = make_batch(self.features, members, dense=part.one_scaling and self.room.may_keep(part.n_used))
        inner = narrowed(batch, dense=self._is_worth_a_copy(part)) if self.is_narrow else batch
        xp = array_namespace(start)
        start = xp.stack([start[k, :, :] if one is None else one.theta for k, one in enumerate(begun)])
        extra = [(0, 0) if one is None else (one.steps, one.passes) for one in begun]
        if self.is_narrow and begun[0] is None:
            loose = NARROW_SHARE * self.control.tolerance
            first = newton(
                inner, start, tolerance=loose, max_iterations=most, check=self.control.check, unwanted=unwanted
            )
            start = xp.stack([one.theta for one in first])
            extra = [(one.iterations, one.passes) for one in first]
        last = newton(
            batch,
            start,
            tolerance=self.control.tolerance,
            max_iterations=min(most, STEPS_TOGETHER) if part.is_masked else most,
            check=self.control.check,
            unwanted=unwanted,
            inner=inner,
            preconditioner=_preconditioner(begun),
        )
        solved = [
            replace(one, iterations=one.iterations + steps, passes=one.passes + passes)
            for one, (steps, passes) in zip(last, extra, strict=True)
        ]
        if part.is_masked and most > STEPS_TOGETHER:
            self._go_on(part.positions, [one.iterations for one in last], solved)
        return solved

    def _is_worth_a_copy(self, part: Together) -> bool:
        """Whether the products of many steps are to come, over rows that would be gathered for each."""
        is_cold = part.positions[0] not in self.begun
        return is_cold and part.rows is not None and replace(self.room, row_width=4).may_keep(part.n_used)

    def _go_on(self, positions: Sequence[int], steps: Sequence[int], solved: list[BlockFit]) -> None:
        """Put what was not met in a few steps over more rows than its own to the end over these."""
        place = {
            index: k for k, index in enumerate(positions) if steps[k] == STEPS_TOGETHER and not solved[k].converged
        }
        for index, k in place.items():
            one = solved[k]
            self.begun[index] = replace(self.begun[index], theta=one.theta, steps=one.iterations, passes=one.passes)
        for part in apart(self.blocks, list(place), self.room):
            for index, one in zip(part.positions, self._prove(part, self.control.max_iterations), strict=True):
                solved[place[index]] = one


def _preconditioner(begun: Sequence[Begun | None]) -> Preconditioner | None:
    """That of blocks which one eigenbasis has begun."""
    first = begun[0]
    if first is None or first.basis is None:
        return None
    means = [one.mean for one in begun if one is not None]
    return Preconditioner(first.basis, array_namespace(first.theta).stack(means))
