"""Whether two sets of features of the same rows tell the class better together than the better of them alone."""

import math
from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.probes.outcomes import FOLDS, folds_of
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.row_means import part_means
from penult_kernels.linear.solve import Head, Problem, Standardize, solve

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GAIN = Definition(
    id="concat_gain",
    family="concat",
    formula="accuracy of a probe of the class on both sets of features side by side, standardised - the better of the "
    "accuracies of a probe on each alone",
    source="linear probes (softmax, l2 = probe_l2 on standardised features), each row scored by one fitted to the "
    "other 2 of 3 folds; after Gontijo-Lopes et al. 2022",
    direction=Direction.HIGHER,
    needs=frozenset({Need.LABELS, Need.OTHER, Need.MEMORY}),
    parts="all, part",
    interval=Interval.BOOTSTRAP,
    matched=False,
    cost="probes of the class",
    lowest=-1.0,
    highest=1.0,
    numbers=("probe_l2",),
)


def gain(both: Floats, first: Floats, second: Floats) -> Floats:
    """(R, ...) accuracy together less the better of the two.

    >>> import numpy as np
    >>> gain(np.array([0.9, 0.7]), np.array([0.8, 0.75]), np.array([0.6, 0.5])).round(3).tolist()
    [0.1, -0.05]
    """
    return both - np.maximum(first, second)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, and by part."""
    subject, n = context.subject, context.subject.rows.shape[0]
    counts = np.bincount(subject.y, minlength=subject.n_classes)
    if int(counts[counts > 0].min(initial=n)) < FOLDS or np.count_nonzero(counts) < 2:
        yield Value(id=GAIN.id, n=n, note=f"needs two classes, and {FOLDS} rows of each")
        return
    every: Integers = np.arange(n, dtype=np.int64)
    fold = folds_of(subject.y, np.random.default_rng([context.draws.seed, 18]))
    own, other = context.gather(every), context.gather(every, other=True)
    xp = array_namespace(own)
    sets = (xp.concat([own, other], axis=1), own, other)
    means = [part_means(context, _right(context, one, fold)) for one in sets]
    found = gain(*means)
    for part in range(-1, subject.n_parts):
        count = n if part < 0 else int(subject.counts[part])
        accuracies = ", ".join(f"{float(one[0, 1 + part]):.3f}" for one in means)
        note = f"together, first, second: {accuracies}" if count else "the part is empty"
        yield context.draws.value(GAIN, found[:, 1 + part], parts=(part,) if part >= 0 else (), n=count, note=note)


def _right(context: Context, features: Array, fold: Integers) -> Floats:
    """(N,) whether each row's class is predicted by the probe of the other folds."""
    subject, values = context.subject, np.unique(context.subject.y)
    y = np.searchsorted(values, subject.y)
    l2 = context.number("probe_l2")
    problems = [Problem(rows=np.flatnonzero(fold != one), l2=l2, standardize=Standardize.ROWS) for one in range(FOLDS)]
    heads: list[Head] = list(solve(features, y, values.size, problems, tolerance=1e-6, check=context.check))
    right: Floats = np.full(y.size, math.nan)
    for one, head in enumerate(heads):
        held = np.flatnonzero(fold == one)
        xp = array_namespace(features)
        z = xp.take(features, xp.asarray(held, device=features.device), axis=0)
        logits = to_host(z @ head.weight.T + head.bias)
        right[held] = np.argmax(logits, axis=1) == y[held]
    return right


def work(size: Size) -> float:
    """Multiplications, about."""
    return 2.0 * FOLDS * 60 * size.n * 2 * (size.d + size.d_other) * size.k


DIAGNOSTIC = Diagnostic(
    definitions=(GAIN,),
    compute=compute,
    work=work,
    memory=lambda size: 16.0 * size.n * (size.d + size.d_other),
)
