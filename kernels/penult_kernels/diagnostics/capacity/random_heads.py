"""How rare heads are that fit the labels, among random ones: bits of luck that choosing a head at random would need.

Squared error of W Z^T + c, entries of W independent normals of mean 0 and standard deviation tau, c the best. With the
eigenvectors u_j of the centered rows' Gram matrix, of eigenvalues l_j, the squared error is

    sum_j sum_k (u_j . Y_k - tau sqrt(l_j) x_jk)^2 + what of Y lies in no u_j,     x independent standard normals,

Y the centered one-hot labels: a weighted sum of noncentral chi-squares, whose lower tail the saddlepoint gives
(Lugannani & Rice 1980; Imhof 1961 has the same sum). tau is that of the least bits.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like, to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.diagnostics.shared.scatter import PartScatter

Floats = NDArray[np.float64]
GOLDEN = (math.sqrt(5) - 1) / 2
STEPS = 40
FEWEST = 1e-10
"""Eigenvalues below this fraction of the largest are rounding."""

BITS = Definition(
    id="inductive_bias_bits",
    family="inductive_bias",
    formula="min over tau of -log2 P(squared error of a head of N(0, tau^2) weights and the best bias <= bias_error "
    "times that of the best bias alone)",
    source="after Boopathy et al. 2023, of heads on fixed features and squared loss; theirs: losses of random networks",
    direction=Direction.LOWER,
    needs=frozenset({Need.LABELS}),
    parts="all",
    interval=Interval.NONE,
    matched=False,
    cost="n D^2 + D^3",
    lowest=0.0,
    numbers=("bias_error",),
)


class ClassSums:
    """(K, D) sums of the rows less the shift, by class."""

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        self.total: Floats = np.zeros((context.subject.n_classes, context.subject.rows.shape[1]))

    def add(self, block: Block) -> None:
        """Take in some rows."""
        y, x = self._subject.y[block.rows], block.z - self._subject.shift
        is_class = asarray_like(np.eye(self._subject.n_classes)[y].T.copy(), x)
        self.total += to_host(is_class @ x)


def log_tail(values: Floats, squares: Floats, size: float, n_outputs: int) -> float:
    """log P(sum_j sum_k (a_jk + sqrt(values_j) x_jk)^2 <= size), sum_k a_jk^2 = squares_j, by the saddlepoint.

    Exact for its leading order; near the mean, where the formula has a removable hole, of the normal.

    >>> import numpy as np
    >>> exact = math.log(1 - math.exp(-0.05))  # a chi-square of two degrees: P(<= 0.1)
    >>> bool(abs(log_tail(np.array([1.0, 1.0]), np.zeros(2), 0.1, 1) - exact) < 0.1)
    True
    """
    if size <= 0:
        return -math.inf

    def derivatives(t: float) -> tuple[float, float, float]:
        """The cumulant generating function and its first two derivatives, t < 1 / (2 max values)."""
        left = 1.0 / (1.0 - 2.0 * t * values)
        k = float(np.sum(0.5 * n_outputs * np.log(left) + t * squares * left))
        first = float(np.sum(n_outputs * values * left + squares * left**2))
        second = float(np.sum(2.0 * n_outputs * (values * left) ** 2 + 4.0 * squares * values * left**3))
        return k, first, second

    t = _saddlepoint(lambda t: derivatives(t)[1], size, float(values.max()))
    k, _, second = derivatives(t)
    w = math.copysign(math.sqrt(max(0.0, 2.0 * (t * size - k))), t)
    u = t * math.sqrt(second)
    if abs(w) < 1e-4:
        _, mean, variance = derivatives(0.0)
        return _log_normal((size - mean) / math.sqrt(variance))
    density = -0.5 * w * w - 0.5 * math.log(2 * math.pi)
    if w < 0:
        return density + math.log(max(_mills(-w) + 1 / w - 1 / u, 1e-300))
    return math.log1p(-min(math.exp(density) * max(_mills(w) - 1 / w + 1 / u, 0.0), 1.0 - 1e-16))


def _saddlepoint(derivative: Callable[[float], float], size: float, largest: float) -> float:
    """t of derivative(t) = size; the derivative rises from 0 at minus infinity."""
    high = (1.0 - 1e-9) / (2.0 * largest)
    low = -1.0 / largest
    while derivative(low) > size:
        low *= 4.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if derivative(middle) < size else (low, middle)
    return 0.5 * (low + high)


def _mills(x: float) -> float:
    """(1 - Phi(x)) / phi(x) for x > 0."""
    if x < 25:
        return 0.5 * math.erfc(x / math.sqrt(2)) * math.sqrt(2 * math.pi) * math.exp(0.5 * x * x)
    return (1 - 1 / x**2 + 3 / x**4 - 15 / x**6) / x


def _log_normal(x: float) -> float:
    return math.log(0.5 * math.erfc(-x / math.sqrt(2)))


def bits(values: Floats, squares: Floats, rest: float, size: float, n_outputs: int) -> tuple[float, float]:
    """Least -log2 P over tau, and that tau: golden sections of log tau about where heads have the labels' size."""

    def of(log_tau: float) -> float:
        return -log_tail(values * math.exp(2 * log_tau), squares, size - rest, n_outputs) / math.log(2)

    middle = 0.5 * math.log(float(squares.sum()) / (n_outputs * float(values.sum())))
    low, high = middle - 6.0, middle + 6.0
    for _ in range(STEPS):
        a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, b) if of(a) < of(b) else (a, high)
    at = 0.5 * (low + high)
    return max(0.0, of(at)), math.exp(at)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows."""
    subject, share = context.subject, context.number("bias_error")
    n, scatter = subject.rows.shape[0], context.get(PartScatter)
    count = np.bincount(subject.y, minlength=subject.n_classes).astype(np.float64)
    if np.count_nonzero(count) < 2:
        yield Value(id=BITS.id, n=n, note="needs rows of two classes")
        return
    values, vectors = scatter.pooled_eigen()
    kept = values > FEWEST * max(float(values.max(initial=0.0)), 1e-300)
    if not kept.any():
        yield Value(id=BITS.id, n=n, note="rows do not vary")
        return
    sums = context.get(ClassSums).total
    cross = sums - count[:, None] * sums.sum(axis=0) / n
    values = values[kept]
    squares = np.sum((cross @ vectors[:, kept]) ** 2, axis=0) / values
    total = float(count.sum() - (count**2).sum() / n)
    rest = max(0.0, total - float(squares.sum()))
    if share * total <= rest * (1 + 1e-9):
        least = f"no head has an error below {rest / total:.3g} of that of the best bias: raise bias_error"
        yield Value(id=BITS.id, n=n, note=least)
        return
    found, tau = bits(values, squares, rest, share * total, subject.n_classes)
    yield Value(id=BITS.id, value=found, n=n, note=f"tau = {tau:.3g}, error {share:g} of that of the best bias")


def work(size: Size) -> float:
    """Multiplications, about."""
    return 2.0 * size.n * size.d**2 + 10.0 * size.d**3


DIAGNOSTIC = Diagnostic(
    definitions=(BITS,),
    compute=compute,
    first=(PartScatter, ClassSums),
    work=work,
    memory=lambda size: 8.0 * 2 * (size.parts + 1) * size.d**2,
)
