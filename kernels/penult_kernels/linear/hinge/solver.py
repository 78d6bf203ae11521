"""Blocks with hinge losses: their rows on the host, a machine each, and its certificate in terms of the problem."""

import math
from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.arrays import blocks as tiles
from penult_kernels.linear.block_fit import BlockFit, unsolved
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.control import Control
from penult_kernels.linear.hinge.machine import Machine, check_size, class_basis, constraints_of, solve_machine
from penult_kernels.linear.problem import Intercept

Floats = NDArray[np.float64]


def solve_hinge(features: Array, blocks: Sequence[Block], control: Control) -> list[BlockFit]:
    """Minimise every block; without an l2 the head of the largest margin, with an infinite gap for inseparable rows.

    A block has converged when its gap is at most tolerance times its objective: with a weak l2 both are small. Raises
    ValueError for an l1, a free intercept, or targets that are no classes.
    """
    found: list[BlockFit] = []
    for block in blocks:
        found.append(_solved(features, block, control))
        control.stop([block]).left(np.ones(1, np.bool_))
    return found


def _solved(features: Array, block: Block, control: Control) -> BlockFit:
    if block.l1 > 0:
        raise ValueError("hinge losses have an l2, not an l1: leave l1 out")
    if block.intercept is Intercept.FREE:
        raise ValueError("hinge losses have no free intercept: ask for none, or a penalised one")
    if control.all_unwanted([block]):
        return unsolved(asarray_like(np.zeros((block.n_columns, int(features.shape[1]) + 1)), features))
    weight, target = block.sample_weight(), block.target()
    used = np.flatnonzero(weight > 0)
    y = np.argmax(target[used], axis=1)
    if not bool((target[used, y] == 1.0).all()):
        raise ValueError("hinge losses need classes as targets, not distributions over them")
    check_size(used.size, int(features.shape[1]), block.n_columns, has_offset=block.full_offset is not None)
    z = _rows(features, block, used)
    if block.intercept is Intercept.PENALIZED:
        z = np.column_stack([z, np.full(used.size, block.intercept_scale)])
    most = weight[used] / block.l2 if block.l2 > 0 else np.full(used.size, np.inf)
    offset = None if block.full_offset is None else block.offset()[used]
    found = solve_machine(
        constraints_of(z, y, block.n_columns, most, offset),
        tolerance=control.tolerance,
        max_rounds=control.max_iterations,
        check=control.stop([block]).check,
    )
    return _fit(found, block, features, control)


def _rows(features: Array, block: Block, used: NDArray[np.int64]) -> Floats:
    """(n, D) rows as they are solved, on the host."""
    xp = array_namespace(features)
    mean, scale = to_host(block.scaling.mean), to_host(block.scaling.scale)
    places = block.used()[used]
    found = np.empty((used.size, int(features.shape[1])))
    for tile in tiles(used.size, budget.DEFAULT.rows_per_tile):
        chosen = to_host(xp.take(features, asarray_like(places[tile], features), axis=0))
        found[tile] = (chosen.astype(np.float64) - mean) / scale
    return found


def _fit(found: Machine, block: Block, features: Array, control: Control) -> BlockFit:
    head = class_basis(block.n_columns) @ found.w
    d = int(features.shape[1])
    bias = block.intercept_scale * head[:, d:] if block.intercept is Intercept.PENALIZED else np.zeros((len(head), 1))
    scale = block.l2 or 1.0
    gap = found.gap if math.isfinite(found.primal) else math.inf
    return BlockFit(
        theta=asarray_like(np.column_stack([head[:, :d], bias]), features),
        gap=scale * gap,
        gradient_norm=0.0,
        iterations=found.iterations,
        passes=2 * found.iterations,
        objective=scale * found.primal,
        converged=gap <= control.tolerance * abs(found.primal) if math.isfinite(gap) else False,
    )
