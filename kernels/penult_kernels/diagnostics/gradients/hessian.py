"""Curvature of the head's loss: trace and largest eigenvalue of its Hessian, by part."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.diagnostics.shared.draws import normal
from penult_kernels.diagnostics.shared.row_means import part_means
from penult_kernels.loss import log_softmax

Floats = NDArray[np.float64]
STEPS = 60
"""Iterations of Lanczos at most."""
TOLERANCE = 1e-6
"""Relative residual at which they stop."""


def _defined(id: str, formula: str, interval: Interval, cost: str, *, matched: bool) -> Definition:
    return Definition(
        id=id,
        family="hessian",
        formula=formula,
        source="the Hessian of the mean cross-entropy by weights and bias of the last layer, exactly",
        direction=Direction.NEITHER,
        needs=frozenset({Need.LOGITS}),
        parts="all, part" if matched else "part",
        interval=interval,
        matched=matched,
        cost=cost,
        lowest=0.0,
    )


TRACE = _defined(
    "head_hessian_trace",
    "mean of (1 - |p|^2) (|z|^2 + 1), the trace of mean (diag p - p p^T) (x) [z, 1][z, 1]^T",
    Interval.BOOTSTRAP,
    "n D",
    matched=True,
)
LARGEST = _defined(
    "head_hessian_max",
    "largest eigenvalue of mean (diag p - p p^T) (x) [z, 1][z, 1]^T, by Lanczos",
    Interval.DELTA,
    "60 n D K",
    matched=False,
)


class Traces:
    """(N,) trace of each row's Hessian, and (N, K) probabilities."""

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        n = context.subject.rows.shape[0]
        self.values: Floats = np.zeros(n)
        self.p: Floats = np.zeros((n, context.subject.n_classes))

    def add(self, block: Block) -> None:
        """Take in some rows."""
        xp = array_namespace(block.z)
        p = xp.exp(log_softmax(self._subject.logits_of(block.rows, block.z)))
        self.p[block.rows] = to_host(p)
        self.values[block.rows] = to_host(traces(p, xp.sum(block.z * block.z, axis=1)))


def traces(p: Array, square: Array) -> Array:
    """(n,) trace of (diag p - p p^T) (x) [z, 1][z, 1]^T, |z|^2 given.

    >>> import numpy as np
    >>> p, z = np.array([0.2, 0.5, 0.3]), np.array([1.0, -2.0, 1.0])
    >>> naive = np.trace(np.kron(np.diag(p) - np.outer(p, p), np.outer(z, z)))
    >>> bool(np.isclose(traces(p[None], np.array([z[:2] @ z[:2]]))[0], naive))
    True
    """
    xp = array_namespace(p)
    return (1.0 - xp.sum(p * p, axis=1)) * (square + 1.0)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """By part; the trace over all rows, too."""
    found, subject = context.get(Traces), context.subject
    counts = subject.counts.tolist()
    if TRACE.id in ids:
        means = part_means(context, found.values)
        yield context.draws.value(TRACE, means[:, 0], n=subject.rows.shape[0], has_matched=False)
        for part, n in enumerate(counts):
            note = "" if n else "the part is empty"
            yield context.draws.value(TRACE, means[:, 1 + part], parts=(part,), n=n, note=note)
    if LARGEST.id in ids:
        yield from _largest(context, found)


def _largest(context: Context, found: Traces) -> Iterator[Value]:
    """By part: all parts in step, so that a step is one pass over the rows for all of them."""
    subject, k, d = context.subject, context.subject.n_classes, context.subject.rows.shape[1]
    counts = subject.counts.astype(np.float64)

    def applied(vectors: Floats) -> tuple[Floats, Floats]:
        """(P, K, D + 1) the Hessian of each part times its vector, and (N,) v^T H_i v."""
        total, quadratic = np.zeros_like(vectors), np.zeros(subject.rows.shape[0])
        for block in context.blocks():
            xp = array_namespace(block.z)
            part = subject.part[block.rows]
            for index in np.unique(part).tolist():
                rows = np.flatnonzero(part == index)
                z = xp.take(block.z, asarray_like(rows, block.z), axis=0)
                p = asarray_like(found.p[block.rows][rows], z)
                v = asarray_like(np.ascontiguousarray(vectors[index]), z)
                change = z @ v[:, :-1].T + v[:, -1][None, :]
                bent = p * (change - xp.sum(p * change, axis=1)[:, None])
                total[index, :, :-1] += to_host(bent.T @ z)
                total[index, :, -1] += to_host(xp.sum(bent, axis=0))
                quadratic[block.rows.start + rows] = to_host(xp.sum(change * bent, axis=1))
        return total / np.where(counts > 0, counts, 1.0)[:, None, None], quadratic

    start = np.random.default_rng([context.draws.seed, 7]).standard_normal((k, d + 1))
    start -= start.mean(axis=0)  # a change of all logits alike changes nothing
    values, vectors, residuals = lanczos(lambda v: applied(v)[0], np.repeat(start[None], subject.n_parts, axis=0))
    _, quadratic = applied(vectors)
    for part, rows in enumerate(subject.members):
        if not rows.size:
            yield Value(id=LARGEST.id, parts=(part,), note="the part is empty")
            continue
        error = float(np.std(quadratic[rows])) / math.sqrt(rows.size)
        value = float(values[part])
        low, high = normal(value, error, LARGEST)
        is_found = residuals[part] <= 1e-3 * max(value, 1e-300)
        note = "" if is_found else f"Lanczos stopped {residuals[part]:.1e} from an eigenvalue"
        yield Value(id=LARGEST.id, parts=(part,), value=value, low=low, high=high, n=rows.size, note=note)


def lanczos(apply: Callable[[Floats], Floats], start: Floats) -> tuple[Floats, Floats, Floats]:
    """Largest eigenvalue (P,), its vector (P, K, D + 1) of length 1 and residual (P,), of P operators in step.

    Golub & Van Loan, 4th ed., 10.1, with full reorthogonalisation.

    >>> import numpy as np
    >>> a = np.diag([3.0, 1.0, 0.5, 0.2])
    >>> values, _, _ = lanczos(lambda v: (v.reshape(1, 4) @ a).reshape(v.shape), np.ones((1, 2, 2)))
    >>> bool(np.isclose(values[0], 3.0))
    True
    """
    n_parts, shape = start.shape[0], start.shape
    basis = [_unit(start.reshape(n_parts, -1))]
    size = basis[0].shape[1]
    images: list[Floats] = []
    while True:
        images.append(apply(basis[-1].reshape(shape)).reshape(n_parts, size))
        q, hq = np.stack(basis, axis=1), np.stack(images, axis=1)
        small = np.einsum("pid,pjd->pij", q, hq)
        values, coordinates = np.linalg.eigh((small + np.swapaxes(small, 1, 2)) / 2)
        top = coordinates[:, :, -1]
        vector, image = np.einsum("pi,pid->pd", top, q), np.einsum("pi,pid->pd", top, hq)
        value = values[:, -1]
        residual = np.sqrt(np.sum((image - value[:, None] * vector) ** 2, axis=1))
        if len(basis) == min(STEPS, size) or bool(np.all(residual <= TOLERANCE * np.maximum(value, 1e-300))):
            return value, _unit(vector).reshape(shape), residual
        new = images[-1]
        for _ in range(2):
            new = new - np.einsum("pid,pi->pd", q, np.einsum("pid,pd->pi", q, new))
        basis.append(_unit(new))


def _unit(vectors: Floats) -> Floats:
    norm = np.sqrt(np.sum(vectors * vectors, axis=1, keepdims=True))
    return vectors / np.where(norm > 0, norm, 1.0)


def _work(size: Size) -> float:
    return 2.0 * STEPS * size.n * size.d * size.k


DIAGNOSTIC = Diagnostic(definitions=(TRACE, LARGEST), compute=compute, first=(Traces,), work=_work)
