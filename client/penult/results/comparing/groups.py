"""Systems by their accuracies on groups: how even, in what order, and how the worst follows the best."""

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from penult.results.comparing.scored import Scored
from penult.results.comparing.values import ComparedValue, two_sided_t

Floats = NDArray[np.float64]
MOST_EXACT = 10
"""Systems whose Kemeny order is found exactly."""
DRAWS = 1000
FEWEST_FOR_MOON = 8
ROUNDING = 1e-20
"""Fraction of a variance that an exact fit leaves at most."""


def evenness(scored: Scored) -> Iterator[ComparedValue]:
    """How evenly a system's accuracy is spread over groups of equal weight.

    entropy: H(p) / log G, p in proportion to the accuracies; nearly blind, (.9, .9, .9, .5) has .981. gini; atkinson, 1
    less the geometric by the arithmetic mean (Atkinson 1970, epsilon 1); worst_by_mean, the lowest accuracy by their
    mean.
    """
    for name, row in zip(scored.names, scored.accuracies(), strict=True):
        a = row[~np.isnan(row)]
        found = {"entropy": math.nan, "gini": math.nan, "atkinson": math.nan, "worst_by_mean": math.nan}
        note = "" if a.mean() > 0 else "no row is predicted rightly"
        if a.mean() > 0:
            p = a[a > 0] / a.sum()
            found["entropy"] = float(-(p * np.log(p)).sum() / math.log(a.size)) if a.size > 1 else math.nan
            found["gini"] = float(np.abs(a[:, None] - a[None, :]).mean() / (2 * a.mean()))
            found["atkinson"] = 1 - float(np.exp(np.log(a).mean()) / a.mean()) if a.all() else 1.0
            found["worst_by_mean"] = float(a.min() / a.mean())
        for kind, value in found.items():
            yield ComparedValue(measure="evenness", name=kind, systems=(name,), value=value, n=scored.y.size, note=note)


def rank_systems(scored: Scored, seed: int = 0) -> Iterator[ComparedValue]:
    """Ranks over the groups, 1 the best: mean rank with average ranks of ties (Borda), place in the Kemeny order, and
    how often a system has the best mean rank of 1,000 draws of the rows within their groups."""
    accuracies = scored.accuracies()
    table = accuracies[:, ~np.isnan(accuracies).any(axis=0)]
    borda = mean_ranks(table)
    order = kemeny(table) if len(scored.names) <= MOST_EXACT else None
    first = _share_first(scored, seed)
    for place, name in enumerate(scored.names):
        kemeny_place = math.nan if order is None else 1.0 + order.index(place)
        note = "" if order is not None else f"the exact order is found for at most {MOST_EXACT} systems"
        for kind, value, said in (
            ("mean_rank", float(borda[place]), ""),
            ("kemeny", kemeny_place, note),
            ("share_first", float(first[place]), ""),
        ):
            yield ComparedValue(
                measure="rank_systems", name=kind, systems=(name,), value=value, n=table.shape[1], note=said
            )


def mean_ranks(table: Floats) -> Floats:
    """(S,) mean over columns of ranks from 1, the highest; ties have the mean of their ranks."""
    above = (table[None, :, :] > table[:, None, :]).sum(axis=1)
    equal = (table[None, :, :] == table[:, None, :]).sum(axis=1)
    return (above + (equal + 1) / 2).mean(axis=1)


def kemeny(table: Floats) -> list[int]:
    """The order of systems that disagrees with as few pairs of systems in columns as possible (Kemeny 1959); of several
    such orders the first by the systems' numbers.

    By subsets: the best order that begins with a set extends the best of the set without its last.
    """
    n = table.shape[0]
    worse = (table[:, None, :] < table[None, :, :]).sum(axis=2)  # [i, j]: columns in which i is below j
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for size in range(1, n + 1):
        for members in combinations(range(n), size):
            chosen = sum(1 << one for one in members)
            options: list[tuple[int, tuple[int, ...]]] = []
            for last in members:
                cost, order = best[chosen ^ (1 << last)]
                added = sum(int(worse[one, last]) for one in members if one != last)
                options.append((cost + added, (*order, last)))
            best[chosen] = min(options)
    return list(best[(1 << n) - 1][1])


def _share_first(scored: Scored, seed: int) -> Floats:
    """(S,) shares of draws of the rows within groups; those that share the best place share the draw."""
    rng, correct = np.random.default_rng([seed, 31]), np.stack(scored.correct)
    drawn: list[NDArray[np.float64]] = []
    for group in np.unique(scored.g).tolist():
        patterns, counts = np.unique(correct[:, scored.g == group], axis=1, return_counts=True)
        draws = rng.multinomial(counts.sum(), counts / counts.sum(), size=DRAWS)
        drawn.append(patterns.astype(np.float64) @ draws.T / counts.sum())
    ranks = np.stack([mean_ranks(np.stack([one[:, k] for one in drawn], axis=1)) for k in range(DRAWS)])
    is_best = ranks == ranks.min(axis=1, keepdims=True)
    return (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0)


def moon(scored: Scored) -> Iterator[ComparedValue]:
    """The worst group's accuracy against the best group's over systems, best and worst of their mean accuracies.

    Least squares by a line and by a parabola: R2 of each, the parabola's second coefficient, and the p-value of its
    gain by an F test. Systems of one run are correlated, so that p is too small for the epochs of one.
    """
    table = scored.accuracies()
    means = np.where(np.isnan(table).any(axis=0), np.nan, table.mean(axis=0))
    n = len(scored.names)
    base = ComparedValue(measure="moon", name="", systems=scored.names, value=math.nan, n=n)
    best, worst = int(np.nanargmax(means)), int(np.nanargmin(means))
    part = f"{scored.group_names[worst]} by {scored.group_names[best]}"
    x, y = table[:, best], table[:, worst]
    note = ""
    if n < FEWEST_FOR_MOON:
        note = f"needs at least {FEWEST_FOR_MOON} systems, got {n}"
    elif np.unique(x).size < 4 or np.ptp(y) == 0:
        note = "the accuracies hardly differ"
    line, curve, second, p = (math.nan,) * 4
    if not note:
        total = float(np.sum((y - y.mean()) ** 2))
        of_line, of_curve = (float(np.sum((y - np.polyval(np.polyfit(x, y, k), x)) ** 2)) / total for k in (1, 2))
        line, curve = 1 - of_line, 1 - of_curve
        second = float(np.polyfit(x, y, 2)[0])
        p = _p_of_gain(of_line, of_curve, n - 3)
    for kind, value, own in (("r2_line", line, math.nan), ("r2_parabola", curve, p), ("second_coefficient", second, p)):
        yield ComparedValue(
            measure=base.measure, name=kind, systems=base.systems, part=part, value=value, p=own, n=n, note=note
        )


def _p_of_gain(of_line: float, of_curve: float, m: int) -> float:
    """P(F(1, m) > f) = P(|t_m| > sqrt f), f from the fractions of the variance that a line and a parabola leave.

    1 where the line leaves nothing but rounding.
    """
    gain = of_line - of_curve
    if of_line <= ROUNDING or gain <= 0:
        return 1.0
    return two_sided_t(math.sqrt(gain * m / of_curve) if of_curve > ROUNDING else math.inf, m)
