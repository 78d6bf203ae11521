"""Whether the head's rows are the means of their classes."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.diagnostics.collapse.etf import etf_error
from penult_kernels.diagnostics.collapse.variability import divided
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.sums import RowSums

Floats = NDArray[np.float64]


def _defined(id: str, formula: str) -> Definition:
    return Definition(
        id=id,
        family="nc",
        formula=formula,
        source="Papyan et al. 2020 (NC3), W centered over classes first, for a softmax does not see the rest",
        direction=Direction.LOWER,
        needs=frozenset({Need.LABELS, Need.HEAD}),
        parts="all",
        interval=Interval.BOOTSTRAP,
        matched=False,
        lowest=0.0,
    )


DUALITY = _defined(
    "nc3_duality", "|W / |W|_F - M / |M|_F|_F, rows of W and M less their means; M = means of the classes"
)
SIMPLEX = _defined(
    "nc3_simplex", "|W M^T / |W M^T|_F - (I - 11^T/K) / sqrt(K - 1)|_F, rows of W and M less their means"
)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all classes, whatever the parts are."""
    subject = context.subject
    assert subject.head is not None
    sums = context.get(RowSums).of_classes
    n = subject.rows.shape[0]
    if sums.known.size < subject.n_classes:
        note = f"{subject.n_classes - sums.known.size} of {subject.n_classes} classes have no row, so no mean"
        yield from (Value(id=id, n=n, note=note) for id in sorted(ids))
        return
    weight = to_host(subject.head.weight).astype(np.float64)
    if DUALITY.id in ids:
        found = duality(weight, sums.mean)
        note = "" if np.isfinite(found[0]) else "the head or the means of the classes are all equal"
        yield context.draws.value(DUALITY, found, n=n, note=note)
    if SIMPLEX.id in ids:
        if subject.n_classes == 2:
            yield Value(id=SIMPLEX.id, n=n, note="of two classes only the sign is left; see nc3_duality")
            return
        product = _centered(weight[None]) @ np.swapaxes(_centered(sums.mean), 1, 2)
        yield context.draws.value(SIMPLEX, etf_error(product), n=n)


def duality(weight: Floats, mean: Floats) -> Floats:
    """(R,) distance of a head (K, D) from class means (R, K, D), both centered and of norm 1: 0 when dual, at most 2.

    >>> import numpy as np
    >>> means = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 0.0]])
    >>> bool(duality(5 * means + 7, means[None])[0] < 1e-12)
    True
    """
    head, means = _centered(weight[None]), _centered(mean)
    norms = [np.sqrt(np.sum(one * one, axis=(1, 2)))[:, None, None] for one in (head, means)]
    gap = divided(head, norms[0]) - divided(means, norms[1])
    return np.sqrt(np.sum(gap * gap, axis=(1, 2)))


def _centered(rows: Floats) -> Floats:
    return rows - rows.mean(axis=1, keepdims=True)


DIAGNOSTIC = Diagnostic(definitions=(DUALITY, SIMPLEX), compute=compute, first=(RowSums,))
