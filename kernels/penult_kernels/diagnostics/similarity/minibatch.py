"""Debiased CKA as papers compute it where n x n does not fit: means of HSICs over batches."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.similarity.cross import FEW, FLAT
from penult_kernels.diagnostics.similarity.hsic import FEWEST, debiased, debiased_of_rows

MINIBATCH = Definition(
    id="cka_minibatch",
    family="cka",
    formula="as cka_debiased, each HSIC a mean over batches of cka_batch rows, in the order of a seeded permutation; "
    "rows of a last batch that is not full are left out",
    source="Nguyen et al. 2021, for parity with papers",
    direction=Direction.NEITHER,
    needs=frozenset({Need.OTHER, Need.MEMORY}),
    parts="all",
    interval=Interval.NONE,
    matched=False,
    cost="n D^2",
    highest=1.0,
    numbers=("cka_batch",),
)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows."""
    subject, size = context.subject, int(context.number("cka_batch"))
    n = subject.rows.shape[0]
    size = max(FEWEST, min(size, n))
    if n < FEWEST:
        yield Value(id=MINIBATCH.id, n=n, note=FEW)
        return
    order = np.random.default_rng([context.draws.seed, 2]).permutation(n)
    total = np.zeros(3)
    for first in range(0, n - size + 1, size):
        context.check()
        rows = np.sort(order[first : first + size])
        x, y = context.gather(rows) - subject.shift, context.gather(rows, other=True) - subject.other_shift
        total += debiased_of_rows(x, y)
    value = ratio(total)
    yield Value(id=MINIBATCH.id, value=value, n=n // size * size, null=0.0, note="" if math.isfinite(value) else FLAT)


def ratio(total: NDArray[np.float64]) -> float:
    """CKA of three sums of HSICs: X with itself, Y with itself, X with Y.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    >>> each = np.array([debiased_of_rows(x[rows], y[rows]) for rows in (slice(0, 4), slice(4, 8))])
    >>> mean = each.mean(axis=0)
    >>> naive = mean[2] / np.sqrt(mean[0] * mean[1]) if mean[0] > 0 and mean[1] > 0 else np.nan
    >>> bool(np.isclose(ratio(each.sum(axis=0)), naive, equal_nan=True))
    True
    """
    return float(debiased(total[0], total[1], total[2]))


DIAGNOSTIC = Diagnostic(definitions=(MINIBATCH,), compute=compute, work=lambda size: 6.0 * size.n * 128 * size.d)
