"""How far rows lie on the right side of a head's decision."""

import math
from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.diagnostics.shared.row_means import part_means
from penult_kernels.loss import log_softmax

Floats = NDArray[np.float64]
NO_NORM = "the head's weights are zero, or equal for all classes"
LOGITS = "l_y - max_(c != y) l_c, l the logits"


def _defined(id: str, formula: str, direction: Direction, *, interval: Interval, needs: frozenset[Need]) -> Definition:
    return Definition(
        id=id,
        family="margins",
        formula=formula,
        source="Hill et al. 2026 (arXiv 2512.01766); theirs are of probabilities, and the least of the positive ones",
        direction=direction,
        needs=needs | {Need.LABELS},
        parts="all, part",
        interval=interval,
        cost="n D K",
    )


def three(prefix: str, formula: str, needs: frozenset[Need], least: str = "least over rows") -> tuple[Definition, ...]:
    """The least, the mean and the largest of a margin. Ends of a sample have no bootstrap interval."""
    said = (least, "mean over rows", "largest over rows")
    intervals = (Interval.NONE, Interval.BOOTSTRAP, Interval.NONE)
    return tuple(
        _defined(f"{prefix}_{name}", f"{what} of {formula}", Direction.HIGHER, interval=interval, needs=needs)
        for name, what, interval in zip(("min", "mean", "max"), said, intervals, strict=True)
    )


PLAIN = three("margin", LOGITS, frozenset({Need.LOGITS}))


class Margins:
    """(N,) margins of the logits and of the probabilities."""

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        self.of_logits: Floats = np.zeros(context.subject.rows.shape[0])
        self.of_probabilities: Floats = np.zeros_like(self.of_logits)

    def add(self, block: Block) -> None:
        """Take in some rows."""
        xp = array_namespace(block.z)
        logits, y = self._subject.logits_of(block.rows, block.z), self._subject.y[block.rows]
        self.of_logits[block.rows] = margins_of(logits, y)
        self.of_probabilities[block.rows] = margins_of(xp.exp(log_softmax(logits)), y)


def margins_of(scores: Array, y: NDArray[np.int64]) -> Floats:
    """(n,) score of a row's class less the largest of the others, of scores (n, K).

    >>> import numpy as np
    >>> scores, y = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 7.0]]), np.array([0, 1])
    >>> naive = [row[c] - max(np.delete(row, c)) for row, c in zip(scores, y)]
    >>> margins_of(scores, y).tolist() == naive
    True
    """
    xp = array_namespace(scores)
    every: NDArray[np.int64] = np.arange(int(scores.shape[1]), dtype=np.int64)
    is_own = asarray_like(y, scores)[:, None] == asarray_like(every, scores)[None, :]
    own = xp.sum(xp.where(is_own, scores, 0.0), axis=1)
    return to_host(own - xp.max(xp.where(is_own, -math.inf, scores), axis=1))


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, and by part."""
    found = context.get(Margins).of_logits
    for definition in PLAIN:
        if definition.id in ids:
            yield from values_of(context, definition, found)


def values_of(
    context: Context, definition: Definition, margins: Floats, *, is_positive: bool = False
) -> Iterator[Value]:
    """The least, the mean or the largest margin, as the id ends, of all rows and of each part."""
    subject, name = context.subject, definition.id.rsplit("_", 1)[1]
    means = part_means(context, margins) if name == "mean" else None
    for part in range(-1, subject.n_parts):
        rows = np.arange(margins.size) if part < 0 else subject.members[part]
        note = "" if rows.size else "the part is empty"
        if rows.size and not np.isfinite(margins[rows]).any():
            note = NO_NORM
        values = _ends(context, rows, margins, name, is_positive) if means is None else means[:, 1 + part]
        yield context.draws.value(
            definition, values, parts=(part,) if part >= 0 else (), n=rows.size, note=note, has_matched=part >= 0
        )


def _ends(context: Context, rows: NDArray[np.int64], margins: Floats, name: str, is_positive: bool) -> Floats:
    """(R,) the least or the largest of the rows of a part: as they are, and in every matched draw."""
    draws, own = context.draws, margins[rows]
    found = np.full(draws.count, np.nan)
    if rows.size:
        found[0] = _end(own, name, is_positive)
        for place in range(1 + draws.replicates, draws.count):
            found[place] = _end(own[draws.weights[rows, place] > 0], name, is_positive)
    return found


def _end(margins: Floats, name: str, is_positive: bool) -> float:
    if name == "max":
        return float(margins.max(initial=-math.inf))
    if is_positive:
        positive = margins[margins > 0]
        return float(positive.min()) if positive.size else 0.0
    return float(margins.min(initial=math.inf))


def work(size: Size) -> float:
    """Multiplications, about."""
    return size.n * (size.d * size.k + 9.0 * size.draws)


DIAGNOSTIC = Diagnostic(definitions=PLAIN, compute=compute, first=(Margins,), work=work)
