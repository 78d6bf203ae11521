"""What linear kernels of two sets are computed from: products of their features, by part, in one pass."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.diagnostics.definition import Definition, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.diagnostics.shared.draws import middle
from penult_kernels.diagnostics.similarity.hsic import FEWEST, Products, products_of

Floats = NDArray[np.float64]
FEW = "needs four rows"
FLAT = "features do not vary"
DRAW_WORK = 4e10
"""Multiplications that the matched draws of a part may take: of large parts there are fewer draws."""


class CrossProducts:
    """Products of both sets, by part."""

    reads_other = True

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        self._found: dict[int, Products] = {}

    def add(self, block: Block) -> None:
        """Take in some rows."""
        assert block.other is not None
        xp = array_namespace(block.z)
        x, y = block.z - self._subject.shift, block.other - self._subject.other_shift
        part = self._subject.part[block.rows]
        for p in np.unique(part).tolist():
            rows = asarray_like(np.flatnonzero(part == p), x)
            one = products_of(xp.take(x, rows, axis=0), xp.take(y, rows, axis=0))
            self._found[p] = self._found[p] + one if p in self._found else one

    def of(self, part: int) -> Products | None:
        """The products of a part, or of all rows for -1; None without rows."""
        if part >= 0:
            return self._found.get(part)
        each = iter(self._found.values())
        total = next(each)
        for one in each:
            total = total + one
        return total


def drawn_values(context: Context, part: int, measure: Callable[[Array, Array], float]) -> Floats:
    """(M,) a measure of matched draws: fewer of large parts, none of all rows or of rows that are not in memory."""
    subject, draws = context.subject, context.draws
    if part < 0 or Need.MEMORY not in subject.has or not draws.matched or subject.smallest < FEWEST:
        return np.full(0, np.nan)
    size, d = subject.smallest, subject.rows.shape[1]
    n_draws = int(min(draws.matched, DRAW_WORK // (3 * size * d * min(size, d))))
    is_whole = subject.counts[part] == size  # every draw is all of its rows
    found = np.full(min(1, n_draws) if is_whole else n_draws, np.nan)
    for index in range(found.size):
        context.check()
        rows = draws.matched_rows(part, index)
        x, y = context.gather(rows), context.gather(rows, other=True)
        found[index] = measure(x - subject.shift, y - subject.other_shift)
    return np.repeat(found, draws.matched) if is_whole else found


def values_by_part(
    context: Context,
    definition: Definition,
    one: Callable[[Products, int], tuple[float, float, float, float]],
    measure: Callable[[Array, Array], float],
) -> Iterator[Value]:
    """Over all rows and by part: value, low, high and null of `one`, and the matched draws of `measure`."""
    cross = context.get(CrossProducts)
    for part in range(-1, context.subject.n_parts):
        found, parts = cross.of(part), (part,) if part >= 0 else ()
        if found is None or found.n < FEWEST:
            yield Value(id=definition.id, parts=parts, n=0 if found is None else found.n, note=FEW)
            continue
        context.check()
        value, low, high, null = one(found, part)
        median, matched_low, matched_high = middle(drawn_values(context, part, measure))
        yield Value(
            id=definition.id,
            parts=parts,
            value=value,
            low=low,
            high=high,
            n=found.n,
            matched_value=median,
            matched_low=matched_low,
            matched_high=matched_high,
            null=null,
            note="" if math.isfinite(value) else FLAT,
        )


def cross_work(size: Size) -> float:
    """Multiplications of the pass and of the matched draws."""
    most = max(size.d, size.d_other)
    drawn = min(DRAW_WORK, 3 * size.draws * size.smallest * most * min(size.smallest, most)) if size.draws > 1 else 0
    return 3 * size.n * most * most + size.parts * drawn


def cross_bytes(size: Size) -> float:
    """Bytes of the products of all parts, and of their sum."""
    most = max(size.d, size.d_other)
    return 8 * 3 * (size.parts + 2) * most * most
