"""Which L2 blocks are solved together, over which rows.

Blocks over the same rows share every product. So do blocks over different rows once each is extended to the union of
their rows, with weights of zero: a product of many heads with all rows costs less than many products of a few heads
with some rows each, unless these are very few.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.linear.blocks.blocks import Block, union
from penult_kernels.linear.l2.choose import Group, are_better_together, is_nearly_all

T = TypeVar("T")

CERTIFIED_FRACTION = 0.5
"""A quick method aims at this fraction of the tolerance, so that the certificate finds the tolerance met."""
BYTES_OF_A_WEIGHT = 20
"""Bytes of one sample weight: in float64, in float32, and in the copy to the device."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Together:
    """Blocks that are solved together, by their positions: over the same rows, or over the union of their rows."""

    positions: list[int]
    rows: NDArray[np.int64] | None
    n_used: int
    is_masked: bool
    one_scaling: bool

    def members(self, blocks: Sequence[Block]) -> list[Block]:
        """The blocks, with zero weights for the rows of the union that are not their own."""
        chosen = [blocks[index] for index in self.positions]
        return _masked(chosen, self.rows, self.n_used) if self.is_masked else chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory that a solver needs for its blocks and for their rows."""

    n_rows: int
    n_features: int
    row_width: int
    """Bytes of a number in rows that are kept."""
    per_block: int
    """Bytes of a block, whatever its rows."""
    per_row: int = 0
    """Bytes of a block for each of its rows."""
    within: budget.Budget | None = None
    """Limits in force where the arrays are; those of the host by default."""

    @property
    def _limits(self) -> budget.Budget:
        return budget.DEFAULT if self.within is None else self.within

    def most(self, n_used: int, *, is_masked: bool = False) -> int:
        """Blocks over so many rows that fit in the budget at a time."""
        of_rows = (self.per_row + (BYTES_OF_A_WEIGHT if is_masked else 0)) * n_used
        return max(1, self._limits.batch_bytes // max(1, self.per_block + of_rows))

    def may_keep(self, n_used: int) -> bool:
        """Whether a copy of so many rows fits in the budget."""
        return self.row_width * n_used * self.n_features <= self._limits.batch_rows_bytes

    def group(self, members: Sequence[Block], n_used: int, *, is_copied: bool, is_masked: bool = False) -> Group:
        """The group of blocks over the same rows, which are copied once or else gathered in every pass."""
        return Group(
            n_rows=n_used,
            n_heads=sum(block.n_columns for block in members),
            n_batches=-(-len(members) // self.most(n_used, is_masked=is_masked)),
            is_gathered=not is_copied,
        )


def together(blocks: Sequence[Block], positions: Sequence[int], footprint: Footprint) -> Iterator[Together]:
    """Blocks of equally many columns in batches within the memory budget, over unions of rows where that pays."""
    chosen = [blocks[index] for index in positions]
    sets = _sets(blocks, positions)
    one_scaling = len({block.scaling_id for block in chosen}) == 1
    rows = _union(chosen, footprint.n_rows) if len(sets) > 1 else None
    n_union = footprint.n_rows if rows is None else rows.size
    is_copied = rows is None or (one_scaling and footprint.may_keep(n_union))
    whole = footprint.group(chosen, n_union, is_copied=is_copied, is_masked=True)
    if are_better_together(whole, [_apart([blocks[index] for index in own], footprint) for own in sets]):
        for some in chunks(positions, footprint.most(n_union, is_masked=True)):
            yield Together(positions=some, rows=rows, n_used=n_union, is_masked=True, one_scaling=one_scaling)
    else:
        yield from apart(blocks, positions, footprint)


def apart(blocks: Sequence[Block], positions: Sequence[int], footprint: Footprint) -> Iterator[Together]:
    """Blocks in batches within the memory budget, each of the same rows and the same scaling."""
    for own in _sets(blocks, positions):
        first = blocks[own[0]]
        for some in chunks(own, footprint.most(first.n_used)):
            yield Together(positions=some, rows=first.rows, n_used=first.n_used, is_masked=False, one_scaling=True)


def _sets(blocks: Sequence[Block], positions: Sequence[int]) -> list[list[int]]:
    sets: dict[tuple[int, int], list[int]] = {}
    for index in positions:
        sets.setdefault((blocks[index].rows_id, blocks[index].scaling_id), []).append(index)
    return list(sets.values())


def _apart(own: Sequence[Block], footprint: Footprint) -> Group:
    n_used = own[0].n_used
    return footprint.group(own, n_used, is_copied=own[0].rows is None or footprint.may_keep(n_used))


def _union(members: Sequence[Block], n_rows: int) -> NDArray[np.int64] | None:
    """Ascending positions of the union of the blocks' rows; None for all N rows."""
    if any(block.rows is None for block in members):
        return None
    rows = union(members)
    return None if is_nearly_all(rows.size, n_rows) else rows


def _masked(members: Sequence[Block], rows: NDArray[np.int64] | None, n_union: int) -> list[Block]:
    """The blocks over the given rows, with weights of zero for those that are not their own."""
    weights: dict[tuple[int, int], tuple[int, NDArray[np.float64]]] = {}
    found: list[Block] = []
    for block in members:
        key = (block.rows_id, block.weight_id)
        if key not in weights:
            weights[key] = (len(weights), np.zeros(n_union))
            places = block.used() if rows is None else np.searchsorted(rows, block.used())
            weights[key][1][places] = block.sample_weight()
        weight_id, weight = weights[key]
        found.append(replace(block, rows=rows, rows_id=members[0].rows_id, weight=weight, weight_id=weight_id))
    return found


def chunks(values: Sequence[T], most: int) -> Iterator[list[T]]:
    """The values in lists of at most `most`."""
    return (list(values[first : first + most]) for first in range(0, len(values), most))
