"""Passes over many rows for several binary problems at once, each over rows of its own, on the host.

Rows are read as they are stored, a tile at a time, once for all problems: a tile's product has a column for each
problem, of which a problem takes its own rows. Scalings are folded into heads and taken off gradients afterwards.
Tiles are handed to the threads that large products are split over, in panels that depend on the shapes alone.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import blocks
from penult_kernels.few_heads import logits_of, sums_of
from penult_kernels.linear.blocks.blocks import Block, union
from penult_kernels.linear.l1.columns import run
from penult_kernels.linear.l1.folding import folded, unfolded
from penult_kernels.products import on_threads

T = TypeVar("T")
Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

MOST_PANELS = 16
"""Parts of the rows that threads take one after the other; each has a sum of gradients of its own."""


class Sweeps:
    """Logits and gradients of B blocks over features (N, D), each pass for some of them."""

    def __init__(self, features: NDArray[np.floating], members: Sequence[Block]) -> None:
        self._features, self._members = features, members
        self._rows = run(union(members))
        self._is_run = self._rows.size == int(self._rows[-1]) - int(self._rows[0]) + 1
        self._tiles = list(blocks(self._rows.size, budget.DEFAULT.rows_of_tile(int(features.shape[1]), len(members))))
        edges = np.asarray([0, *(tile.stop for tile in self._tiles)])
        self._places = [None if own is None else np.searchsorted(self._rows, own) for own in (b.rows for b in members)]
        """Positions of the rows of each block among those read; None for all."""
        self._edges = [edges if own is None else np.searchsorted(own, edges) for own in self._places]
        """How many rows of each block lie before each tile."""

    def logits(self, which: Positions, heads: Floats, *, float32: bool) -> list[Floats]:
        """(n,) logits of each head (E,) on the rows of its block, without the offset."""
        raw = [folded(self._members[index].scaling, head) for index, head in zip(map(int, which), heads, strict=True)]
        weight = np.stack([one[0] for one in raw], axis=1).astype(_kind(float32))
        found = [np.empty(int(self._edges[index][-1])) for index in map(int, which)]

        def of_panel(places: Sequence[int]) -> None:
            for place in places:
                values = logits_of(self._tile(place, float32=float32), weight)
                for column, index in enumerate(map(int, which)):
                    found[column][self._own(index, place)] = values[self._local(index, place), column]

        self._do(of_panel)
        return [logits + bias for logits, (_, bias) in zip(found, raw, strict=True)]

    def gradients(self, which: Positions, residuals: Sequence[Floats], *, float32: bool) -> Floats:
        """Z^T R and 1^T R (B, E) of residuals (n,) on the rows of each block."""
        kind = _kind(float32)

        def of_panel(places: Sequence[int]) -> Floats:
            total = np.zeros((which.size, self._features.shape[1]))
            for place in places:
                tile = self._tile(place, float32=float32)
                spread = np.zeros((tile.shape[0], which.size), kind)
                for column, index in enumerate(map(int, which)):
                    spread[self._local(index, place), column] = residuals[column][self._own(index, place)]
                total += sums_of(tile, spread)
            return total

        total = np.sum(self._do(of_panel), axis=0)
        return np.stack(
            [
                unfolded(self._members[index].scaling, raw, float(residual.sum()))
                for index, raw, residual in zip(map(int, which), total, residuals, strict=True)
            ]
        )

    def _do(self, of_panel: Callable[[Sequence[int]], T]) -> list[T]:
        """What each panel of tiles gives, in order."""
        places = range(len(self._tiles))
        panels = [places[part] for part in blocks(len(places), -(-len(places) // MOST_PANELS))]
        return on_threads(of_panel, panels)

    def _own(self, index: int, place: int) -> slice:
        """Positions, among the rows of a block, of those in a tile."""
        return slice(int(self._edges[index][place]), int(self._edges[index][place + 1]))

    def _local(self, index: int, place: int) -> slice | Positions:
        """Positions in a tile of the rows of a block."""
        places = self._places[index]
        if places is None:
            return slice(None)
        return places[self._own(index, place)] - self._tiles[place].start

    def _tile(self, place: int, *, float32: bool) -> NDArray[np.floating]:
        """Some of the rows (m, D) in the type of the products."""
        tile = self._tiles[place]
        if self._is_run:
            first = int(self._rows[0])
            part = self._features[first + tile.start : first + tile.stop]
        else:
            part = np.take(self._features, self._rows[tile], axis=0)
        return part.astype(_kind(float32), copy=False)


def _kind(float32: bool) -> type[np.floating]:
    return np.float32 if float32 else np.float64
