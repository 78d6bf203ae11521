"""Whether the head decides as the nearest class mean would."""

from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.diagnostics.shared.row_means import part_means
from penult_kernels.diagnostics.shared.sums import RowSums

NC4 = Definition(
    id="nc4_ncc",
    family="nc",
    formula="share of rows with argmax_c (logits_c) = argmin_c |z - m_c|, m_c = means of the classes of these rows",
    source="Papyan et al. 2020 (NC4), with the head's bias, distances in float64",
    direction=Direction.HIGHER,
    needs=frozenset({Need.LABELS, Need.LOGITS}),
    parts="all, part",
    interval=Interval.BOOTSTRAP,
    cost="n D K",
    lowest=0.0,
    highest=1.0,
)


class Agreement:
    """(N,) 1 where the head's class is that of the nearest class mean, else 0."""

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        classes = context.get(RowSums).of_classes
        self._known = classes.known
        self._mean: NDArray[np.float64] = classes.mean[0, self._known]
        self.values: NDArray[np.float64] = np.zeros(context.subject.rows.shape[0])

    def add(self, block: Block) -> None:
        """Take in some rows."""
        xp = array_namespace(block.z)
        nearest = self._known[nearest_mean(block.z - self._subject.shift, self._mean)]
        predicted = to_host(xp.argmax(self._subject.logits_of(block.rows, block.z), axis=1))
        self.values[block.rows] = nearest == predicted


def nearest_mean(z: Array, mean: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) which of K means (K, D) each row (n, D) is nearest to, the first of equals.

    >>> import numpy as np
    >>> z, m = np.array([[0.0, 1.0], [4.0, 4.0], [2.0, 9.0]]), np.array([[0.0, 0.0], [3.0, 5.0]])
    >>> naive = [min(range(2), key=lambda c: np.linalg.norm(row - m[c])) for row in z]
    >>> nearest_mean(z, m).tolist() == naive
    True
    """
    xp = array_namespace(z)
    means = asarray_like(mean, z)
    # |z|^2 is the same for every mean.
    return to_host(xp.argmin(xp.sum(means * means, axis=1) - 2.0 * (z @ means.T), axis=1))


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, and by part."""
    means = part_means(context, context.get(Agreement).values)
    yield context.draws.value(NC4, means[:, 0], n=context.subject.rows.shape[0], has_matched=False)
    for part, n in enumerate(context.subject.counts.tolist()):
        note = "" if n else "the part is empty"
        yield context.draws.value(NC4, means[:, 1 + part], parts=(part,), n=n, note=note)


def _work(size: Size) -> float:
    return size.n * size.d * (size.draws + 2 * size.k)


DIAGNOSTIC = Diagnostic(definitions=(NC4,), compute=compute, first=(RowSums,), second=(Agreement,), work=_work)
