"""The k nearest rows of each row, exactly.

Products in float32, a tile at a time, leave a few more candidates than k for each row; their distances are computed in
float64 from the rows as they are stored, and the k nearest are kept, equal distances in the order of the ids. A row
whose candidates might lack a neighbour, by the bound on the rounding of its products, is looked at again
(`unproven.py`): this happens where more rows are equally near than there are candidates, such as copies of one row.

Within one set, every tile of pairs serves both of its sides, so that half of the product is made.

Shapes: n rows of a panel of queries, N rows among which neighbours are looked for, k neighbours, c candidates.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias, TypeVar

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.neighbours.candidates import Candidates
from penult_kernels.neighbours.exact import distances_to
from penult_kernels.neighbours.nearest import Nearest, keep_nearest
from penult_kernels.neighbours.space import Metric, Points, Space, scores_of, space_of
from penult_kernels.neighbours.unproven import search_again, unproven
from penult_kernels.products import on_threads
from penult_kernels.rows import ArrayRows, RowSource

ROWS_OF_A_TILE = 1024
DEVICE_ROWS_OF_A_TILE = 8192
TILES_AT_ONCE = 16
"""Tiles between two calls of `check`: a few tenths of a second on the CPU."""
Report: TypeAlias = Callable[[float, float], None]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """Pairs that are not looked at: those whose codes are equal. A row's own number leaves out the row itself."""

    queries: NDArray[np.int64]
    among: NDArray[np.int64]


def nearest(
    among: RowSource,
    k: int,
    metric: Metric,
    *,
    queries: RowSource | None = None,
    apart: Apart | None = None,
    order: NDArray[np.int64] | None = None,
    memory: int = 0,
    check: Callable[[], None] = lambda: None,
    report: Report = lambda done, total: None,
) -> Nearest:
    """The k nearest rows of each row; without `queries` of the rows themselves, each without itself.

    Parameters
    ----------
    among : the N rows among which neighbours are looked for.
    k : at least 1. A row that has fewer neighbours gets -1 and NaN behind them.
    queries : other rows, of as many columns.
    apart : pairs that are left out.
    order : (N,) place of each row where distances are equal; its number when None.
    memory : bytes of the points of queries that are held at a time, 0 for the usual. Rows that are not in memory are
        read once for each so many.
    check : called between tiles, and may raise.
    report : told how many pairs have been looked at, and of how many.

    Raises
    ------
    ZeroRowsError
        For the cosine.
    ValueError
        When the shapes disagree.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if queries is not None and queries.shape[1] != among.shape[1]:
        raise ValueError(f"rows of {queries.shape[1]} and of {among.shape[1]} columns have no distance")
    space = space_of(among, metric, queries, check)
    return _Search(space, among, queries, k, apart, order, memory, check, report).run()


@dataclass(frozen=True, slots=True)
class _Block:
    """Some of the rows, as points."""

    rows: slice
    points: Points
    stored: Array | None
    """(n, D) as they are stored; None where these can be had again at any time."""

    def swapped(self, *, copy: bool = True) -> "_Left":
        """The block on the left side of products; without a copy it serves there alone from now on."""
        return _Left(self.rows, self.points.swapped(copy=copy))


@dataclass(frozen=True, slots=True)
class _Left:
    """A block on the left side of products."""

    rows: slice
    swapped: Array


class _TileMemory(threading.local):
    """Memory for a tile, of each thread."""

    tile: NDArray[np.float32] | None = None


class _Search:
    """One search, a panel of queries after another."""

    def __init__(
        self,
        space: Space,
        among: RowSource,
        queries: RowSource | None,
        k: int,
        apart: Apart | None,
        order: NDArray[np.int64] | None,
        memory: int,
        check: Callable[[], None],
        report: Report,
    ) -> None:
        self._space, self._among, self._k, self._apart, self._order = space, among, k, apart, order
        self._queries = among if queries is None else queries
        self._is_self = queries is None
        self._check, self._report = check, report
        n, d = self._queries.shape
        self._like = among.block(slice(0, 1))
        self._step = ROWS_OF_A_TILE if is_numpy_array(self._like) else DEVICE_ROWS_OF_A_TILE
        self._panel = max(1, (memory or budget.DEFAULT.neighbours_bytes) // (4 * d * self._step)) * self._step
        self._candidates: dict[int, Candidates] = {}
        """By the first row of a block; within one set also of blocks that are queries later."""
        self._memory = _TileMemory()
        self._done = 0.0
        self._total = n * among.shape[0] / (2 if self._is_self else 1)

    def run(self) -> Nearest:
        """The neighbours of all queries."""
        n = self._queries.shape[0]
        # Empty: what is written last is not in memory while candidates are looked for.
        found = Nearest(np.empty((n, self._k), dtype=np.int64), np.empty((n, self._k)))
        for panel in blocks(n, self._panel):
            own = self._made(self._queries, _within(panel, self._step))
            waiting = self._tiles(panel, own)
            while tiles := list(islice(waiting, TILES_AT_ONCE)):
                self._check()
                self._each(self._offer_tile, tiles)
                self._done += sum(len_of(left.rows) * len_of(right.rows) for left, right in tiles)
                self._report(min(self._done, self._total), self._total)
            self._decide(own, found)
            del own
        return found

    def _made(self, source: RowSource, parts: Sequence[slice]) -> list[_Block]:
        for part in parts:
            self._of(part)
        return self._each(lambda part: self._block(source, part), parts)

    def _block(self, source: RowSource, part: slice) -> _Block:
        rows = source.block(part)
        return _Block(part, self._space.points(rows), None if source.is_in_memory else rows)

    def _of(self, rows: slice) -> Candidates:
        """The candidates of a block of queries."""
        if rows.start not in self._candidates:
            self._candidates[rows.start] = Candidates(len_of(rows), self._width, self._like)
        return self._candidates[rows.start]

    @property
    def _width(self) -> int:
        return self._k + max(8, self._k // 4)

    def _tiles(self, panel: slice, own: list[_Block]) -> Iterator[tuple[_Left, _Block]]:
        """Queries at the left, and rows among which neighbours are looked for."""
        if self._is_self:
            yield from self._tiles_of_one_set(panel, own)
            return
        lefts = [block.swapped(copy=False) for block in own]
        for rows in _within(slice(0, self._among.shape[0]), self._step):
            other = _Block(rows, self._space.points(self._among.block(rows)), None)
            yield from ((left, other) for left in lefts)

    def _tiles_of_one_set(self, panel: slice, own: list[_Block]) -> Iterator[tuple[_Left, _Block]]:
        """Each pair of blocks once, those of a block with itself first: they raise its limit."""
        yield from ((block.swapped(), block) for block in own)
        for place, block in enumerate(own):
            left = block.swapped()
            yield from ((left, other) for other in own[place + 1 :])
        for rows in _within(slice(panel.stop, self._among.shape[0]), self._step):
            self._of(rows)
            left = _Left(rows, self._space.points(self._among.block(rows)).swapped(copy=False))
            yield from ((left, block) for block in own)

    def _offer_tile(self, tile: tuple[_Left, _Block]) -> None:
        """Score the pairs of a tile, and offer them to its left side; within one set to its right side, too."""
        left, right = tile
        scores = scores_of(left.swapped, right.points, self._tile_memory(left, right))
        apart = self._is_apart(left.rows, right.rows)
        if apart is not None:
            scores = _without(scores, apart)
        self._candidates[left.rows.start].offer(scores, right.rows.start)
        if self._is_self and left.rows != right.rows:
            self._candidates[right.rows.start].offer(scores, left.rows.start, transposed=True)

    def _tile_memory(self, left: _Left, right: _Block) -> Array | None:
        """Memory of this thread for a tile: fresh pages take time to clear. None on a device."""
        if not is_numpy_array(self._like):
            return None
        if self._memory.tile is None:
            self._memory.tile = np.empty((self._step * self._step,), dtype=np.float32)
        shape = (len_of(left.rows), len_of(right.rows))
        return self._memory.tile[: shape[0] * shape[1]].reshape(shape)

    def _is_apart(self, mine: slice | NDArray[np.int64], other: slice) -> Array | None:
        """(n, m) which pairs are left out; None if none is."""
        if self._apart is None:
            if not self._is_self:
                return None
            left: NDArray[np.int64] = _numbers(mine) if isinstance(mine, slice) else mine
            right: NDArray[np.int64] = _numbers(other)
        else:
            left, right = self._apart.queries[mine], self._apart.among[other]
        if left.max() < right.min() or right.max() < left.min():
            return None
        return asarray_like(left, self._like)[:, None] == asarray_like(right, self._like)[None, :]

    def _decide(self, own: list[_Block], found: Nearest) -> None:
        """Measure the candidates of a panel, and look again at the rows that may lack a neighbour.

        A few blocks at a time, each of whose candidates are let go; those of rows that are not in memory at once, in
        one pass.
        """
        again: list[NDArray[np.int64]] = []
        for some in blocks(len(own), TILES_AT_ONCE if self._among.is_in_memory else len(own)):
            index = [self._worth_measuring(block) for block in own[some]]
            for block, distance in zip(own[some], self._measure(own[some], index), strict=True):
                candidates = self._candidates.pop(block.rows.start)
                kept = keep_nearest(index.pop(0), distance, self._k, self._order)
                found.position[block.rows], found.distance[block.rows] = kept.position, kept.distance
                worst = to_host(candidates.worst).astype(np.float64)
                again.append(block.rows.start + unproven(worst, kept, block.points.norm, self._space))
        self._look_again(np.concatenate(again), found)

    def _worth_measuring(self, block: _Block) -> NDArray[np.int64]:
        """(n, c) the candidates that may be among the k nearest, the best first; -1 beside them."""
        candidates = self._candidates[block.rows.start]
        score, index = to_host(candidates.score).astype(np.float64), to_host(candidates.index)
        sequence = np.argsort(-score, axis=1)
        score, index = np.take_along_axis(score, sequence, axis=1), np.take_along_axis(index, sequence, axis=1)
        if score.shape[1] > self._k:
            kth = score[:, self._k - 1]
            limit = kth - 2 * self._space.rounding(block.points.norm, kth)
            index = np.where(score < limit[:, None], -1, index)
        return index[:, : max(1, int((index >= 0).sum(axis=1).max(initial=0)))]

    def _measure(self, own: list[_Block], index: list[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
        if self._among.is_in_memory:
            return self._each(
                lambda place: distances_to(self._stored(own[place]), self._among, index[place], self._space),
                range(len(own)),
            )
        found = [np.full(one.shape, np.nan) for one in index]
        for part in _within(slice(0, self._among.shape[0]), self._step):
            self._check()
            rows = self._among.block(part)
            for block, wanted, into in zip(own, index, found, strict=True):
                within = np.where((wanted >= part.start) & (wanted < part.stop), wanted - part.start, -1)
                if (within >= 0).any():
                    distance = distances_to(self._stored(block), ArrayRows(rows), within, self._space)
                    np.copyto(into, distance, where=within >= 0)
        return found

    def _stored(self, block: _Block) -> Array:
        return self._queries.block(block.rows) if block.stored is None else block.stored

    def _look_again(self, rows: NDArray[np.int64], found: Nearest) -> None:
        for part in blocks(rows.size, self._step):
            few = rows[part]
            kept = search_again(
                gathered(self._queries, few),
                found.distance[few, -1],
                self._among,
                self._k,
                self._space,
                step=self._step,
                is_apart=lambda other, few=few: self._is_apart(few, other),
                order=self._order,
                check=self._check,
            )
            found.position[few], found.distance[few] = kept.position, kept.distance

    def _each(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """function(item) of each, in order; on the threads of large products where these are NumPy's."""
        if is_numpy_array(self._like):
            return on_threads(function, items)
        return [function(item) for item in items]


def _without(scores: Array, apart: Array) -> Array:
    if is_numpy_array(scores):
        np.copyto(scores, -np.inf, where=apart)
        return scores
    xp = array_namespace(scores)
    return xp.where(apart, -xp.inf, scores)


def _numbers(rows: slice) -> NDArray[np.int64]:
    return np.arange(rows.start, rows.stop, dtype=np.int64)


def _within(rows: slice, step: int) -> list[slice]:
    return [slice(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step)]


def len_of(rows: slice) -> int:
    """Rows of a slice with a start and a stop."""
    return rows.stop - rows.start


def gathered(source: RowSource, rows: NDArray[np.int64]) -> Array:
    """(n, D) some rows, ascending, of any source."""
    if source.is_in_memory:
        return source.gather(asarray_like(rows, source.block(slice(0, 1))))
    first = source.block(slice(0, 1))
    xp = array_namespace(first)
    return xp.stack([source.block(slice(int(row), int(row) + 1))[0, :] for row in rows])
