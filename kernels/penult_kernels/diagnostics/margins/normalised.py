"""Margins over the norm of the head: how far rows lie from its decision, however large its weights have grown."""

import math
from collections.abc import Iterator

import numpy as np

from penult_kernels.arrays import to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.margins.margins import LOGITS, NO_NORM, Margins, three, values_of, work
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.linear.problem import Head

PROBABILITIES = "p_y - max_(c != y) p_c, p the probabilities"
NORM = "|W|_F, rows of W less their mean (a softmax does not see it)"
ALL_NORM = "|[W, b]|_F"
NORMALISED = three("margin_normalised", f"({LOGITS}) / {NORM}", frozenset({Need.HEAD}))
OF_PROBABILITIES = three(
    "probability_margin",
    f"({PROBABILITIES}) / {ALL_NORM}",
    frozenset({Need.HEAD}),
    least="least of the positive ones (0 where none is)",
)
HEAD_NORM = Definition(
    id="head_norm",
    family="margins",
    formula=NORM,
    source="Soudry et al. 2018: grows with log t on separable rows, while the direction converges",
    direction=Direction.NEITHER,
    needs=frozenset({Need.HEAD}),
    parts="all",
    interval=Interval.NONE,
    matched=False,
    cost="D K",
)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, and by part."""
    found, head = context.get(Margins), context.subject.head
    assert head is not None
    norm, norm_of_all = norms(head)
    for definition in NORMALISED:
        if definition.id in ids:
            yield from values_of(context, definition, found.of_logits / (norm or math.nan))
    for definition in OF_PROBABILITIES:
        if definition.id in ids:
            margins = found.of_probabilities / (norm_of_all or math.nan)
            yield from values_of(context, definition, margins, is_positive=True)
    if HEAD_NORM.id in ids:
        yield Value(id=HEAD_NORM.id, value=norm, n=context.subject.rows.shape[0], note="" if norm else NO_NORM)


def norms(head: Head) -> tuple[float, float]:
    """Norm of the weights less their mean over classes, and of weights and bias as they are.

    >>> head = Head(weight=np.array([[1.0, 2.0], [3.0, -2.0]]), bias=np.array([1.0, 0.0]))
    >>> naive = sum((w - m) ** 2 for row in head.weight for w, m in zip(row, (2.0, 0.0))) ** 0.5
    >>> bool(np.isclose(norms(head), [naive, 19**0.5]).all())
    True
    """
    weight, bias = (to_host(one).astype(np.float64) for one in (head.weight, head.bias))
    whole = math.hypot(float(np.linalg.norm(weight)), float(np.linalg.norm(bias)))
    return float(np.linalg.norm(weight - weight.mean(axis=0))), whole


DIAGNOSTIC = Diagnostic(
    definitions=(*NORMALISED, *OF_PROBABILITIES, HEAD_NORM), compute=compute, first=(Margins,), work=work
)
