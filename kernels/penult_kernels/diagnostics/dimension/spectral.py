"""Ranks and the power law of a part's spectrum: those of `spectra.descriptors`, with intervals, at matched n."""

import math
from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.diagnostics.shared.draws import middle, normal
from penult_kernels.diagnostics.shared.scatter import PartScatter, eigenvalues_of
from penult_kernels.spectra import descriptors

Floats = NDArray[np.float64]
DRAW_WORK = 2e10
"""Multiplications that the matched draws of a part may take: of large parts there are fewer draws."""
NO_INTERVAL = "no interval: more rows than features are needed for one, or fewer rows in memory"
BLOCKS = 20
"""Blocks of rows of which each is left out once, where a part has at most as many rows as features."""
FEWEST = 10
"""Rows of such a part at least."""
BY_BLOCKS = "interval by leaving out blocks of rows"


def _defined(definition: descriptors.Definition, formula: str = "", numbers: tuple[str, ...] = ()) -> Definition:
    return Definition(
        id=definition.id,
        family="dimension",
        formula=formula or definition.formula,
        source=definition.source,
        direction=Direction.NEITHER,
        needs=frozenset(),
        parts="part",
        interval=Interval.DELTA,
        cost="n D^2 + P D^3",
        lowest=1.0 if not numbers else -math.inf,
        numbers=numbers,
    )


PARTICIPATION = _defined(descriptors.PARTICIPATION_RATIO)
EFFECTIVE = _defined(descriptors.EFFECTIVE_RANK)
RANK_ME = _defined(descriptors.RANK_ME)
POWER = _defined(
    descriptors.POWER_LAW,
    descriptors.POWER_LAW.formula.format(first="power_law_first", last="power_law_last"),
    ("power_law_first", "power_law_last"),
)
OF_COVARIANCE = (PARTICIPATION, EFFECTIVE, POWER)


def participation_gradient(values: Floats) -> Floats:
    """(D,) derivative of (sum l)^2 / sum l^2.

    >>> import numpy as np
    >>> l, h = np.array([3.0, 2.0, 0.5]), 1e-6
    >>> def ratio(l):
    ...     return l.sum() ** 2 / (l**2).sum()
    >>> naive = [(ratio(l + h * e) - ratio(l)) / h for e in np.eye(3)]
    >>> bool(np.allclose(participation_gradient(l), naive, atol=1e-4))
    True
    """
    first, second = values.sum(), (values**2).sum()
    return 2 * first / second - 2 * first**2 * values / second**2


def effective_gradient(values: Floats) -> Floats:
    """(D,) derivative of exp(-sum p log p), p = l / sum l; 0 where l is 0."""
    p = values / values.sum()
    log_p = np.log(np.where(p > 0, p, 1.0))
    entropy = -float(np.sum(p * log_p))
    return np.where(p > 0, -math.exp(entropy) * (log_p + entropy) / values.sum(), 0.0)


def rank_me_gradient(values: Floats) -> Floats:
    """(D,) derivative of RankMe by the eigenvalues s^2 / n of the second moment; 0 where they are 0."""
    s = np.sqrt(values)
    p = s / s.sum() + descriptors.RANKME_EPSILON
    log_p = np.log(p)
    rank = math.exp(-float(np.sum(p * log_p)))
    by_s = -rank * ((log_p + 1) - float(np.sum((log_p + 1) * s)) / s.sum()) / s.sum()
    return np.where(s > 0, by_s / (2 * np.where(s > 0, s, 1.0)), 0.0)


def power_gradient(values: Floats, first: int, last: int) -> Floats:
    """(D,) derivative of the power law's exponent; 0 outside of its ranks."""
    ranks = np.arange(first, last + 1, dtype=np.float64)
    x = np.log(ranks) - np.average(np.log(ranks), weights=1 / ranks)
    found = np.zeros_like(values)
    found[first - 1 : last] = -(x / ranks) / (np.sum(x * x / ranks) * values[first - 1 : last])
    return found


class Influences:
    """By part of more rows than features: the variance over rows of the influence of each on the four numbers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._scatter = context.get(PartScatter)
        d = context.subject.rows.shape[1]
        self._parts = [p for p, n in enumerate(context.subject.counts.tolist()) if n > d]
        self._made = {p: [self._weights(p, center=True), self._weights(p, center=False)] for p in self._parts}
        self._square = {p: np.zeros(4) for p in self._parts}
        self._sum = {p: np.zeros(4) for p in self._parts}

    def _weights(self, part: int, *, center: bool) -> tuple[Array, Array]:
        """Eigenvectors (D, D) ascending, and derivatives (D, 3) or (D, 1) in their order."""
        values, vectors = self._scatter.eigen(part, center)
        first, last = (int(self._context.number(f"power_law_{end}")) for end in ("first", "last"))
        if center:
            is_power = last <= values.size and values[last - 1] > 0
            power = power_gradient(values, first, last) if is_power else np.zeros_like(values)
            columns = [participation_gradient(values), effective_gradient(values), power]
        else:
            columns = [rank_me_gradient(values)]
        return vectors, asarray_like(np.stack(columns, axis=1)[::-1].copy(), vectors)

    def add(self, block: Block) -> None:
        """Take in some rows."""
        xp = array_namespace(block.z)
        part = self._context.subject.part[block.rows]
        for p in set(np.unique(part).tolist()) & set(self._parts):
            one = xp.take(block.z, asarray_like(np.flatnonzero(part == p), block.z), axis=0)
            for place, x in enumerate((one - self._scatter.mean(p), one)):
                vectors, weights = self._made[p][place]
                along = x @ vectors
                influence = to_host((along * along) @ weights)
                columns = slice(0, 3) if place == 0 else slice(3, 4)
                self._square[p][columns] += np.sum(influence * influence, axis=0)
                self._sum[p][columns] += np.sum(influence, axis=0)

    def errors(self, part: int) -> Floats | None:
        """(4,) standard errors of participation ratio, effective rank, power law and RankMe; None of few rows."""
        if part not in self._square:
            return None
        n = float(self._context.subject.counts[part])
        variance = self._square[part] / n - (self._sum[part] / n) ** 2
        return np.sqrt(np.maximum(variance, 0.0) / n)


def measures(context: Context, covariance: Floats, singular: Floats) -> dict[str, float]:
    """The four numbers by id."""
    first, last = (int(context.number(f"power_law_{end}")) for end in ("first", "last"))
    return {
        PARTICIPATION.id: descriptors.participation_ratio(covariance),
        EFFECTIVE.id: descriptors.effective_rank(covariance),
        POWER.id: descriptors.power_law_exponent(covariance, first, last),
        RANK_ME.id: descriptors.rank_me(singular),
    }


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """By part."""
    subject, scatter, influences = context.subject, context.get(PartScatter), context.get(Influences)
    for part, n in enumerate(subject.counts.tolist()):
        if not n:
            yield from (Value(id=id, parts=(part,), note="the part is empty") for id in sorted(ids))
            continue
        context.check()
        covariance, _ = scatter.eigen(part, True)
        second, _ = scatter.eigen(part, False)
        found = measures(context, covariance, np.sqrt(n * second)[: min(n, second.size)])
        errors = influences.errors(part)
        is_by_blocks = errors is None
        errors = _by_blocks(context, part) if errors is None else errors
        drawn = _drawn(context, part)
        for place, id in enumerate((PARTICIPATION.id, EFFECTIVE.id, POWER.id, RANK_ME.id)):
            if id in ids:
                error = None if errors is None or math.isnan(errors[place]) else float(errors[place])
                note = BY_BLOCKS if is_by_blocks else ""
                yield _value(id, part, n, found[id], error, [one[id] for one in drawn], note)


def _by_blocks(context: Context, part: int) -> Floats | None:
    """(4,) standard errors by a jackknife of blocks of equal sizes (Shao & Wu 1989); None where it is not made.

    Where there are no more rows than features, the derivative misses the directions that the rows do not reach. The
    power law, whose ranks may be the last ones, has none.
    """
    n, d = int(context.subject.counts[part]), context.subject.rows.shape[1]
    n_blocks = min(BLOCKS, n)
    if Need.MEMORY not in context.subject.has or n < FEWEST or n_blocks * (2 * n * n * d + 20 * n**3) > DRAW_WORK:
        return None
    context.check()
    rows = context.gather(context.subject.members[part])
    size = n // n_blocks
    order = np.random.default_rng([context.draws.seed, 19, part]).permutation(n)
    kept = [np.sort(np.delete(order, np.s_[block * size : (block + 1) * size])) for block in range(n_blocks)]
    xp = array_namespace(rows)
    found = [measures(context, *eigenvalues_of(xp.take(rows, asarray_like(one, rows), axis=0))) for one in kept]
    each = np.array([[one[id] for id in (PARTICIPATION.id, EFFECTIVE.id, POWER.id, RANK_ME.id)] for one in found])
    each[:, 2] = math.nan
    spread = np.sum((each - each.mean(axis=0)) ** 2, axis=0)
    return np.sqrt((n - size) / (size * n_blocks) * spread)


def _value(id: str, part: int, n: int, value: float, error: float | None, drawn: list[float], method: str) -> Value:
    low, high, note = math.nan, math.nan, method
    if not math.isfinite(value):
        note = "has no positive eigenvalue at every rank of the fit" if id == POWER.id else "rows do not vary"
    elif error is None:
        note = NO_INTERVAL
    else:
        low, high = normal(value, error, _BY_ID[id])
    median, matched_low, matched_high = middle(np.asarray(drawn, dtype=np.float64))
    return Value(
        id=id,
        parts=(part,),
        value=value,
        low=low,
        high=high,
        n=n,
        matched_value=median,
        matched_low=matched_low,
        matched_high=matched_high,
        note=note,
    )


def _drawn(context: Context, part: int) -> list[dict[str, float]]:
    """The numbers of matched draws; none of rows that are not in memory."""
    subject, draws = context.subject, context.draws
    if Need.MEMORY not in subject.has or not draws.matched:
        return []
    size, d = subject.smallest, subject.rows.shape[1]
    small = min(size, d)
    n_draws = int(min(draws.matched, DRAW_WORK // (2 * size * d * small + 20 * small**3)))
    is_whole = subject.counts[part] == size
    found: list[dict[str, float]] = []
    for index in range(min(1, n_draws) if is_whole else n_draws):
        context.check()
        found.append(measures(context, *eigenvalues_of(context.gather(draws.matched_rows(part, index)))))
    return found * draws.matched if is_whole else found


def _work(size: Size) -> float:
    drawn = size.draws * (2 * size.smallest * size.d * min(size.smallest, size.d)) if size.draws > 1 else 0
    return 4 * size.n * size.d**2 + size.parts * (20 * size.d**3 + min(DRAW_WORK, drawn))


_BY_ID = {one.id: one for one in (*OF_COVARIANCE, RANK_ME)}
DIAGNOSTIC = Diagnostic(
    definitions=(RANK_ME, EFFECTIVE, PARTICIPATION, POWER),
    compute=compute,
    first=(PartScatter,),
    second=(Influences,),
    work=_work,
    memory=lambda size: 8.0 * 4 * size.parts * size.d**2,
)
