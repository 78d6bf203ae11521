"""How alike the directions of rows of one class are, in closed form from sums of unit rows."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.sums import UnitSums

Floats = NDArray[np.float64]


def _defined(id: str, formula: str, source: str, direction: Direction, lowest: float, highest: float) -> Definition:
    return Definition(
        id=id,
        family="sphere",
        formula=formula,
        source=source,
        direction=direction,
        needs=frozenset({Need.LABELS}),
        parts="all, part",
        interval=Interval.BOOTSTRAP,
        lowest=lowest,
        highest=highest,
    )


TOLERANCE = _defined(
    "tolerance",
    "mean of u_i . u_j over pairs of different rows of one class, u = z / |z|",
    "Wang & Liu 2021 (tolerance of the contrastive loss)",
    Direction.HIGHER,
    -1.0,
    1.0,
)
ALIGNMENT = _defined(
    "class_alignment",
    "mean of |u_i - u_j|^2 over pairs of different rows of one class, u = z / |z|",
    "Wang & Isola 2020, alpha = 2, with rows of one class in the place of two views of one example",
    Direction.LOWER,
    0.0,
    4.0,
)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, and by part."""
    sums, subject = context.get(UnitSums), context.subject
    n_zero = subject.rows.shape[0] - int(sums.weight[0].sum())
    note = f"{n_zero} rows of zeros have no direction and are left out" if n_zero else ""
    all_rows = _of_pools(sums, sums.y, subject.n_classes, np.ones(sums.part.size, dtype=np.bool_))
    found: list[tuple[tuple[int, ...], Floats, int]] = [((), all_rows, subject.rows.shape[0] - n_zero)]
    for part in range(subject.n_parts):
        inside = sums.part == part
        n = int(sums.weight[0][inside].sum())
        found.append(((part,), _of_pools(sums, sums.y, subject.n_classes, inside), n))
    for definition in (TOLERANCE, ALIGNMENT):
        if definition.id in ids:
            for parts, similarity, n in found:
                values = similarity if definition is TOLERANCE else 2.0 - 2.0 * similarity
                why = "" if math.isfinite(float(values[0])) else "no two rows of one class with a direction"
                yield context.draws.value(
                    definition, values, parts=parts, n=n, note=why or note, has_matched=bool(parts)
                )


def _of_pools(sums: UnitSums, y: NDArray[np.int64], n_classes: int, inside: NDArray[np.bool_]) -> Floats:
    """(R,) mean similarity of pairs of one class among the cells that are `inside`."""
    member = ((y[None, :] == np.arange(n_classes)[:, None]) & inside[None, :]).astype(np.float64)
    total = np.einsum("cq,rqd->rcd", member, sums.total)
    return similarity_of_pairs(total, sums.weight @ member.T, sums.squared_weight @ member.T)


def similarity_of_pairs(total: Floats, weight: Floats, squared: Floats) -> Floats:
    """(R,) sum over classes of |sum w u|^2 - sum w^2, over sum over classes of (sum w)^2 - sum w^2; NaN without pairs.

    >>> import numpy as np
    >>> u, y = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0], [0.8, 0.6]]), np.array([0, 0, 0, 1, 1])
    >>> naive = np.mean([u[i] @ u[j] for i in range(5) for j in range(5) if i != j and y[i] == y[j]])
    >>> sums = np.stack([u[y == c].sum(axis=0) for c in range(2)])[None]
    >>> n = np.array([[3.0, 2.0]])
    >>> bool(np.isclose(similarity_of_pairs(sums, n, n)[0], naive))
    True
    """
    pairs = np.sum(weight * weight - squared, axis=1)
    alike = np.sum(np.sum(total * total, axis=2) - squared, axis=1)
    return alike / np.where(pairs > 0, pairs, np.nan)


DIAGNOSTIC = Diagnostic(definitions=(TOLERANCE, ALIGNMENT), compute=compute, first=(UnitSums,))
