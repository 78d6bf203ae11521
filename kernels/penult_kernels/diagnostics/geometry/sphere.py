"""Directions of rows on the sphere: how evenly they are spread, and how alike those of one class are."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.draws import middle, normal
from penult_kernels.diagnostics.shared.row_sample import RowSample
from penult_kernels.diagnostics.shared.sums import unit_rows

Floats = NDArray[np.float64]
UNIFORMITY = Definition(
    id="uniformity",
    family="sphere",
    formula="log mean over pairs i < j of exp(-2 |u_i - u_j|^2), u = z / |z|; of at most 1,000 rows of a part, drawn",
    source="Wang & Isola 2020, t = 2; null: rows spread evenly over the whole sphere",
    direction=Direction.LOWER,
    needs=frozenset(),
    parts="part",
    interval=Interval.PAIRS,
    cost="P D 10^6",
    highest=0.0,
)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """By part."""
    sample, draws, subject = context.get(RowSample), context.draws, context.subject
    null = spread_evenly(subject.rows.shape[1])
    for part in range(subject.n_parts):
        context.check()
        unit, has_direction = unit_rows(sample.rows(part))
        unit = unit[has_direction]
        n = len(unit)
        if n < 2:
            yield Value(id=UNIFORMITY.id, parts=(part,), n=n, null=null, note="needs two rows that are not zero")
            continue
        potential = potentials(unit)
        value, error = log_mean(potential)
        low, high = normal(value, error, UNIFORMITY) if math.isfinite(error) else (math.nan, math.nan)
        size = min(subject.smallest, n)
        each = [log_mean(potential)[0]] if size == n else []
        for index in range(0 if size == n or size < 2 else draws.matched):
            rows = np.random.default_rng([draws.seed, 4, part, index]).choice(n, size, replace=False)
            each.append(log_mean(potential[np.ix_(rows, rows)])[0])
        median, matched_low, matched_high = middle(np.asarray(each * draws.matched if size == n else each))
        yield Value(
            id=UNIFORMITY.id,
            parts=(part,),
            value=value,
            low=low,
            high=high,
            n=n,
            matched_value=median,
            matched_low=matched_low,
            matched_high=matched_high,
            null=null,
            note=sample.note(part),
        )


def potentials(unit: Floats) -> Floats:
    """(n, n) exp(-2 |u_i - u_j|^2) of rows of length 1; the diagonal is 0."""
    found = np.exp(-4.0 * (1.0 - np.clip(unit @ unit.T, -1.0, 1.0)))
    np.fill_diagonal(found, 0.0)
    return found


def log_mean(potential: Floats) -> tuple[float, float]:
    """log of the mean over pairs, and its standard error as a U-statistic of rows (the exact jackknife).

    >>> import numpy as np
    >>> u = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> pairs = [(0, 1), (0, 2), (1, 2)]
    >>> naive = np.log(np.mean([np.exp(-2 * np.sum((u[i] - u[j]) ** 2)) for i, j in pairs]))
    >>> bool(np.isclose(log_mean(potentials(u))[0], naive))
    True
    """
    n, sums = len(potential), potential.sum(axis=1)
    total = float(sums.sum())
    if n < 3:
        return math.log(total / (n * (n - 1))), math.nan
    each = np.log(np.maximum(total - 2 * sums, 1e-300) / ((n - 1) * (n - 2)))
    return math.log(total / (n * (n - 1))), math.sqrt((n - 1) / n * float(np.sum((each - each.mean()) ** 2)))


def spread_evenly(n_features: int) -> float:
    """The value of the uniform distribution: -4 + log sum_m 4^m / (m! (D/2)_m), E exp(4 t) of an inner product t."""
    total, term = 1.0, 1.0
    for m in range(1, 60):
        term *= 4.0 / (m * (n_features / 2 + m - 1))
        total += term
    return -4.0 + math.log(total)


DIAGNOSTIC = Diagnostic(
    definitions=(UNIFORMITY,),
    compute=compute,
    first=(RowSample,),
    work=lambda size: float(size.parts * min(size.n, 1000) ** 2 * (size.d + size.draws)),
    memory=lambda size: 8.0 * (size.parts * min(size.n, 1000) * size.d + 10**6),
)
