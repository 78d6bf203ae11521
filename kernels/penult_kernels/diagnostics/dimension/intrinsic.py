"""Intrinsic dimension by distances to the nearest rows of the same part."""

import math
from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.draws import about, middle

Floats = NDArray[np.float64]
DISCARDED = 0.1
"""Part of the largest ratios that the fit leaves out."""
DRAW_WORK = 1e10
"""Multiplications that the matched draws of a part may take."""
FEWEST = 3
"""Rows of the first two, at least."""


def _defined(id: str, formula: str, source: str, numbers: tuple[str, ...] = ()) -> Definition:
    return Definition(
        id=id,
        family="dimension",
        formula=formula,
        source=source,
        direction=Direction.NEITHER,
        needs=frozenset({Need.NEIGHBOURS}),
        parts="part",
        interval=Interval.BOOTSTRAP,
        cost="neighbours, n R",
        lowest=0.0,
        numbers=numbers,
    )


TWO_NN = _defined(
    "two_nn",
    "least squares through 0 of -log(1 - i/n) on log(r2/r1), i = 1 ... n by r2/r1, the largest 10 % left out",
    "Facco et al. 2017; F = i/n as there and in scikit-dimension 0.5",
)
TWO_NN_ML = _defined("two_nn_ml", "(n - 1) / sum_i log(r2_i/r1_i)", "Denti et al. 2022 (maximum likelihood, unbiased)")
MLE = _defined(
    "mle_dimension",
    "1 / mean_i [(1 / (k-1)) sum_{j<k} log(T_k/T_j)], T_j the distance to the j-th nearest row, k = mle_k",
    "Levina & Bickel 2004; MacKay & Ghahramani 2005 (mean of inverses)",
    ("mle_k",),
)


def two_nn(log_ratio: Floats) -> float:
    """From ascending log(r2/r1).

    >>> import numpy as np
    >>> x = np.log(1 + np.arange(1, 11) / 10)
    >>> kept, f = x[:9], np.arange(1, 10) / 10
    >>> naive = np.linalg.lstsq(kept[:, None], -np.log(1 - f), rcond=None)[0][0]
    >>> bool(np.isclose(two_nn(x), naive))
    True
    """
    n = log_ratio.size
    x = log_ratio[: int(n * (1 - DISCARDED))]
    y = -np.log1p(-np.arange(1, x.size + 1) / n)
    square = float(x @ x)
    return float(x @ y) / square if square > 0 else math.nan


def two_nn_ml(log_ratio: Floats) -> float:
    """From log(r2/r1) in any order."""
    total = float(np.sum(log_ratio))
    return (log_ratio.size - 1) / total if total > 0 else math.nan


def mle_dimension(inverse: Floats) -> float:
    """From the inverse dimension at each row."""
    mean = float(np.mean(inverse)) if inverse.size else 0.0
    return 1 / mean if mean > 0 else math.nan


def log_ratios(distance: Floats) -> Floats:
    """(n,) log(r2/r1) of (n, 2 or more) distances; NaN where r1 is 0 or r2 missing."""
    first, second = distance[:, 0], distance[:, 1]
    return np.log(second / np.where(first > 0, first, np.nan))


def inverse_dimensions(distance: Floats) -> Floats:
    """(n,) mean of log(T_k/T_j) over j < k of (n, k) distances; NaN where one is 0 or missing."""
    known = np.where(distance > 0, distance, np.nan)
    return np.mean(np.log(known[:, -1:] / known[:, :-1]), axis=1)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """By part."""
    subject = context.subject
    assert subject.neighbours is not None
    k = max(2, int(context.number("mle_k"))) if MLE.id in ids else 2
    distance = subject.neighbours(k)
    for part, rows in enumerate(subject.members):
        context.check()
        drawn = _drawn(context, part, k)
        for definition in (TWO_NN, TWO_NN_ML, MLE):
            if definition.id in ids:
                yield _value(context, definition, part, distance[rows], drawn)


def _value(context: Context, definition: Definition, part: int, distance: Floats, drawn: list[Floats]) -> Value:
    n, k = distance.shape
    least = k + 1 if definition is MLE else FEWEST
    if n < least:
        return Value(id=definition.id, parts=(part,), n=n, note=f"needs {least} rows")
    per_row = _per_row(definition, distance)
    order = np.argsort(per_row, kind="stable")
    order = order[np.isfinite(per_row[order])]
    value = _of(definition, per_row[order])
    low, high = math.nan, math.nan
    draws = context.draws
    if draws.replicates and math.isfinite(value):
        weights = draws.weights[context.subject.members[part][order]]
        each = [_of(definition, np.repeat(per_row[order], weights[:, 1 + r])) for r in range(draws.replicates)]
        low, high = about(value, np.asarray(each), definition)
    is_known = context.subject.smallest >= least
    median, matched_low, matched_high = middle(
        np.asarray([_of(definition, _sorted(_per_row(definition, one))) for one in drawn] if is_known else [])
    )
    n_left_out = n - order.size
    note = f"{n_left_out} rows with an equal row are left out" if n_left_out else ""
    return Value(
        id=definition.id,
        parts=(part,),
        value=value,
        low=low,
        high=high,
        n=order.size,
        matched_value=median,
        matched_low=matched_low,
        matched_high=matched_high,
        note=note if math.isfinite(value) else note or "distances do not differ",
    )


def _per_row(definition: Definition, distance: Floats) -> Floats:
    return inverse_dimensions(distance) if definition is MLE else log_ratios(distance)


def _of(definition: Definition, per_row: Floats) -> float:
    if per_row.size < 2:
        return math.nan
    return {TWO_NN.id: two_nn, TWO_NN_ML.id: two_nn_ml, MLE.id: mle_dimension}[definition.id](per_row)


def _sorted(per_row: Floats) -> Floats:
    return np.sort(per_row[np.isfinite(per_row)])


def _drawn(context: Context, part: int, k: int) -> list[Floats]:
    """Distances of matched draws, each within its own rows; none of rows that are not in memory."""
    subject, draws = context.subject, context.draws
    size, d = subject.smallest, subject.rows.shape[1]
    if Need.MEMORY not in subject.has or not draws.matched or size < FEWEST or not subject.counts[part]:
        return []
    n_draws = int(min(draws.matched, DRAW_WORK // (size * size * (d + 20))))
    is_whole = subject.counts[part] == size
    found: list[Floats] = []
    for index in range(min(1, n_draws) if is_whole else n_draws):
        context.check()
        rows = context.gather(draws.matched_rows(part, index)) - subject.shift
        found.append(nearest(rows, min(k, size - 1)))
    return found * draws.matched if is_whole else found


def nearest(rows: Array, k: int) -> Floats:
    """(n, k) distances of few rows to the others, ascending."""
    xp = array_namespace(rows)
    square = xp.sum(rows * rows, axis=1)
    apart = to_host(square[:, None] + square[None, :] - 2.0 * (rows @ rows.T)).copy()
    apart[apart < 1e-14 * float(xp.max(square))] = 0.0
    np.fill_diagonal(apart, np.inf)
    return np.sqrt(np.sort(np.partition(apart, k - 1, axis=1)[:, :k], axis=1))


def _work(size: Size) -> float:
    drawn = size.draws * size.smallest**2 * (size.d + 20) if size.draws > 1 else 0
    return size.n * size.n * size.d / size.parts + 20 * size.n * size.draws + size.parts * min(DRAW_WORK, drawn)


DIAGNOSTIC = Diagnostic(definitions=(TWO_NN, TWO_NN_ML, MLE), compute=compute, work=_work)
