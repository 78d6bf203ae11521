"""How much of a head's accuracy rests on the directions in which groups of one class differ."""

import math
from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like, to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.diagnostics.shared.row_means import part_means

Floats = NDArray[np.float64]
MOST_WHOLE = 1000
"""Rows up to which every row takes the part of every row."""
DRAWS = 100
"""Orders of more rows."""
ROUNDING = 1e-10
"""Directions whose differences are below this fraction of the largest are rounding."""

RELIANCE = Definition(
    id="reliance",
    family="cues",
    formula="accuracy - mean of it when each row's part in span{m_(y, part) - m_y} is another row's, m means of rows; "
    "over all rows of up to 1,000, else 100 draws",
    source="permutation importance (Breiman 2001; Fisher et al. 2019) of a subspace of features, not of inputs",
    direction=Direction.NEITHER,
    needs=frozenset({Need.LABELS, Need.HEAD}),
    parts="all, part",
    interval=Interval.BOOTSTRAP,
    matched=False,
    cost="n D (P + K) + 100 n K",
    lowest=-1.0,
    highest=1.0,
)


class CellMeans:
    """By cell of a part and a class: sum of the rows less the shift."""

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        cell, _, self.y = context.subject.cells
        self._cell, self.count = cell, np.bincount(cell, minlength=self.y.size).astype(np.float64)
        self._sum: Floats = np.zeros((self.y.size, context.subject.rows.shape[1]))

    def add(self, block: Block) -> None:
        """Take in some rows."""
        x = block.z - self._subject.shift
        is_in = (self._cell[block.rows][None, :] == np.arange(self.y.size)[:, None]).astype(np.float64)
        self._sum += to_host(asarray_like(is_in, x) @ x)

    def directions(self) -> Floats:
        """(D, r) orthonormal, the span of the means of cells less those of their classes."""
        apart = self._sum / self.count[:, None]
        for c in np.unique(self.y).tolist():
            own = self.y == c
            apart[own] -= self._sum[own].sum(axis=0) / self.count[own].sum()
        _, size, vectors = np.linalg.svd(apart, full_matrices=False)
        scale = float(np.abs(self._sum / self.count[:, None]).max(initial=0.0))
        return vectors[size > ROUNDING * max(scale, float(size.max(initial=0.0)), 1e-300)].T


class Replaceable:
    """(N, K) logits, and of these the part that comes through the directions."""

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        self.directions = context.get(CellMeans).directions()
        self.logits: Floats = np.zeros((context.subject.rows.shape[0], context.subject.n_classes))
        self.through: Floats = np.zeros_like(self.logits)

    def add(self, block: Block) -> None:
        """Take in some rows."""
        assert self._subject.head is not None
        z, xp = block.z, array_namespace(block.z)
        weight = xp.astype(self._subject.head.weight, xp.float64)
        along = asarray_like(np.ascontiguousarray(self.directions), z)
        self.logits[block.rows] = to_host(self._subject.logits_of(block.rows, z))
        self.through[block.rows] = to_host((z @ along) @ (weight @ along).T)


def replaced(logits: Floats, through: Floats, y: NDArray[np.int64], orders: list[NDArray[np.int64]]) -> Floats:
    """(n,) whether a row is predicted rightly, less the mean of it when its part `through` is that of row orders[d][i].

    >>> import numpy as np
    >>> z, q, w = np.array([[2.0, 1.0], [-1.0, 3.0]]), np.array([1.0, 0.0]), np.array([[0.0, 0.0], [1.0, -0.5]])
    >>> moved = z - np.outer(z @ q, q) + np.outer((z @ q)[::-1], q)  # each row's part along q is that of the other
    >>> y = np.array([1, 0])
    >>> naive = ((z @ w.T).argmax(1) == y).astype(float) - ((moved @ w.T).argmax(1) == y)
    >>> found = replaced(z @ w.T, np.outer(z @ q, q) @ w.T, y, [np.array([1, 0])])
    >>> found.tolist() == naive.tolist()
    True
    """
    right = np.argmax(logits, axis=1) == y
    own = logits - through
    after = [np.argmax(own + through[order], axis=1) == y for order in orders]
    return right - np.mean(after, axis=0)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, and by part."""
    subject, found = context.subject, context.get(Replaceable)
    n, n_directions = found.logits.shape[0], int(found.directions.shape[1])
    if not n_directions:
        yield Value(id=RELIANCE.id, n=n, note="no class has rows of two parts whose means differ")
        return
    orders: list[NDArray[np.int64]] = [
        np.random.default_rng([context.draws.seed, 17, draw]).permutation(n) for draw in range(DRAWS)
    ]
    if n <= MOST_WHOLE:
        orders = [(np.arange(n) + shift) % n for shift in range(n)]
    lost = replaced(found.logits, found.through, subject.y, orders)
    means = part_means(context, lost)
    for part in range(-1, subject.n_parts):
        count = n if part < 0 else int(subject.counts[part])
        note = f"{n_directions} directions" if count else "the part is empty"
        parts = (part,) if part >= 0 else ()
        yield context.draws.value(
            RELIANCE, means[:, 1 + part], parts=parts, n=count, null=0.0 if count else math.nan, note=note
        )


def work(size: Size) -> float:
    """Multiplications, about."""
    return size.n * (2.0 * size.d * (size.parts + size.k) + DRAWS * size.k)


DIAGNOSTIC = Diagnostic(definitions=(RELIANCE,), compute=compute, first=(CellMeans,), second=(Replaceable,), work=work)
