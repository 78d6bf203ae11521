"""How far parts of one class stand apart: before a finetuning, what predicts how much balancing them will help."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.collapse.variability import MOST_PAIRS
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.sums import RowSums

Floats = NDArray[np.float64]
SOURCE = "after arXiv 2512.09496 (its abstract; the constants are ours)"
DISTANCE = Definition(
    id="latent_separation",
    family="separation",
    formula="|m_p - m_q| / sqrt((v_p + v_q) / 2), v_p = (1/n_p) sum_i |z_i - m_p|^2, p and q parts of one class; "
    "its mean over pairs for all",
    source=SOURCE,
    direction=Direction.NEITHER,
    needs=frozenset({Need.LABELS}),
    parts="all, pair in a class",
    interval=Interval.BOOTSTRAP,
    lowest=0.0,
)
NO_PAIR = "needs two parts of one class with rows: ask by group"
NO_SPREAD = "no part of a pair has any spread"


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Each pair of parts whose rows are of one class, and the mean over pairs."""
    subject, sums = context.subject, context.get(RowSums).of_parts
    pairs = pairs_in_class(subject.part, subject.y, subject.n_parts)
    n = subject.rows.shape[0]
    if not pairs:
        yield Value(id=DISTANCE.id, n=n, note=NO_PAIR)
        return
    variance = sums.scatter / np.where(sums.weight > 0, sums.weight, np.nan)
    found: list[Floats] = []
    for p, q in pairs:
        found.append(separation(sums.mean[:, p], sums.mean[:, q], variance[:, p], variance[:, q]))
    mean = np.mean(np.stack(found), axis=0)
    yield context.draws.value(DISTANCE, mean, n=n, note=_note(mean))
    for (p, q), one in list(zip(pairs, found, strict=True))[:MOST_PAIRS]:
        size = int(subject.counts[p] + subject.counts[q])
        yield context.draws.value(DISTANCE, one, parts=(p, q), n=size, note=_note(one))


def separation(first: Floats, second: Floats, v_first: Floats, v_second: Floats) -> Floats:
    """(R,) distance of means (R, D) over the root of the mean within-scatter; NaN without scatter.

    >>> import numpy as np
    >>> a, b = np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[5.0, 0.0], [5.0, 4.0], [6.0, 2.0]])
    >>> v = [np.mean(np.sum((z - z.mean(axis=0)) ** 2, axis=1)) for z in (a, b)]
    >>> naive = np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)) / np.sqrt((v[0] + v[1]) / 2)
    >>> found = separation(a.mean(axis=0)[None], b.mean(axis=0)[None], np.array([v[0]]), np.array([v[1]]))
    >>> bool(np.isclose(found[0], naive))
    True
    """
    scatter = (v_first + v_second) / 2
    return np.sqrt(np.sum((first - second) ** 2, axis=1) / np.where(scatter > 0, scatter, np.nan))


def pairs_in_class(part: NDArray[np.int64], y: NDArray[np.int64], n_parts: int) -> list[tuple[int, int]]:
    """Pairs of parts, each with rows of one class alone and of the same."""
    least = np.full(n_parts, np.iinfo(np.int64).max)
    most = np.full(n_parts, -1)
    np.minimum.at(least, part, y)
    np.maximum.at(most, part, y)
    pure = [p for p in range(n_parts) if least[p] == most[p]]
    return [(p, q) for place, p in enumerate(pure) for q in pure[place + 1 :] if most[p] == most[q]]


def _note(found: Floats) -> str:
    return NO_SPREAD if math.isnan(float(found[0])) else ""


DIAGNOSTIC = Diagnostic(definitions=(DISTANCE,), compute=compute, first=(RowSums,))
