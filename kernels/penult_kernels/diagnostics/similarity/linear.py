"""Linear centered kernel alignment, and what it is of rows that have nothing to do with each other."""

import math
from collections.abc import Iterator

from array_api_compat import array_namespace

from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.similarity.cross import CrossProducts, cross_bytes, cross_work, values_by_part
from penult_kernels.diagnostics.similarity.hsic import Products, products_of

LINEAR = Definition(
    id="cka_linear",
    family="cka",
    formula="|X^T Y|_F^2 / (|X^T X|_F |Y^T Y|_F), columns of X and Y centered",
    source="Kornblith et al. 2019, eq. 5; biased: of independent rows it is near its null, which tends to 1 for n < D",
    direction=Direction.NEITHER,
    needs=frozenset({Need.OTHER}),
    parts="all, part",
    interval=Interval.NONE,
    cost="n D^2",
    lowest=0.0,
    highest=1.0,
)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, and by part."""

    def one(found: Products, part: int) -> tuple[float, float, float, float]:
        value, null = linear(found)
        return value, math.nan, math.nan, null

    yield from values_by_part(context, LINEAR, one, lambda x, y: linear(products_of(x, y))[0])


def linear(found: Products) -> tuple[float, float]:
    """Linear CKA, and its mean over all orders of the rows of one set: tr K tr L / ((n - 1) |K|_F |L|_F), centered.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 4))
    >>> a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    >>> naive = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    >>> bool(np.isclose(linear(products_of(x, y))[0], naive))
    True
    """
    xp = array_namespace(found.xy)
    n = found.n
    xy = found.xy - found.x[:, None] * found.y[None, :] / n
    norms: list[float] = []
    traces: list[float] = []
    for product, total, norm in ((found.xx, found.x, found.norms[0]), (found.yy, found.y, found.norms[1])):
        centered = product - total[:, None] * total[None, :] / n
        norms.append(math.sqrt(float(xp.sum(centered * centered))))
        traces.append(float(norm) - float(xp.sum(total * total)) / n)
    scale = norms[0] * norms[1]
    if not scale > 0:
        return math.nan, math.nan
    return float(xp.sum(xy * xy)) / scale, traces[0] * traces[1] / ((n - 1) * scale)


DIAGNOSTIC = Diagnostic(
    definitions=(LINEAR,), compute=compute, first=(CrossProducts,), work=cross_work, memory=cross_bytes
)
