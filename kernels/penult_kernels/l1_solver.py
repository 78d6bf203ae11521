"""How problems with an l1 are solved: binary ones by active sets, all draws in one product; others by descent."""

from collections.abc import Sequence
from dataclasses import replace

from penult_kernels import budget
from penult_kernels.active_sets import active_sets
from penult_kernels.arrays import Array
from penult_kernels.batch_lasso import lasso
from penult_kernels.block_fit import BlockFit, unsolved
from penult_kernels.refit_batch import make_batch, starting_point
from penult_kernels.refit_blocks import Block
from penult_kernels.shared_columns import shared_groups
from penult_kernels.solver_control import Control, fits

ARRAYS_PER_BATCH = 10
"""(n, B, q) arrays that a batch may have at a time."""


def solve_l1(features: Array, blocks: Sequence[Block], control: Control) -> list[BlockFit]:
    """Minimise every block, in order; all of them have an l1."""
    solved: dict[int, BlockFit] = {}
    for indices in _batches(blocks, features.shape[0]):
        members = [blocks[index] for index in indices]
        if control.all_unwanted(members):
            start = starting_point(features, members)
            solved.update((index, unsolved(start[k, :, :])) for k, index in enumerate(indices))
            continue
        solve = _solve_binary if members[0].n_columns == 1 else _descend
        solved.update(zip(indices, solve(features, members, control), strict=True))
    return [solved[index] for index in range(len(blocks))]


def _batches(blocks: Sequence[Block], n_rows: int) -> list[list[int]]:
    """Positions of the blocks that can share their passes, cut to the workspace."""
    cut = shared_groups(blocks, n_rows)
    elsewhere = {index for group in cut for index in group}
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, block in enumerate(blocks):
        if index not in elsewhere:
            alike.setdefault((block.rows_id, block.scaling_id, block.n_columns), []).append(index)
    for members in alike.values():
        first = blocks[members[0]]
        most = max(1, budget.DEFAULT.batch_bytes // (8 * ARRAYS_PER_BATCH * first.n_used * first.n_columns))
        cut.extend(members[begin : begin + most] for begin in range(0, len(members), most))
    return cut


def _descend(features: Array, members: Sequence[Block], control: Control) -> list[BlockFit]:
    return lasso(
        make_batch(features, members, dense=fits(members[0], int(features.shape[1]))),
        starting_point(features, members),
        tolerance=control.tolerance,
        max_iterations=control.max_iterations,
        check=control.check,
        unwanted=control.unwanted(members),
    )


def _solve_binary(features: Array, members: Sequence[Block], control: Control) -> list[BlockFit]:
    """By active sets; a block that stalled goes on by descent from where it was."""
    unwanted = control.unwanted(members)
    found = active_sets(
        features,
        members,
        tolerance=control.tolerance,
        max_iterations=control.max_iterations,
        check=control.check,
        unwanted=unwanted,
    )
    for index, (block, one) in enumerate(zip(members, found, strict=True)):
        left = control.max_iterations - one.iterations
        is_wanted = unwanted is None or not bool(unwanted()[index])
        if not one.converged and left > 0 and is_wanted:
            found[index] = _go_on(features, block, one, replace(control, max_iterations=left))
    return found


def _go_on(features: Array, block: Block, before: BlockFit, control: Control) -> BlockFit:
    after = lasso(
        make_batch(features, [block], dense=fits(block, int(features.shape[1]))),
        before.theta[None, :, :],
        tolerance=control.tolerance,
        max_iterations=control.max_iterations,
        check=control.check,
    )[0]
    iterations, passes = after.iterations + before.iterations, after.passes + before.passes
    return replace(after, iterations=iterations, passes=passes)
