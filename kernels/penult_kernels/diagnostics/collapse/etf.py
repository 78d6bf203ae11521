"""Whether the means of the parts are the corners of a simplex: equally long about their mean, at equal angles."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.collapse.variability import ONE_PLACE, divided
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.sums import RowSums

Floats = NDArray[np.float64]


def _defined(id: str, formula: str) -> Definition:
    return Definition(
        id=id,
        family="nc",
        formula=formula,
        source="Papyan et al. 2020 (NC2)",
        direction=Direction.LOWER,
        needs=frozenset({Need.LABELS}),
        parts="all",
        interval=Interval.BOOTSTRAP,
        lowest=0.0,
    )


ETF = _defined(
    "nc2_etf", "|G / |G|_F - (I - 11^T/P) / sqrt(P - 1)|_F, G_pq = (m_p - m) . (m_q - m), m = mean of the m_p"
)
EQUINORM = _defined("nc2_equinorm", "standard deviation over mean of |m_p - m|, m = mean of the m_p; divisor P")
EQUIANGLE = _defined(
    "nc2_equiangle", "standard deviation of cos(m_p - m, m_q - m) over pairs p < q, m = mean of the m_p"
)
TWO = "two means are always opposite about their mean, so that they say nothing"


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all parts."""
    sums = context.get(RowSums).of_parts
    n, known = context.subject.rows.shape[0], sums.known
    if known.size < 3:
        note = TWO if known.size == 2 else "needs three parts with rows"
        yield from (Value(id=id, n=n, note=note) for id in sorted(ids))
        return
    gram = centered_gram(sums.mean[:, known])
    for definition, measure in ((ETF, etf_error), (EQUINORM, equinorm), (EQUIANGLE, equiangle)):
        if definition.id in ids:
            found = measure(gram)
            yield context.draws.value(definition, found, n=n, note="" if np.isfinite(found[0]) else ONE_PLACE)


def centered_gram(mean: Floats) -> Floats:
    """(R, P, P) inner products of means (R, P, D) about their own mean."""
    centered = mean - mean.mean(axis=1, keepdims=True)
    return centered @ np.swapaxes(centered, 1, 2)


def etf_error(gram: Floats) -> Floats:
    """(R,) distance of a Gram matrix (R, P, P) from that of a simplex, both of norm 1.

    >>> import numpy as np
    >>> corners = np.eye(4)[None]  # their differences from the mean are a simplex
    >>> bool(etf_error(centered_gram(corners))[0] < 1e-12)
    True
    """
    n_parts = gram.shape[1]
    simplex = (np.eye(n_parts) - 1 / n_parts) / np.sqrt(n_parts - 1)
    norm = np.sqrt(np.sum(gram * gram, axis=(1, 2)))
    return np.sqrt(np.sum((divided(gram, norm[:, None, None]) - simplex) ** 2, axis=(1, 2)))


def equinorm(gram: Floats) -> Floats:
    """(R,) coefficient of variation of the norms.

    >>> import numpy as np
    >>> m = np.array([[3.0, 0.0], [-1.0, 1.0], [-2.0, -1.0]])
    >>> norms = np.linalg.norm(m - m.mean(axis=0), axis=1)
    >>> bool(np.isclose(equinorm(centered_gram(m[None]))[0], norms.std() / norms.mean()))
    True
    """
    norms = _norms(gram)
    return divided(norms.std(axis=1), norms.mean(axis=1))


def equiangle(gram: Floats) -> Floats:
    """(R,) standard deviation of the cosines of pairs.

    >>> import numpy as np
    >>> bool(equiangle(centered_gram(np.eye(3)[None]))[0] < 1e-12)
    True
    """
    norms = _norms(gram)
    first, second = np.triu_indices(gram.shape[1], 1)
    return divided(gram[:, first, second], norms[:, first] * norms[:, second]).std(axis=1)


def _norms(gram: Floats) -> Floats:
    return np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 0.0))


DIAGNOSTIC = Diagnostic(definitions=(ETF, EQUINORM, EQUIANGLE), compute=compute, first=(RowSums,))
