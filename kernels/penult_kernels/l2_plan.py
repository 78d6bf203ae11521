"""Which L2 blocks are solved together, over which rows.

Blocks over the same rows share every product. Blocks over others do so, too, as blocks over all their rows with
weights of zero where they have none: products of many heads with all rows cost less than many products of a few
heads with some, as long as these are not too few.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array
from penult_kernels.eigenbasis import Eigenbasis
from penult_kernels.refit_blocks import Block

T = TypeVar("T")

PROVEN_SHARE = 0.5
"""Of the tolerance: what a quick method goes down to, so that the proof finds it met."""
READING = 35
"""Heads whose products with a row cost as much as to read it."""
GATHERING = 2
"""Times as much as that costs a row that is not where it is wanted."""
NEARLY_ALL = 0.7
"""Of all rows: when a union has so many, all are taken as they are."""
BYTES_OF_A_WEIGHT = 20
"""In float64 and float32, and on its way."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Begun:
    """Where a quick method left a block."""

    theta: Array
    """(q, D + 1)."""
    passes: int
    steps: int
    basis: Eigenbasis | None = None
    """That preconditions it,"""
    mean: Array | None = None
    """with the weighted mean (1, D) of its rows in the space solved."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Together:
    """Some blocks, by their positions, over the same rows or over the union of theirs."""

    positions: list[int]
    rows: NDArray[np.int64] | None
    n_used: int
    is_masked: bool
    one_scaling: bool

    def members(self, blocks: Sequence[Block]) -> list[Block]:
        """Themselves, as blocks over the same rows."""
        chosen = [blocks[index] for index in self.positions]
        return _masked(chosen, self.rows, self.n_used) if self.is_masked else chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a solver needs for each block, and may keep of rows."""

    n_rows: int
    n_features: int
    row_width: int
    """Bytes of a number in rows that are kept."""
    per_block: int
    """Bytes beside the rows."""
    per_row: int = 0
    """Bytes of a block for each of its rows."""

    def most(self, n_used: int, *, is_masked: bool = False) -> int:
        """Blocks at a time."""
        of_rows = (self.per_row + (BYTES_OF_A_WEIGHT if is_masked else 0)) * n_used
        return max(1, budget.DEFAULT.batch_bytes // max(1, self.per_block + of_rows))

    def may_keep(self, n_used: int) -> bool:
        """Whether so many rows may be copied."""
        return self.row_width * n_used * self.n_features <= budget.DEFAULT.batch_rows_bytes

    def reading(self, n_used: int, *, is_near: bool) -> float:
        """What a pass over some rows costs, whatever is multiplied with them, in products of a head with a row."""
        return float(READING * n_used * (1 if is_near else GATHERING))


def together(blocks: Sequence[Block], positions: Sequence[int], room: Room) -> Iterator[Together]:
    """All of some blocks, which have as many columns, in parts that have room."""
    sets = _sets(blocks, positions)
    if len(sets) > 1:
        chosen = [blocks[index] for index in positions]
        rows = _rows_of_all(chosen, room.n_rows)
        n_union = room.n_rows if rows is None else rows.size
        most = room.most(n_union, is_masked=True)
        n_parts = -(-len(positions) // most)
        one_scaling = len({block.scaling_id for block in chosen}) == 1
        is_near = rows is None or (one_scaling and room.may_keep(n_union))
        shared = n_parts * room.reading(n_union, is_near=is_near) + n_union * _columns(chosen)
        if shared < sum(_cost_apart([blocks[index] for index in own], room) for own in sets):
            for some in chunks(positions, most):
                yield Together(positions=some, rows=rows, n_used=n_union, is_masked=True, one_scaling=one_scaling)
            return
    for own in sets:
        yield from _alike(blocks, own, room)


def apart(blocks: Sequence[Block], positions: Sequence[int], room: Room) -> Iterator[Together]:
    """The same of blocks over the same rows and in the same scaling only."""
    for own in _sets(blocks, positions):
        yield from _alike(blocks, own, room)


def _sets(blocks: Sequence[Block], positions: Sequence[int]) -> list[list[int]]:
    sets: dict[tuple[int, int], list[int]] = {}
    for index in positions:
        sets.setdefault((blocks[index].rows_id, blocks[index].scaling_id), []).append(index)
    return list(sets.values())


def _alike(blocks: Sequence[Block], own: Sequence[int], room: Room) -> Iterator[Together]:
    first = blocks[own[0]]
    for some in chunks(own, room.most(first.n_used)):
        yield Together(positions=some, rows=first.rows, n_used=first.n_used, is_masked=False, one_scaling=True)


def _cost_apart(own: Sequence[Block], room: Room) -> float:
    """What a pass costs for blocks over the same rows."""
    n_used = own[0].n_used
    n_parts = -(-len(own) // room.most(n_used))
    is_near = own[0].rows is None or room.may_keep(n_used)
    return n_parts * room.reading(n_used, is_near=is_near) + n_used * _columns(own)


def _columns(members: Sequence[Block]) -> int:
    return sum(block.n_columns for block in members)


def _rows_of_all(members: Sequence[Block], n_rows: int) -> NDArray[np.int64] | None:
    """The union; None for all rows."""
    if any(block.rows is None for block in members):
        return None
    rows = union(members)
    return None if rows.size >= NEARLY_ALL * n_rows else rows


def union(members: Sequence[Block]) -> NDArray[np.int64]:
    """All rows that any of some blocks uses."""
    distinct = {block.rows_id: block for block in members}
    return np.unique(np.concatenate([block.used() for block in distinct.values()]))


def _masked(members: Sequence[Block], rows: NDArray[np.int64] | None, n_union: int) -> list[Block]:
    """The same blocks over more rows, with weights of zero where they have none."""
    weights: dict[tuple[int, int], tuple[int, NDArray[np.float64]]] = {}
    found: list[Block] = []
    for block in members:
        key = (block.rows_id, block.weight_id)
        if key not in weights:
            weights[key] = (len(weights), np.zeros(n_union))
            places = block.used() if rows is None else np.searchsorted(rows, block.used())
            weights[key][1][places] = block.share()
        weight_id, weight = weights[key]
        found.append(replace(block, rows=rows, rows_id=members[0].rows_id, weight=weight, weight_id=weight_id))
    return found


def chunks(values: Sequence[T], most: int) -> Iterator[list[T]]:
    """Some at a time."""
    return (list(values[first : first + most]) for first in range(0, len(values), most))
