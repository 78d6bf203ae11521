"""How L2 problems are solved: a quick method where `choose` finds that it pays, then Newton's method, which certifies.

Problems with fewer rows than features go down in the space of their rows by Newton's method in a growing subspace, sets
of one size together (`l2_by_rows`); others by L-BFGS in the space of their features, a passing tile of rows
multiplied with all heads (`l2_by_features`). Both in float32 where the features are no wider and no more is asked for.
Newton's method begins where they ended: one gradient in float64 is enough where they ended well, and where they did
not it goes on.
"""

from collections.abc import Sequence
from dataclasses import replace

from array_api_compat import array_namespace

from penult_kernels.arrays import Array, is_narrow
from penult_kernels.batch_newton import newton
from penult_kernels.block_fit import BlockFit, unsolved
from penult_kernels.choose import Engine, engines
from penult_kernels.eigenbasis import Eigenbases, Preconditioner, joined
from penult_kernels.l2_by_features import ByFeatures
from penult_kernels.l2_by_rows import ByRows
from penult_kernels.l2_plan import Footprint, Together, apart, together
from penult_kernels.quick_loop import WarmStart
from penult_kernels.refit_batch import make_batch, narrowed, starting_point
from penult_kernels.refit_blocks import Block
from penult_kernels.solver_control import Control

NEWTON_ARRAYS = 6
"""Newton's method has so many (n, B, q) arrays at a time."""
CERTIFICATE_ARRAYS = 2
"""Seeing that no step is needed takes so many (n, B, q) arrays at a time."""
FLOAT32_SHARE = 0.5
"""Newton's method with float32 products goes down to this share of the tolerance, where there are no warm starts."""
STEPS_TOGETHER = 2
"""A block takes at most so many Newton steps over more rows than its own; one that needs more goes on over its own."""


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
        self.is_float32 = is_narrow(features)
        self.by_rows = ByRows(features, blocks, control)
        self.by_features = ByFeatures(features, blocks, control, bases)
        self.starts: dict[int, WarmStart] = {}
        self.footprint = Footprint(
            n_rows=int(features.shape[0]),
            n_features=int(features.shape[1]),
            row_width=8,
            per_block=0,
            per_row=8 * NEWTON_ARRAYS * blocks[0].n_columns,
        )

    def solve(self) -> list[BlockFit]:
        """Every block."""
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
        """Go down by the engine that is best for each block, or the next where that does not pay."""
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
        """Blocks without a warm start, with one that no eigenbasis led to, and with one of each eigenbasis."""
        found: dict[object, list[int]] = {}
        for index in range(len(self.blocks)):
            one = self.starts.get(index)
            basis = None if one is None or one.preconditioner is None else one.preconditioner.basis
            found.setdefault((one is None, basis), []).append(index)
        return list(found.values())

    def _parts(self, positions: Sequence[int]) -> list[Together]:
        """Blocks that are certified together; over their own rows only where there are no warm starts."""
        parts = together if positions[0] in self.starts else apart
        return list(parts(self.blocks, positions, self.footprint))

    def _larger_parts(self, positions: Sequence[int]) -> list[Together]:
        """Blocks with warm starts in larger parts: a certificate takes less memory than a step of Newton's method."""
        per_row = 8 * CERTIFICATE_ARRAYS * self.blocks[0].n_columns
        return list(together(self.blocks, positions, replace(self.footprint, per_row=per_row)))

    def _certify_starts(self, parts: Sequence[Together]) -> dict[int, BlockFit]:
        """The blocks whose warm starts are good enough, of parts that are too large for a step of Newton's method."""
        found: dict[int, BlockFit] = {}
        for part in parts:
            for index, one in zip(part.positions, self._certify(part, 0), strict=True):
                if one.converged:
                    found[index] = one
                else:
                    self.starts[index] = replace(self.starts[index], passes=one.passes)
        return found

    def _certify(self, part: Together, most: int) -> list[BlockFit]:
        """At most so many steps of Newton's method, tested by float64 gradients.

        Where there are no warm starts, steps with float32 products go before.
        """
        members = part.members(self.blocks)
        start = starting_point(self.features, members)
        warm = [self.starts[index] for index in part.positions if index in self.starts]
        if not warm and self.control.all_unwanted(members):
            return [unsolved(start[k, :, :]) for k in range(len(members))]
        batch = make_batch(self.features, members, dense=part.one_scaling and self.footprint.may_keep(part.n_used))
        inner = narrowed(batch, dense=self._is_worth_a_copy(part)) if self.is_float32 else batch
        before: Sequence[BlockFit | WarmStart] = warm
        if self.is_float32 and not warm:
            before = newton(inner, start, self.control.stop(members, share=FLOAT32_SHARE, max_iterations=most))
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
        """Whether the products of many steps are to come, over rows that would be gathered for each."""
        is_cold = part.positions[0] not in self.starts
        return is_cold and part.rows is not None and replace(self.footprint, row_width=4).may_keep(part.n_used)

    def _go_on(self, positions: Sequence[int], steps: Sequence[int], solved: list[BlockFit]) -> None:
        """Put what was not met in a few steps over more rows than its own to the end over these."""
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
    """An answer with what it took to come to its start."""
    return replace(one, iterations=one.iterations + before.iterations, passes=one.passes + before.passes)


def _preconditioner(warm: Sequence[WarmStart]) -> Preconditioner | None:
    """The preconditioner of blocks whose warm starts have one eigenbasis."""
    parts = [one.preconditioner for one in warm if one.preconditioner is not None]
    return joined(parts) if parts else None
