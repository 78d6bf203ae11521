"""How L2 problems are solved: a quick method where `choose` finds that it pays, then Newton's method, which certifies.

Problems with fewer rows than features are solved in the space of their rows by Newton's method in a growing subspace,
sets of rows of one size together (`l2.by_rows`); others by L-BFGS in the space of their features, all heads in one
product with each tile of rows (`l2.by_features`). Both compute in float32 if it holds the features and reaches the
tolerance. Newton's method starts from their results: if these are good enough, one gradient in float64 certifies them,
and if not it takes further steps.
"""

from collections.abc import Sequence
from dataclasses import replace

from array_api_compat import array_namespace

from penult_kernels import budget
from penult_kernels.arrays import Array, fits_float32
from penult_kernels.linear.block_fit import BlockFit, unsolved
from penult_kernels.linear.blocks.batch import as_float32, make_batch, starting_point
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.control import Control
from penult_kernels.linear.l2.by_features import ByFeatures
from penult_kernels.linear.l2.by_rows import ByRows
from penult_kernels.linear.l2.choose import Engine, engines
from penult_kernels.linear.l2.eigenbasis import Eigenbases, Preconditioner, joined
from penult_kernels.linear.l2.newton_cg import newton
from penult_kernels.linear.l2.plan import Footprint, Together, apart, together
from penult_kernels.linear.l2.quick_loop import WarmStart

NEWTON_ARRAYS = 6
"""(n, B, q) arrays that Newton's method holds at a time."""
CERTIFICATE_ARRAYS = 2
"""(n, B, q) arrays that certifying a warm start holds at a time, if no step is needed."""
FLOAT32_FRACTION = 0.5
"""Fraction of the tolerance at which Newton's method without a warm start ends its steps with float32 products."""
STEPS_TOGETHER = 2
"""Newton steps that a block takes at most over a union of rows; one that needs more continues over its own rows."""


def solve_l2(features: Array, blocks: Sequence[Block], control: Control, bases: Eigenbases) -> list[BlockFit]:
    """Minimise every block, ignoring its l1; answers in order."""
    alike: dict[tuple[int, bool], list[int]] = {}
    for index, block in enumerate(blocks):
        alike.setdefault((block.n_columns, block.l2 > 0), []).append(index)
    solved: dict[int, BlockFit] = {}
    for positions in alike.values():
        solver = _BlockSolver(features, [blocks[index] for index in positions], control, bases)
        solved.update(zip(positions, solver.solve(), strict=True))
    return [solved[index] for index in range(len(blocks))]


class _BlockSolver:
    """Solves blocks of equally many columns, all with an l2 or all without."""

    def __init__(self, features: Array, blocks: Sequence[Block], control: Control, bases: Eigenbases) -> None:
        self.features = features
        self.blocks = blocks
        self.control = control
        self.is_float32 = fits_float32(features)
        self.by_rows = ByRows(features, blocks, control)
        self.by_features = ByFeatures(features, blocks, control, bases)
        self.starts: dict[int, WarmStart] = {}
        self.footprint = Footprint(
            n_rows=int(features.shape[0]),
            n_features=int(features.shape[1]),
            row_width=8,
            per_block=0,
            per_row=8 * NEWTON_ARRAYS * blocks[0].n_columns,
            within=budget.of(features),
        )

    def solve(self) -> list[BlockFit]:
        """Warm starts by the quick methods, then Newton's method for every block; answers in order."""
        self._warm_up()
        solved: dict[int, BlockFit] = {}
        for alike in self._by_preconditioner():
            parts = self._parts(alike)
            larger = self._larger_parts(alike) if len(parts) > 1 and alike[0] in self.starts else parts
            if len(larger) < len(parts):
                solved.update(self._certify_starts(larger))
                left = [index for index in alike if index not in solved]
                parts = self._parts(left) if left else []
            for part in parts:
                solved.update(zip(part.positions, self._certify(part, self.control.max_iterations), strict=True))
        return [solved[index] for index in range(len(self.blocks))]

    def _warm_up(self) -> None:
        """Warm starts of each block by its best engine, or by the next if an eigenbasis does not pay."""
        order = {index: self._engines(index) for index in range(len(self.blocks))}
        either = [index for index, own in order.items() if {Engine.ROWS, Engine.FEATURES} <= set(own)]
        if either and self.by_features.work(either) < self.by_rows.work(either):
            order.update({index: self._engines(index, features_are_less_work=True) for index in either})
        by_features = [index for index, own in order.items() if own[0] is Engine.FEATURES]
        self.starts.update(self.by_features.warm_starts(by_features))
        by_rows = [index for index, own in order.items() if Engine.ROWS in own and index not in self.starts]
        self.starts.update(self.by_rows.warm_starts(by_rows))

    def _engines(self, index: int, *, features_are_less_work: bool = False) -> tuple[Engine, ...]:
        block = self.blocks[index]
        return engines(
            block.n_used,
            int(self.features.shape[1]),
            has_l2=block.l2 > 0,
            has_start=block.start is not None,
            features_are_less_work=features_are_less_work,
        )

    def _by_preconditioner(self) -> list[list[int]]:
        """Positions grouped by preconditioner: no warm start, one without an eigenbasis, one of each eigenbasis."""
        found: dict[object, list[int]] = {}
        for index in range(len(self.blocks)):
            one = self.starts.get(index)
            basis = None if one is None or one.preconditioner is None else one.preconditioner.basis
            found.setdefault((one is None, basis), []).append(index)
        return list(found.values())

    def _parts(self, positions: Sequence[int]) -> list[Together]:
        """Groups that are certified together; without warm starts only blocks over the same rows."""
        parts = together if positions[0] in self.starts else apart
        return list(parts(self.blocks, positions, self.footprint))

    def _larger_parts(self, positions: Sequence[int]) -> list[Together]:
        """Larger groups of blocks with warm starts: a certificate takes less memory than a step of Newton's method."""
        per_row = 8 * CERTIFICATE_ARRAYS * self.blocks[0].n_columns
        return list(together(self.blocks, positions, replace(self.footprint, per_row=per_row)))

    def _certify_starts(self, parts: Sequence[Together]) -> dict[int, BlockFit]:
        """Answers for the warm starts that are good enough, in groups too large for a step of Newton's method."""
        found: dict[int, BlockFit] = {}
        for part in parts:
            for index, one in zip(part.positions, self._certify(part, 0), strict=True):
                if one.converged:
                    found[index] = one
                else:
                    self.starts[index] = replace(self.starts[index], passes=one.passes)
        return found

    def _certify(self, part: Together, most: int) -> list[BlockFit]:
        """Certify by float64 gradients, with at most `most` steps of Newton's method.

        Without warm starts, steps with float32 products come first.
        """
        members = part.members(self.blocks)
        start = starting_point(self.features, members)
        warm = [self.starts[index] for index in part.positions if index in self.starts]
        if not warm and self.control.all_unwanted(members):
            return [unsolved(start[k, :, :]) for k in range(len(members))]
        # Of float64 rows that are all used a copy saves neither a conversion nor a gathering.
        is_kept = part.one_scaling and (self.is_float32 or part.rows is not None)
        batch = make_batch(self.features, members, dense=is_kept and self.footprint.may_keep(part.n_used))
        inner = as_float32(batch, dense=self._is_worth_a_copy(part)) if self.is_float32 else batch
        before: Sequence[BlockFit | WarmStart] = warm
        if self.is_float32 and not warm:
            before = newton(inner, start, self.control.stop(members, fraction=FLOAT32_FRACTION, max_iterations=most))
        if before:
            start = array_namespace(start).stack([one.theta for one in before])
        steps = min(most, STEPS_TOGETHER) if part.is_masked else most
        stop = self.control.stop(members, max_iterations=steps)
        last = newton(batch, start, stop, inner=inner, preconditioner=_preconditioner(warm))
        solved = [_added(one, to) for one, to in zip(last, before, strict=True)] if before else last
        if part.is_masked and most > STEPS_TOGETHER:
            self._go_on(part.positions, [one.iterations for one in last], solved)
        return solved

    def _is_worth_a_copy(self, part: Together) -> bool:
        """Whether many steps are expected over rows that each product would have to gather."""
        is_cold = part.positions[0] not in self.starts
        return is_cold and part.rows is not None and replace(self.footprint, row_width=4).may_keep(part.n_used)

    def _go_on(self, positions: Sequence[int], steps: Sequence[int], solved: list[BlockFit]) -> None:
        """Continue over their own rows with the blocks that a few steps over a union of rows left unsolved."""
        place = {
            index: k for k, index in enumerate(positions) if steps[k] == STEPS_TOGETHER and not solved[k].converged
        }
        for index, k in place.items():
            one = solved[k]
            self.starts[index] = replace(
                self.starts[index], theta=one.theta, iterations=one.iterations, passes=one.passes
            )
        for part in apart(self.blocks, list(place), self.footprint):
            for index, one in zip(part.positions, self._certify(part, self.control.max_iterations), strict=True):
                solved[place[index]] = one


def _added(one: BlockFit, before: BlockFit | WarmStart) -> BlockFit:
    """An answer that also counts the iterations and passes of its warm start."""
    return replace(one, iterations=one.iterations + before.iterations, passes=one.passes + before.passes)


def _preconditioner(warm: Sequence[WarmStart]) -> Preconditioner | None:
    """The preconditioner of blocks whose warm starts used one eigenbasis; None if they used none."""
    parts = [one.preconditioner for one in warm if one.preconditioner is not None]
    return joined(parts) if parts else None
