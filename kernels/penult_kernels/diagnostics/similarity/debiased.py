"""Centered kernel alignment by the unbiased HSIC, with an exact jackknife."""

import math
from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.diagnostics.shared.draws import normal
from penult_kernels.diagnostics.similarity.cross import CrossProducts, cross_bytes, cross_work, values_by_part
from penult_kernels.diagnostics.similarity.hsic import FEWEST, Kernel, Products, debiased, debiased_of_rows

Floats = NDArray[np.float64]
DEBIASED = Definition(
    id="cka_debiased",
    family="cka",
    formula="HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)), HSIC = [tr K~L~ + 1K~1 1L~1 / ((n-1)(n-2)) - 2 1K~L~1 / (n-2)] "
    "/ (n (n-3)), K = X X^T and L = Y Y^T, K~ and L~ without their diagonals",
    source="Song et al. 2012, eq. 5; Nguyen et al. 2021",
    direction=Direction.NEITHER,
    needs=frozenset({Need.OTHER}),
    parts="all, part",
    interval=Interval.JACKKNIFE,
    cost="n D^2",
    highest=1.0,
)


class WithoutEach:
    """(N, 3) HSICs without each row: of its part, and of all rows."""

    reads_other = True

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        cross = context.get(CrossProducts)
        self._kernels: dict[int, tuple[Kernel, Kernel, Kernel]] = {}
        for part in range(-1, context.subject.n_parts):
            found = cross.of(part)
            if found is not None and found.n > FEWEST:
                self._kernels[part] = found.kernels()
        n = context.subject.rows.shape[0]
        self.of_part: Floats = np.full((n, 3), np.nan)
        self.of_all: Floats = np.full((n, 3), np.nan)

    def add(self, block: Block) -> None:
        """Take in some rows."""
        assert block.other is not None
        xp = array_namespace(block.z)
        x, y = block.z - self._subject.shift, block.other - self._subject.other_shift
        if -1 in self._kernels:
            self.of_all[block.rows] = _each(self._kernels[-1], x, y)
        part = self._subject.part[block.rows]
        for p in np.unique(part).tolist():
            if p in self._kernels:
                rows = np.flatnonzero(part == p)
                chosen = asarray_like(rows, x)
                found = _each(self._kernels[p], xp.take(x, chosen, axis=0), xp.take(y, chosen, axis=0))
                self.of_part[block.rows.start + rows] = found


def _each(kernels: tuple[Kernel, Kernel, Kernel], x: Array, y: Array) -> Floats:
    xx, yy, xy = kernels
    return np.column_stack([xx.without_each(x, x), yy.without_each(y, y), xy.without_each(x, y)])


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, and by part."""
    without = context.get(WithoutEach)

    def one(found: Products, part: int) -> tuple[float, float, float, float]:
        each = without.of_all if part < 0 else without.of_part[context.subject.members[part]]
        return *with_interval(found, debiased(each[:, 0], each[:, 1], each[:, 2])), 0.0

    yield from values_by_part(context, DEBIASED, one, similarity)


def similarity(x: Array, y: Array) -> float:
    """Debiased CKA of a few rows (n, D) and (n, D').

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    >>> def hsic(k, l):
    ...     k, l, one = k - np.diag(np.diag(k)), l - np.diag(np.diag(l)), np.ones(6)
    ...     return (np.trace(k @ l) + one @ k @ one * (one @ l @ one) / 20 - 2 * one @ k @ l @ one / 4) / 18
    >>> k, l = x @ x.T, y @ y.T
    >>> bool(np.isclose(similarity(x, y), hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))))
    True
    """
    return float(debiased(*debiased_of_rows(x, y)))


def with_interval(found: Products, each: Floats) -> tuple[float, float, float]:
    """Value, and the normal interval by the values without each row."""
    value = float(debiased(*(kernel.value() for kernel in found.kernels())))
    if not np.isfinite(each).all():
        return value, math.nan, math.nan
    n = each.size
    return value, *normal(value, math.sqrt((n - 1) / n * float(np.sum((each - each.mean()) ** 2))), DEBIASED)


def _work(size: Size) -> float:
    most = max(size.d, size.d_other)
    return cross_work(size) + 6 * size.n * most * most


DIAGNOSTIC = Diagnostic(
    definitions=(DEBIASED,),
    compute=compute,
    first=(CrossProducts,),
    second=(WithoutEach,),
    work=_work,
    memory=cross_bytes,
)
