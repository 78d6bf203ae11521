"""Whether predictions follow a cue or the class, where the two say different things."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PREFERENCE = Definition(
    id="cue_preference",
    family="cues",
    formula="of rows whose value a of a column is not the class y, and that are predicted as class a or y, the share "
    "predicted as a; value number c stands for class number c",
    source="cue conflict: Geirhos et al. 2019; Hermann & Lampinen 2020",
    direction=Direction.LOWER,
    needs=frozenset({Need.LABELS, Need.LOGITS}),
    parts="column",
    interval=Interval.BOOTSTRAP,
    matched=False,
    cost="n D K",
    lowest=0.0,
    highest=1.0,
)


class Predicted:
    """(N,) the first largest logit."""

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        self.classes: Integers = np.zeros(context.subject.rows.shape[0], np.int64)

    def add(self, block: Block) -> None:
        """Take in some rows."""
        self.classes[block.rows] = np.argmax(to_host(self._subject.logits_of(block.rows, block.z)), axis=1)


def followed(predicted: Integers, y: Integers, cue: Integers) -> tuple[Integers, Integers]:
    """Positions of rows in conflict that are predicted as their cue, and as their class.

    >>> import numpy as np
    >>> predicted, y, cue = np.array([0, 1, 1, 2, 0]), np.array([0, 0, 1, 0, 1]), np.array([1, 1, 1, 1, 0])
    >>> [found.tolist() for found in followed(predicted, y, cue)]
    [[1, 4], [0]]
    """
    in_conflict = (cue >= 0) & (cue != y)
    return np.flatnonzero(in_conflict & (predicted == cue)), np.flatnonzero(in_conflict & (predicted == y))


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Every column of as many values as there are classes."""
    subject, predicted = context.subject, context.get(Predicted).classes
    columns = {name: one for name, one in subject.columns.items() if name != "class"}
    weights = context.draws.weights
    for name, (codes, n_values) in columns.items():
        if n_values != subject.n_classes:
            why = f"has {n_values} values for {subject.n_classes} classes: none stands for each class"
            yield Value(id=PREFERENCE.id, column=name, note=why)
            continue
        by_cue, by_class = (
            weights[rows].sum(axis=0, dtype=np.float64) for rows in followed(predicted, subject.y, codes)
        )
        both: Floats = by_cue + by_class
        found = by_cue / np.where(both > 0, both, np.nan)
        note = "" if both[0] else "no row in conflict is predicted as its class or as its cue"
        null = 0.5 if both[0] else float("nan")
        yield context.draws.value(PREFERENCE, found, column=name, n=int(both[0]), null=null, note=note)
    if not columns:
        yield Value(id=PREFERENCE.id, n=predicted.size, note="needs a column of labels besides the class")


def work(size: Size) -> float:
    """Multiplications, about."""
    return float(size.n * size.d * size.k)


DIAGNOSTIC = Diagnostic(definitions=(PREFERENCE,), compute=compute, first=(Predicted,), work=work)
