"""Intervals and p-values of the spectral imbalance of many rows, by one pass over them instead of replicates.

With many rows log lambda_1 of a sample is the mean of independent terms, up to what vanishes faster. With
x_j = v_j^T (z - m) a row's coordinates along the eigenvectors of its group's covariance, lambda_j its eigenvalues, and
n rows,

    log lambda_1(sample) = log lambda_1 + mean of t + bias / n + ...,    t = x_1^2 / lambda_1 - 1   (Critchley 1985)
    variance  tau^2 / n,   tau^2 = mean of t^2
    bias      b - 1,       b = sum over j > 1 of mean(x_1^2 x_j^2) / (lambda_1 (lambda_1 - lambda_j))

by second-order perturbation; the 1 is for the divisor n about the mean. The answers of `inference` are then

* the matched ratio, lambda_1(minority) / lambda_1(majority) / (1 + bias (1 / n_a - 1 / n_b)): the majority at the
  minority's size n_a;
* its interval, log matched -+ q sqrt(tau_a^2 / n_a + tau_b^2 / n_b), q a quantile of the normal distribution;
* the p-value of "one covariance": log of the ratio, less what the sizes alone make of it, over
  tau sqrt(1 / n_a + 1 / n_b), with b and tau over the residuals of both groups together, as permutations exchange
  them. Two-sided.

Whether that holds is judged by the rows. It does not hold without a gap below lambda_1, where v_1 is any mixture: the
mean of sin^2 of the angle between the v_1 of n_a rows and the population's,
sum over j > 1 of mean(x_1^2 x_j^2) / (lambda_1 - lambda_j)^2 / n_a, must be at most MOST_MIXING. Nor does it where a
few rows decide: Lyapunov's ratio, sum |t|^3 / (sum t^2)^(3/2), must be at most MOST_LYAPUNOV. Nor where rows lie in two
clusters of one size along v_1, so that t hardly varies: what vanishes faster, the square of the mean of x_1, is all
there is then. For covariances sqrt(n_a) tau must be at least LEAST_SPREAD.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, fits_float32, to_host
from penult_kernels.moments.centering import center_rows
from penult_kernels.moments.moments import Moments, about_zero
from penult_kernels.products import product
from penult_kernels.spectra.eigen import decompose

LEAST_ROWS = 1000
"""Rows of a minority below which replicates are drawn, whatever its rows are like."""
MOST_FEATURES = 4096
"""Features up to which covariances are decomposed for this."""
MOST_MIXING = 0.05
"""Mean of sin^2 of the angle between the first eigenvector of a sample of the minority's size and the population's."""
MOST_LYAPUNOV = 0.2
"""Lyapunov's ratio: Gaussian rows have 3.07 / sqrt(n)."""
LEAST_SPREAD = 5.0
"""sqrt(n) tau, 1.41 sqrt(n) of Gaussian rows: here the standard deviation of the mean of t is 3.5 times that of the
square of the mean of x_1."""
DIRECTIONS = 16
"""Eigenvectors along which every row is looked at; what is left of a row counts by its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asymptotics:
    """Matched ratio, interval and p-value of one pair."""

    matched_ratio: float
    low: float
    high: float
    p_value: float


class AsymptoticPairs:
    """Pairs of groups (or classes), whose rows are given once, any number at a time, to `add`.

    Parameters
    ----------
    pairs : sequence of (int, int)
        Indices of the minority and the majority of each pair; the majority has at least as many rows.
    moments : callable
        From an index to the moments of that group (leading axis 1), on the device of the rows.
    center : bool
        Covariances about the mean; second moments about zero when False.
    check : callable
        Called between decompositions; may raise, to stop.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[int, int]],
        moments: Callable[[int], Moments],
        *,
        center: bool = True,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._center = center
        self._groups: dict[int, _Group] = {}
        self._pairs: list[_Pair] = []
        for a, b in pairs:
            sides: list[tuple[_Group, Array]] = []
            for index in (a, b):
                check()
                found = moments(index)
                products = found.m2[0, :, :] if center else about_zero(found)[0, :, :]
                if index not in self._groups:
                    self._groups[index] = _Group(found, products, center=center)
                sides.append((self._groups[index], products))
            check()
            self._pairs.append(_Pair(*sides))

    def could_hold(self) -> list[bool]:
        """Whether every pair has a gap, judged before any row is seen as if rows were Gaussian."""
        return [pair.could_hold() for pair in self._pairs]

    def add(self, rows: Array, g: NDArray[np.int64]) -> None:
        """Take in rows (N, D) of the groups `g` (N,) on the host; those of groups in no pair are passed over."""
        xp = array_namespace(rows)
        for index in np.unique(g):
            if int(index) not in self._groups:
                continue
            group = self._groups[int(index)]
            members = np.flatnonzero(g == index)
            for block in blocks(members.size, budget.DEFAULT.rows_of_tile(int(rows.shape[1]))):
                part = xp.take(rows, asarray_like(members[block], rows), axis=0)
                z = xp.empty(part.shape, dtype=_work_type(part), device=part.device)
                center_rows(part, group.mean, None, z)
                # At unit size, so that no square overflows.
                z *= 1 / group.size
                lengths = xp.astype(xp.sum(z * z, axis=1), xp.float64)
                group.direction.add(z, lengths, group.size**2)
                for pair in self._pairs:
                    if group in pair.groups:
                        pair.pooled.add(z, lengths, group.size**2 * group.factor)

    def infer(self, confidence: float) -> list[Asymptotics | None]:
        """The answers for every pair once all rows were added, None where they do not hold.

        Raises ValueError when rows are missing.
        """
        for index, group in self._groups.items():
            if group.direction.n_seen != group.n_rows:
                raise ValueError(f"expected {group.n_rows} rows of group {index}, got {group.direction.n_seen}")
        return [
            pair.infer(confidence, center=self._center) if pair.holds(center=self._center) else None
            for pair in self._pairs
        ]


class _Group:
    def __init__(self, moments: Moments, products: Array, *, center: bool) -> None:
        xp = array_namespace(products)
        self.n_rows = int(moments.count[0])
        mean = moments.mean[0, :]
        self.mean = mean if center else xp.zeros_like(mean)
        self.factor = self.n_rows / (self.n_rows - 1) if center else 1.0
        self.direction = _Direction(products, self.n_rows)
        self.size = math.sqrt(self.direction.largest) or 1.0


class _Pair:
    """Two groups; and all their residuals, each at the size of its population's, as permutations exchange them."""

    def __init__(self, minority: tuple[_Group, Array], majority: tuple[_Group, Array]) -> None:
        self.groups = (minority[0], majority[0])
        both = sum(group.factor * products for group, products in (minority, majority))
        self.pooled = _Direction(both, sum(group.n_rows for group in self.groups))

    def could_hold(self) -> bool:
        n_a = self.groups[0].n_rows
        every = (*(group.direction for group in self.groups), self.pooled)
        return all(one.largest > 0 and one.gaussian_mixing <= MOST_MIXING * n_a for one in every)

    def holds(self, *, center: bool) -> bool:
        n_a, n_b = (group.n_rows for group in self.groups)
        a, b = (group.direction for group in self.groups)
        # A permuted minority is n_a of all rows.
        samples = ((a, n_a), (b, n_b), (self.pooled, n_a))
        least = LEAST_SPREAD if center else 0.0
        return self.could_hold() and all(
            one.tau > 0
            and math.sqrt(n) * one.tau >= least
            and one.mixing <= MOST_MIXING * n_a
            and one.lyapunov <= MOST_LYAPUNOV * math.sqrt(n)
            for one, n in samples
        )

    def infer(self, confidence: float, *, center: bool) -> Asymptotics:
        n_a, n_b = (group.n_rows for group in self.groups)
        a, b = (group.direction for group in self.groups)
        apart = 1 / n_a - 1 / n_b
        log_ratio = math.log(a.largest / b.largest)
        middle = log_ratio - math.log1p((b.bias - center) * apart)
        reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.hypot(a.tau / math.sqrt(n_a), b.tau / math.sqrt(n_b))
        unbiased = log_ratio + math.log(self.groups[0].factor / self.groups[1].factor)
        error = self.pooled.tau * math.sqrt(1 / n_a + 1 / n_b)
        return Asymptotics(
            matched_ratio=math.exp(middle),
            low=math.exp(middle - reach),
            high=math.exp(middle + reach),
            p_value=math.erfc(abs(unbiased - math.log1p(self.pooled.bias * apart)) / error / math.sqrt(2)),
        )


class _Direction:
    """The first eigenvectors of one covariance, and sums over rows of functions of their coordinates along these."""

    def __init__(self, products: Array, n_rows: int) -> None:
        """From the sums (D, D) of products of `n_rows` centered rows."""
        xp = array_namespace(products)
        k = min(DIRECTIONS, int(products.shape[0]))
        found = decompose(products, k, vectors=True)
        values = np.maximum(to_host(found.values), 0.0)
        self.n_seen = 0
        self.largest = float(values[0]) / n_rows
        """lambda_1, with the divisor n."""
        self._sums = np.zeros(4)
        if not self.largest:
            return
        relative = values[1:] / values[0]
        weights = _weights(relative)
        share = max(float(xp.linalg.trace(products)) / float(values[0]) - 1 - relative.sum(), 0.0)
        # Divided before they are squared, which neither overflows nor vanishes.
        squares = float(xp.sum((products / float(values[0])) ** 2)) - 1 - float(relative @ relative)
        # The rest of the eigenvalues count as if each were their mean, weighted by their own size.
        beyond = _weights(np.clip([squares / share if share > 0 else 0.0], 0.0, relative.min(initial=1.0)))[0]
        self.gaussian_mixing = float(relative @ weights[:, 1]) + share * float(beyond[1])
        """n times the mean of sin^2 of the angle of the first eigenvector of n Gaussian rows."""
        self._basis = found.vectors
        self._weights, self._beyond = asarray_like(weights, products), asarray_like(beyond, products)

    def add(self, z: Array, lengths: Array, factor: float) -> None:
        """Take in centered rows (N, D) float32 or float64 and their squared lengths (N,), all of size `factor`."""
        self.n_seen += int(z.shape[0])
        if not self.largest:
            return
        xp = array_namespace(z)
        scale = factor / self.largest
        coordinates = xp.astype(product(z, xp.astype(self._basis, z.dtype)), xp.float64)
        squares = coordinates * coordinates * scale
        left = xp.maximum(lengths * scale - xp.sum(squares, axis=1), 0.0)
        others = squares[:, 1:] @ self._weights + left[:, None] * self._beyond
        terms = xp.abs(squares[:, 0] - 1.0)
        square = terms * terms
        found = xp.concat([squares[:, 0] @ others, xp.stack([xp.sum(square), xp.sum(square * terms)])])
        self._sums += to_host(found)

    @property
    def bias(self) -> float:
        """The module's b."""
        return float(self._sums[0]) / self.n_seen

    @property
    def mixing(self) -> float:
        """n times the mean of sin^2 of the angle of the first eigenvector of n rows."""
        return float(self._sums[1]) / self.n_seen

    @property
    def tau(self) -> float:
        """sqrt(n) times the standard error of log lambda_1 of n rows."""
        return math.sqrt(self._sums[2] / self.n_seen)

    @property
    def lyapunov(self) -> float:
        """sqrt(n) times Lyapunov's ratio of n rows."""
        return float(self._sums[3]) / self.n_seen / self.tau**3


def _work_type(rows: Array) -> Array:
    """float64 for rows that float32 does not hold."""
    xp = array_namespace(rows)
    return xp.float32 if fits_float32(rows) else xp.float64


def _weights(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, 2) of lambda_j / lambda_1 (K,): the first and second power of lambda_1 / (lambda_1 - lambda_j)."""
    inverse = 1.0 / np.maximum(1.0 - relative, 1e-100)
    return np.stack([inverse, inverse * inverse], axis=1)
