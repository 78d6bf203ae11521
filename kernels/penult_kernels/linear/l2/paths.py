"""Penalties of one problem: some are solved roughly first, and all start from what is interpolated between them.

A solution is a smooth function of the logarithm of its l2. Between solutions at most SPACING decades apart a cubic
through the nearest four comes within 1e-5 nats of the others, or nearer, where a start at zero is ten times as many
evaluations away. The ends of a path are solved first, so nothing is extrapolated.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.l2.choose import interpolation_pays

SPACING = 0.75
"""Decades of l2 between two neighbours of the penalties that are solved first, at most."""
POINTS = 4
"""Solutions that an interpolation uses at most."""
ROUGH_GAP = 1e-5
"""A gap, nats, that interpolation leaves: what is solved first need not be better."""


WEAKER = 3
"""The penalty that others branch off from has a third of them below it: those need the most directions."""


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Blocks that are solved first, and how all others start from them."""

    positions: NDArray[np.int64]
    """(A,) ascending."""
    weights: NDArray[np.float64]
    """(B, A): the start of each of all blocks is the weighted sum of these solutions."""

    @property
    def nearest(self) -> NDArray[np.int64]:
        """(B,) the one of the A blocks whose solution counts most."""
        return np.argmax(np.abs(self.weights), axis=1)


def anchors(blocks: Sequence[Block]) -> Anchors | None:
    """Which of the blocks, of equally many columns and all with an l2, to solve first; None where it does not pay."""
    starts: dict[int, dict[int, float]] = {}
    for path in _paths(blocks):
        for place, own in _starts([math.log10(blocks[index].l2) for index in path]):
            starts[path[place]] = {path[source]: weight for source, weight in own.items()}
    positions = np.unique([source for own in starts.values() for source in own])
    if not interpolation_pays((len(blocks) - positions.size) * blocks[0].n_columns):
        return None
    # Of few columns a batch has so many blocks that their weights would take more than they do.
    if 8 * len(blocks) * positions.size > budget.DEFAULT.batch_bytes:
        return None
    weights = np.zeros((len(blocks), positions.size))
    for index, own in starts.items():
        weights[index, np.searchsorted(positions, list(own))] = list(own.values())
    return Anchors(positions, weights)


def sources(blocks: Sequence[Block]) -> NDArray[np.int64]:
    """(B,) for each block the position of the one that differs from it in its l2 alone and is solved roughly first."""
    found = np.zeros(len(blocks), np.int64)
    for path in _paths(blocks):
        by_l2 = sorted(path, key=lambda index: blocks[index].l2)
        found[path] = by_l2[(len(path) - 1) // WEAKER]
    return found


def _paths(blocks: Sequence[Block]) -> list[list[int]]:
    """Positions of blocks that differ in their l2 alone, and start from zero; of each other block, alone."""
    found: dict[object, list[int]] = {}
    for index, block in enumerate(blocks):
        ids = (block.rows_id, block.weight_id, block.target_id, block.offset_id, block.scaling_id)
        key = (ids, block.intercept, block.bias_penalty) if block.start is None else index
        found.setdefault(key, []).append(index)
    return list(found.values())


def _starts(at: Sequence[float]) -> Iterator[tuple[int, dict[int, float]]]:
    """For each place of a path the weights of those that are solved first; 1 of itself for one of these."""
    n_gaps = math.ceil((max(at) - min(at)) / SPACING)
    wanted = np.linspace(min(at), max(at), n_gaps + 1)
    # Of equal penalties one is solved first.
    nodes = {at[place]: place for place in (int(np.argmin(np.abs(np.asarray(at) - one))) for one in wanted)}
    for place, here in enumerate(at):
        chosen = [here] if here in nodes else _nearest(nodes, here)
        yield place, {nodes[node]: _lagrange(node, chosen, here) for node in chosen}


def _nearest(nodes: Iterable[float], at: float) -> list[float]:
    return sorted(nodes, key=lambda node: abs(node - at))[:POINTS]


def _lagrange(node: float, nodes: Sequence[float], at: float) -> float:
    """The weight of the value at one of the nodes in their interpolating polynomial at a point."""
    return math.prod((at - other) / (node - other) for other in nodes if other != node)
