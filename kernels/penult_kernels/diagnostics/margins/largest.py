"""How near a head is to the one with the largest margin on these rows, which gradient descent tends to."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.linear.hinge.machine import (
    LARGEST_SYSTEM,
    NO_MARGIN,
    TooLargeError,
    check_size,
    class_basis,
    constraints_of,
    solve_machine,
)

Floats = NDArray[np.float64]
TOLERANCE = 1e-8


def _defined(id: str, formula: str, direction: Direction, needs: frozenset[Need]) -> Definition:
    return Definition(
        id=id,
        family="max_margin",
        formula=formula,
        source="Soudry et al. 2018 (arXiv 1710.10345); Hill et al. 2026, LinearSVC without intercept, C = 1e5: here "
        "the hard margin itself",
        direction=direction,
        needs=needs | {Need.LABELS, Need.MEMORY},
        parts="all",
        interval=Interval.NONE,
        matched=False,
        cost="Newton steps of about n D^2",
    )


W_STAR = "W* the head without bias of least |W|_F with l_y - l_c >= 1 for all rows and c != y"
COSINE = _defined(
    "max_margin_cosine",
    f"<W, W*> / (|W| |W*|), rows of W less their mean; {W_STAR}",
    Direction.NEITHER,
    frozenset({Need.HEAD}),
)
ERROR = _defined(
    "max_margin_error",
    f"|W / |W| - W* / |W*||_F, rows of W less their mean; {W_STAR}",
    Direction.NEITHER,
    frozenset({Need.HEAD}),
)
INSEPARABLE = "no head without bias separates the classes of these rows: the largest margin is at most {:.1e}"
TOO_LARGE = "more than {:,} of both rows by other classes and weights: ask for fewer rows (rows=...)"
UNSOLVED = "the machine was not solved: the largest margin lies between {:.3g} and {:.3g}"


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows."""
    subject, head = context.subject, context.subject.head
    assert head is not None
    best, note = largest_of(context)
    cosine, error = (math.nan, math.nan)
    if best is not None:
        cosine, error = alignment(to_host(head.weight).astype(np.float64), best)
    for definition, value in ((COSINE, cosine), (ERROR, error)):
        if definition.id in ids:
            said = note or ("the head's weights are zero, or equal for all classes" if math.isnan(value) else "")
            yield Value(id=definition.id, value=value, n=subject.rows.shape[0], note=said)


def largest_of(context: Context) -> tuple[Floats | None, str]:
    """The head of the largest margin (K, D) on all rows; or why there is none."""
    subject = context.subject
    n = subject.rows.shape[0]
    try:
        check_size(*subject.rows.shape, subject.n_classes)
        z = to_host(context.gather(np.arange(n)))
        hard = constraints_of(z, subject.y, subject.n_classes, np.full(n, np.inf))
        found = solve_machine(hard, tolerance=TOLERANCE, check=context.check)
    except TooLargeError:
        return None, TOO_LARGE.format(LARGEST_SYSTEM)
    if found.margin_bound <= NO_MARGIN * math.sqrt(hard.mean_square):
        return None, INSEPARABLE.format(found.margin_bound)
    if not (math.isfinite(found.primal) and found.gap <= 1e3 * TOLERANCE * found.primal):
        return None, UNSOLVED.format(found.margin, found.margin_bound)
    return class_basis(subject.n_classes) @ found.w, ""


def alignment(first: Floats, second: Floats) -> tuple[float, float]:
    """Cosine and distance of two heads (K, D) of norm 1, rows less their mean.

    >>> import numpy as np
    >>> a, b = np.array([[1.0, 2.0], [3.0, -2.0]]), np.array([[0.0, 1.0], [4.0, 0.0]])
    >>> u, v = (w - w.mean(axis=0) for w in (a, b))
    >>> u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    >>> bool(np.allclose(alignment(a, b), [np.sum(u * v), np.linalg.norm(u - v)]))
    True
    """
    centered = [one - one.mean(axis=0) for one in (first, second)]
    norms = [float(np.linalg.norm(one)) for one in centered]
    if not all(norms):
        return math.nan, math.nan
    u, v = (one / norm for one, norm in zip(centered, norms, strict=True))
    return float(np.sum(u * v)), float(np.linalg.norm(u - v))


def _work(size: Size) -> float:
    return 30.0 * size.n * size.d * min(size.n, size.d) * max(1, size.k - 1)


def _memory(size: Size) -> float:
    system = min((size.k - 1) * min(size.n, size.d), LARGEST_SYSTEM)
    return 16.0 * size.n * size.d + 24.0 * system**2


DIAGNOSTIC = Diagnostic(definitions=(COSINE, ERROR), compute=compute, work=_work, memory=_memory)
