"""Worst-case weights of the rows: group DRO and CVaR as a search over distributions s, by mirror ascent.

The robust problem is min over heads of max over s in Q of sum_i s_i loss_i + penalty, convex in the head. With
W(s) the head that minimises the weighted problem (the engine's), d(s) = its objective is concave in s with gradient
loss_i(W(s)). A step is s <- the KL projection of s exp(eta loss) on Q, kept when d rises, else eta is cut.

The certificate: whatever W and s, max_Q sum s_i loss_i(W) + penalty(W) is above the optimum and d(s) below it,
so their difference bounds how far W is from the optimum (weak duality). Host NumPy: a handful of numbers per row.

The mean loss that the risk replaces weighs the rows by p_i of sum 1; P_g is their sum over group g.

    group DRO  s_i = q_g p_i / P_g, q in the simplex         Sagawa et al. 2020 (arXiv 1911.08731), eq. 4
    CVaR       0 <= s_i <= p_i / alpha                       Rockafellar & Uryasev 2000

A row of weight 0 is in neither; a row of weight k / n counts as k rows of weight 1 / n; CVaR at alpha = 1 is the
weighted mean.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRST_STEP = 1.0
"""Length of the first mirror step."""
GROW = 1.6
"""Factor on the length of the next step after one that was not too long."""
CUT = 0.35
"""Factor on the length of the next step after one that was too long."""
SMALLEST_GAP = 1e-10
"""Smallest gap that is asked of a solve: about what rounding leaves."""
SLIGHTLY = 1e-3
"""Fraction of the way from a head to the center at which the risk is compared with that of the head."""
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
SECTIONS = 25
"""Golden sections of the way from a head to the center; they locate the minimum to 6e-6 of it."""
SMALLEST_FRACTION = 1e-12
"""A step of the tail risk leaves every row at least this fraction of its weight p_i."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupRisk:
    """Largest weighted mean loss of a group; groups without weight do not count."""

    group: NDArray[np.int64]
    """(n,) group of each row."""
    weight: Floats
    """(n,) p, at least 0, sum 1."""

    def _mass(self) -> Floats:
        """(G,) P."""
        return np.bincount(self.group, weights=self.weight).astype(np.float64, copy=False)

    def start(self) -> Floats:
        """Equal weights of all groups that have rows of positive weight."""
        present = self._mass() > 0
        return present / present.sum()

    def of_rows(self, q: Floats) -> Floats:
        """(n,) weights of the rows, sum 1."""
        mass = self._mass()
        return (q / np.where(mass > 0, mass, 1.0))[self.group] * self.weight

    def losses(self, losses: Floats) -> Floats:
        """(G,) weighted mean losses; -inf where a group has no weight."""
        mass = self._mass()
        total = np.bincount(self.group, weights=self.weight * losses)
        return np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), -np.inf)

    def worst(self, losses: Floats) -> float:
        """max over q."""
        return float(self.losses(losses).max())

    def step(self, q: Floats, losses: Floats, eta: float) -> Floats:
        """Mirror step in the simplex."""
        own = self.losses(losses)
        moved = q * np.exp(eta * (own - own.max()))
        return moved / moved.sum()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TailRisk:
    """Weighted mean of the fraction `alpha` of largest losses."""

    weight: Floats
    """(n,) p, at least 0, sum 1."""
    alpha: float

    def start(self) -> Floats:
        """The weights of the mean, p."""
        return self.weight

    def of_rows(self, q: Floats) -> Floats:
        """(n,) weights of the rows, sum 1."""
        return q

    def worst(self, losses: Floats) -> float:
        """Weighted mean of the largest losses up to a mass of alpha; the last of them counts in part."""
        order = np.argsort(-losses, kind="stable")
        mass = self.weight[order]
        before = np.cumsum(mass) - mass
        taken = np.clip(self.alpha - before, 0.0, mass)
        return float(taken @ losses[order] / taken.sum())

    def step(self, q: Floats, losses: Floats, eta: float) -> Floats:
        """Mirror step, and the KL projection on the capped simplex: min(c v, cap), c so that the sum is 1.

        In logarithms, since a long step spreads v over more orders of magnitude than a number has.
        """
        has_weight = self.weight > 0
        weight = self.weight[has_weight]
        # A weight that rounding has set to 0 could never rise again.
        log_v = np.log(np.maximum(q[has_weight], SMALLEST_FRACTION * weight)) + eta * losses[has_weight]
        log_cap = np.log(weight) - math.log(self.alpha)
        # Rows meet their caps in this order as c grows.
        order = np.argsort(log_cap - log_v, kind="stable")
        log_v, log_cap = log_v[order], log_cap[order]
        log_rest = np.logaddexp.accumulate(log_v[::-1])[::-1]
        # With the first k at their caps, c = (1 - their sum) / (sum of the others); the first k that fits is right.
        caps = np.exp(log_cap)
        left = 1.0 - (np.cumsum(caps) - caps)
        log_c = np.log(np.maximum(left, 0.0), where=left > 0, out=np.full(left.size, -np.inf)) - log_rest
        fits = log_c + log_v <= log_cap + 1e-12
        found = np.zeros(self.weight.size)
        found[np.flatnonzero(has_weight)[order]] = np.exp(np.minimum(log_c[int(np.argmax(fits))] + log_v, log_cap))
        return found


class Ascent:
    """Mirror ascent on d(s), which is given the result of every solve.

    Use: solve with `weights()`, `tell(...)`, again until `gap` is small enough.
    """

    def __init__(self, risk: GroupRisk | TailRisk) -> None:
        self._risk = risk
        self._tried = risk.start()
        self._base = self._tried
        self._base_losses: Floats = np.zeros(0)
        self._base_lower = -math.inf
        self._eta = FIRST_STEP
        self.lower = -math.inf
        self.upper = math.inf
        self.rounds = 0

    @property
    def gap(self) -> float:
        """Bound on objective - optimum of the head with the smallest robust objective so far."""
        return self.upper - self.lower

    @property
    def accuracy(self) -> float:
        """The gap that the next solve should reach: losses, and so the upper bound, are off by about its root.

        A power of ten, so that several ascents ask for the same and are solved together.
        """
        wanted = max(SMALLEST_GAP, min(1e-3, 0.02 * self.gap**2))
        return 10.0 ** math.floor(math.log10(wanted) + 1e-9)

    def weights(self) -> Floats:
        """(n,) weights of the rows to solve with next."""
        return self._risk.of_rows(self._tried)

    def tell(
        self, *, objective: float, gap: float, penalty: Callable[[float], float], losses: Callable[[float], Floats]
    ) -> float | None:
        """Take in the result of the solve with `weights()`, and choose the next weights.

        If the optimum is near the center (a tail that is mostly noise), heads converge long after d. So heads between
        the center and the result are tried, too: the risk is convex along that line.

        Parameters
        ----------
        objective, gap : of the weighted problem; its optimum is at least objective - gap.
        penalty, losses : callable
            Penalty, and losses (n,), of the head at a fraction of the way from the center of the penalty (or zero) to
            the result of the solve, the bias included.

        Returns
        -------
        float or None
            The fraction at which the head is the best so far; None if it is not.
        """
        self.rounds += 1
        own = losses(1.0)
        fraction, robust = _smallest(
            lambda fraction: self._risk.worst(losses(fraction)) + penalty(fraction),
            self._risk.worst(own) + penalty(1.0),
        )
        is_best = robust < self.upper
        self.upper = min(self.upper, robust)
        self.lower = max(self.lower, objective - gap)
        # A step is too long only if d has surely fallen: d at the base is known only to the gap of its solve.
        if objective >= self._base_lower:
            self._base, self._base_losses, self._base_lower = self._tried, own, objective - gap
            self._eta *= GROW
        else:
            self._eta *= CUT
        self._tried = self._risk.step(self._base, self._base_losses, self._eta)
        return fraction if is_best else None


def _smallest(value: Callable[[float], float], at_end: float) -> tuple[float, float]:
    """Minimiser and minimum of a convex function on [0, 1], by golden sections; 1 if it rises from 1 towards 0."""
    if value(1.0 - SLIGHTLY) >= at_end:
        return 1.0, at_end
    low, high = 0.0, 1.0
    inner = [(fraction, value(fraction)) for fraction in (1.0 - GOLDEN, GOLDEN)]
    for _ in range(SECTIONS):
        if inner[0][1] < inner[1][1]:
            high = inner[1][0]
            fraction = high - GOLDEN * (high - low)
            inner = [(fraction, value(fraction)), inner[0]]
        else:
            low = inner[0][0]
            fraction = low + GOLDEN * (high - low)
            inner = [inner[1], (fraction, value(fraction))]
    return min([(1.0, at_end), (0.0, value(0.0)), *inner], key=lambda found: found[1])
