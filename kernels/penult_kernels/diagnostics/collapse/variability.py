"""Variability within parts over distances between their means: no pass but the one that sums rows."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.sums import Pooled, RowSums

NC1_QUOTIENT = Definition(
    id="nc1_quotient",
    family="nc",
    formula="tr S_W / tr S_B, S_W = (1/n) sum_i |z_i - m_p(i)|^2, S_B = (1/P) sum_p |m_p - m|^2, m = mean of the m_p",
    source="Papyan et al. 2020 (NC1); Galanti et al. 2021",
    direction=Direction.LOWER,
    needs=frozenset({Need.LABELS}),
    parts="all",
    interval=Interval.BOOTSTRAP,
    lowest=0.0,
)
CDNV = Definition(
    id="cdnv",
    family="nc",
    formula="(v_p + v_q) / (2 |m_p - m_q|^2), v_p = (1/n_p) sum_i |z_i - m_p|^2; its mean over pairs for all",
    source="Galanti et al. 2021 (arXiv 2112.15121), definition 1",
    direction=Direction.LOWER,
    needs=frozenset({Need.LABELS}),
    parts="pair, all",
    interval=Interval.BOOTSTRAP,
    lowest=0.0,
)
ONE_PART = "needs two parts with rows"
ONE_PLACE = "the means of the parts are equal"
MOST_PAIRS = 2000
"""Pairs of parts that have values of their own."""


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all parts, and of each pair."""
    sums = context.get(RowSums).of_parts
    known, n = sums.known, context.subject.rows.shape[0]
    if known.size < 2:
        yield from (Value(id=id, n=n, note=ONE_PART) for id in sorted(ids))
        return
    if NC1_QUOTIENT.id in ids:
        found = quotient(sums.scatter[:, known], sums.weight[:, known], sums.mean[:, known])
        yield context.draws.value(NC1_QUOTIENT, found, n=n, note=_note(found))
    if CDNV.id in ids:
        yield from _pairs(context, sums)


def quotient(
    scatter: NDArray[np.float64], weight: NDArray[np.float64], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(R,) of (R, P) scatter and weight and (R, P, D) means. NaN where all means are equal.

    >>> import numpy as np
    >>> z = np.array([[0.0, 1.0], [2.0, 1.0], [5.0, 0.0], [5.0, 4.0]])
    >>> m = np.array([z[:2].mean(axis=0), z[2:].mean(axis=0)])
    >>> within = np.mean(np.sum((z - m[[0, 0, 1, 1]]) ** 2, axis=1))
    >>> naive = within / np.mean(np.sum((m - m.mean(axis=0)) ** 2, axis=1))
    >>> scatter = np.array([[np.sum((z[:2] - m[0]) ** 2), np.sum((z[2:] - m[1]) ** 2)]])
    >>> bool(np.isclose(quotient(scatter, np.array([[2.0, 2.0]]), m[None])[0], naive))
    True
    """
    within = scatter.sum(axis=1) / weight.sum(axis=1)
    between = np.mean(np.sum((mean - mean.mean(axis=1, keepdims=True)) ** 2, axis=2), axis=1)
    return divided(within, between)


def distances(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, P, P) squared distances of means (R, P, D)."""
    centered = mean - mean.mean(axis=1, keepdims=True)
    square = np.sum(centered * centered, axis=2)
    inner = centered @ np.swapaxes(centered, 1, 2)
    return np.maximum(square[:, :, None] + square[:, None, :] - 2 * inner, 0.0)


def divided(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quotient; NaN where the denominator is 0."""
    return numerator / np.where(denominator > 0, denominator, np.nan)


def _pairs(context: Context, sums: Pooled) -> Iterator[Value]:
    known = sums.known
    variance = divided(sums.scatter, sums.weight)[:, known]
    apart = distances(sums.mean[:, known])
    first, second = np.triu_indices(known.size, 1)
    found = divided(variance[:, first] + variance[:, second], 2 * apart[:, first, second])
    mean = np.mean(found, axis=1)
    yield context.draws.value(CDNV, mean, n=context.subject.rows.shape[0], note=_note(mean))
    if first.size > MOST_PAIRS:
        return
    for place, (p, q) in enumerate(zip(known[first].tolist(), known[second].tolist(), strict=True)):
        n = int(context.subject.counts[p] + context.subject.counts[q])
        yield context.draws.value(CDNV, found[:, place], parts=(p, q), n=n, note=_note(found[:, place]))


def _note(found: NDArray[np.float64]) -> str:
    return ONE_PLACE if math.isnan(float(found[0])) else ""


DIAGNOSTIC = Diagnostic(definitions=(NC1_QUOTIENT, CDNV), compute=compute, first=(RowSums,))
