"""Traces of the covariances that collapse is followed by over epochs: of classes, and of groups within them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.sums import Pooled, RowSums

Floats = NDArray[np.float64]


def _defined(id: str, formula: str, direction: Direction, parts: str = "all") -> Definition:
    return Definition(
        id=id,
        family="nc",
        formula=formula,
        source="Hill et al. 2026 (arXiv 2512.01766), collapse by class and by group; exact traces where theirs are "
        "estimates with random vectors",
        direction=direction,
        needs=frozenset({Need.LABELS}),
        parts=parts,
        interval=Interval.BOOTSTRAP,
        lowest=0.0,
    )


TOTAL = _defined("trace_total", "(1/n) sum_i |z_i - m|^2, m = mean of all rows", Direction.NEITHER)
WITHIN_CLASS = _defined(
    "trace_within_class", "(1/n) sum_i |z_i - m_y(i)|^2, m_y = means of the classes", Direction.LOWER
)
BETWEEN_CLASS = _defined(
    "trace_between_class", "(1/K) sum_y |m_y - m|^2 over classes with rows, m = mean of all rows", Direction.HIGHER
)
WITHIN_PART = _defined(
    "trace_within_part",
    "(1/n) sum_i |z_i - m_p(i)|^2, m_p = means of the parts; of one part the mean over its rows",
    Direction.LOWER,
    "all, part",
)
BETWEEN_PART = _defined(
    "trace_between_part", "(1/P) sum_p |m_p - m|^2 over parts with rows, m = mean of all rows", Direction.NEITHER
)
PARTS_IN_CLASS = _defined(
    "trace_parts_in_class",
    "(1/n) sum_i |m_p(i) - m_y(i)|^2: what of trace_within_class lies between the parts of a class",
    Direction.LOWER,
)
EMPTY = "the part is empty"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pools:
    """The same sums by part, by class, by both, and of all rows."""

    parts: Pooled
    classes: Pooled
    cells: Pooled
    whole: Pooled
    class_of: NDArray[np.int64]
    """(Q,) class of each cell."""


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, and within each part."""
    sums, subject = context.get(RowSums), context.subject
    every = np.arange(sums.part.size)
    pools = Pools(
        parts=sums.of_parts,
        classes=sums.of_classes,
        cells=sums.pooled(every, every.size),
        whole=sums.pooled(np.zeros_like(every), 1),
        class_of=sums.y,
    )
    for definition, trace in TRACES:
        if definition.id in ids:
            yield context.draws.value(definition, trace(pools), n=subject.rows.shape[0])
    if WITHIN_PART.id in ids:
        parts = pools.parts
        each = parts.scatter / np.where(parts.weight > 0, parts.weight, np.nan)
        for part, n in enumerate(subject.counts.tolist()):
            yield context.draws.value(WITHIN_PART, each[:, part], parts=(part,), n=n, note="" if n else EMPTY)


def within(pooled: Pooled) -> Floats:
    """(R,) scatter about the means of the pools over the rows.

    >>> import numpy as np
    >>> z, p = np.array([[0.0, 1.0], [2.0, 1.0], [5.0, 0.0], [5.0, 4.0]]), np.array([0, 0, 1, 1])
    >>> m = np.array([z[p == 0].mean(axis=0), z[p == 1].mean(axis=0)])
    >>> scatter = np.array([[np.sum((z[p == c] - m[c]) ** 2) for c in range(2)]])
    >>> pooled = Pooled(np.array([[2.0, 2.0]]), m[None], scatter)
    >>> naive = np.mean([np.sum((row - m[c]) ** 2) for row, c in zip(z, p)])
    >>> bool(np.isclose(within(pooled)[0], naive))
    True
    """
    return np.sum(np.where(pooled.weight > 0, pooled.scatter, 0.0), axis=1) / np.sum(pooled.weight, axis=1)


def between(pooled: Pooled, whole: Pooled) -> Floats:
    """(R,) mean over the pools with rows of the squared distance of their mean from that of all rows."""
    apart = np.sum((pooled.mean - whole.mean) ** 2, axis=2)
    has_rows = pooled.weight > 0
    return np.sum(np.where(has_rows, apart, 0.0), axis=1) / np.sum(has_rows, axis=1)


def _in_class(pools: Pools) -> Floats:
    weight = pools.cells.weight
    apart = np.sum((pools.cells.mean - pools.classes.mean[:, pools.class_of]) ** 2, axis=2)
    return np.sum(np.where(weight > 0, weight * apart, 0.0), axis=1) / np.sum(weight, axis=1)


TRACES: tuple[tuple[Definition, Callable[[Pools], Floats]], ...] = (
    (TOTAL, lambda pools: within(pools.whole)),
    (WITHIN_CLASS, lambda pools: within(pools.classes)),
    (BETWEEN_CLASS, lambda pools: between(pools.classes, pools.whole)),
    (WITHIN_PART, lambda pools: within(pools.parts)),
    (BETWEEN_PART, lambda pools: between(pools.parts, pools.whole)),
    (PARTS_IN_CLASS, _in_class),
)
DIAGNOSTIC = Diagnostic(definitions=tuple(definition for definition, _ in TRACES), compute=compute, first=(RowSums,))
