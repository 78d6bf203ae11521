"""Problems with an l1: binary ones by active sets, many in one product; others by proximal Newton.

Draws of many rows, which have nearly the same curvature, go by steps with one that they share.

Everything is computed on the host. If the features are on a device, the rows that any problem uses are copied to the
host once, in their own type, and heads are copied back. Tiles and budgets are the same wherever the features are.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.arrays import blocks as tiles
from penult_kernels.linear.block_fit import BlockFit, unsolved
from penult_kernels.linear.blocks.batch import starting_point
from penult_kernels.linear.blocks.blocks import Block, union
from penult_kernels.linear.blocks.scaling import Scaling
from penult_kernels.linear.control import Control
from penult_kernels.linear.l1.active_set import active_set
from penult_kernels.linear.l1.columns import FEWEST_SLOTS
from penult_kernels.linear.l1.proximal_newton import proximal_newton
from penult_kernels.linear.l1.shared_curvature import are_alike, bytes_of, families, shared_curvature

ARRAYS_PER_BATCH = 10
"""(n, B, q) arrays that a batch holds at a time, at most."""
MOST_SPREAD = 4
"""Rows that a product of a group reads for all its blocks at most, as a multiple of the rows that they use."""
BYTES_PER_ROW = 8 * FEWEST_SLOTS
"""Bytes of the copies of columns of a binary block for each of its rows, in float64."""

LARGEST_PART = 4
"""The features' bytes are this many times those of the draws that are solved together, if the budget is less."""


def solve_l1(features: Array, blocks: Sequence[Block], control: Control) -> list[BlockFit]:
    """Minimise every block, each with an l1; answers in order."""
    if not blocks:
        return []
    rows, blocks = _on_host(features, blocks)
    draws = _draws(blocks, rows)
    taken = {index for indices in draws for index in indices}
    binary = [index for index, block in enumerate(blocks) if block.n_columns == 1 and index not in taken]
    ways = [(_solve_draws, draws), (_solve_binary, _binary_groups(blocks, binary, rows.shape[0], control))]
    found: dict[int, BlockFit] = {}
    for solve, groups in [*ways, (_solve_columns, _batches(blocks))]:
        for indices in groups:
            members = [blocks[index] for index in indices]
            if control.all_unwanted(members):
                fits = [unsolved(theta) for theta in starting_point(rows, members)]
            else:
                fits = solve(rows, members, control)
            found.update(zip(indices, fits, strict=True))
    return [replace(found[index], theta=asarray_like(found[index].theta, features)) for index in range(len(blocks))]


def _on_host(features: Array, blocks: Sequence[Block]) -> tuple[NDArray[Any], Sequence[Block]]:
    """The features (N, D) and the blocks on the host; NumPy arrays are not copied.

    Only rows that a block uses are copied: the others are zeros, whose memory is never touched.
    """
    if is_numpy_array(features):
        return features, blocks
    xp = array_namespace(features)
    used = union(blocks)
    rows = np.zeros(features.shape, to_host(features[:1, :]).dtype)
    for tile in tiles(used.size, budget.DEFAULT.rows_per_tile):
        rows[used[tile]] = to_host(xp.take(features, asarray_like(used[tile], features), axis=0))
    distinct = {block.scaling_id: block.scaling for block in blocks}
    scalings = {key: Scaling(to_host(one.mean), to_host(one.scale)) for key, one in distinct.items()}
    return rows, [
        replace(
            block,
            scaling=scalings[block.scaling_id],
            start=None if block.start is None else to_host(block.start),
        )
        for block in blocks
    ]


def _draws(blocks: Sequence[Block], rows: NDArray[Any]) -> list[list[int]]:
    """Positions of the binary blocks that are solved with shared curvatures, in groups that fit in memory.

    Rows that fit in memory in float64 are left to active sets, as are blocks with a start.
    """
    binary = [index for index, block in enumerate(blocks) if block.n_columns == 1 and block.start is None]
    groups: list[list[int]] = []
    n_features, n_bytes = int(rows.shape[1]), 0
    most = max(budget.DEFAULT.own_columns_bytes, rows.nbytes // LARGEST_PART)
    for places in families([blocks[index] for index in binary]):
        family = [binary[place] for place in places]
        members = [blocks[index] for index in family]
        if not are_alike(members, n_features):
            continue
        if 8 * union(members).size * n_features <= budget.DEFAULT.columns_bytes:
            continue
        for place, index in enumerate(family):
            own = bytes_of(blocks[index], n_features, is_first=place == 0)
            if not groups or n_bytes + own > most:
                groups.append([])
                n_bytes = 0
            groups[-1].append(index)
            n_bytes += own
    return groups


def _binary_groups(blocks: Sequence[Block], binary: Sequence[int], n_rows: int, control: Control) -> list[list[int]]:
    """The positions of binary blocks in groups that share a product and fit in memory.

    A product reads all rows that any block of the group uses, so blocks that use few of them get groups of their own.
    """
    groups: list[list[int]] = []
    used, total, n_bytes = np.zeros(n_rows, np.bool_), 0, 0
    for index in binary:
        block = blocks[index]
        if control.check is not None:
            control.check()
        own, n_used = block.used(), block.n_used
        wider = used.copy()
        wider[own] = True
        is_spread = np.count_nonzero(wider) * (len(groups[-1]) + 1 if groups else 1) > MOST_SPREAD * (total + n_used)
        if not groups or is_spread or n_bytes + n_used * BYTES_PER_ROW > budget.DEFAULT.own_columns_bytes:
            groups.append([])
            wider[:] = False
            wider[own] = True
            total, n_bytes = 0, 0
        groups[-1].append(index)
        used, total, n_bytes = wider, total + n_used, n_bytes + n_used * BYTES_PER_ROW
    return groups


def _batches(blocks: Sequence[Block]) -> list[list[int]]:
    """Positions of the blocks of several columns that share rows and scaling, cut to the memory of a batch."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, block in enumerate(blocks):
        if block.n_columns > 1:
            alike.setdefault((block.rows_id, block.scaling_id, block.n_columns), []).append(index)
    found: list[list[int]] = []
    for members in alike.values():
        first = blocks[members[0]]
        most = max(1, budget.DEFAULT.batch_bytes // (8 * ARRAYS_PER_BATCH * first.n_used * first.n_columns))
        found.extend(members[begin : begin + most] for begin in range(0, len(members), most))
    return found


def _solve_columns(rows: NDArray[Any], members: Sequence[Block], control: Control) -> list[BlockFit]:
    """Blocks of several columns over the same rows."""
    return proximal_newton(rows, members, control.stop(members))


def _solve_draws(rows: NDArray[Any], members: Sequence[Block], control: Control) -> list[BlockFit]:
    """Shared curvatures; a block that stalls continues by active sets from its best head."""
    found = shared_curvature(rows, members, control.stop(members))

    def goes_on(rows: NDArray[Any], block: Block, one: BlockFit, left: int) -> BlockFit:
        own = replace(control, max_iterations=left)
        return _solve_binary(rows, [replace(block, start=one.theta)], own)[0]

    return _continued(rows, members, found, control, goes_on)


def _solve_binary(rows: NDArray[Any], members: Sequence[Block], control: Control) -> list[BlockFit]:
    """Active sets; a block that stalls continues by proximal Newton from its best head."""
    found = active_set(rows, members, control.stop(members))

    def goes_on(rows: NDArray[Any], block: Block, one: BlockFit, left: int) -> BlockFit:
        rest = control.stop([block], max_iterations=left)
        return proximal_newton(rows, [block], rest, one.theta[None, :, :])[0]

    return _continued(rows, members, found, control, goes_on)


def _continued(
    rows: NDArray[Any],
    members: Sequence[Block],
    found: list[BlockFit],
    control: Control,
    goes_on: Callable[[NDArray[Any], Block, BlockFit, int], BlockFit],
) -> list[BlockFit]:
    """The fits, those that have not converged after they have gone on for the steps that are left."""
    stop = control.stop(members)
    for index, (block, one) in enumerate(zip(members, found, strict=True)):
        left = stop.max_iterations - one.iterations
        is_wanted = stop.unwanted is None or not bool(stop.unwanted()[index])
        if not one.converged and left > 0 and is_wanted:
            after = goes_on(rows, block, one, left)
            iterations, passes = after.iterations + one.iterations, after.passes + one.passes
            found[index] = replace(after, iterations=iterations, passes=passes)
    return found
