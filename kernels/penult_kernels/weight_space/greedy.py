"""Which networks a greedy soup is made of (Wortsman et al. 2022, arXiv 2203.05482, algorithm 1)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyStep:
    """One candidate, in the order in which they were tried."""

    candidate: int
    alone: float
    """Its own score."""
    score: float
    """The score of the soup with it."""
    kept: bool


def greedy_steps(n: int, score: Callable[[Sequence[int]], float], *, margin: float = 0.0) -> list[GreedyStep]:
    """Candidates by descending score, of equal ones the earlier first; each is kept if the soup gains by it.

    Parameters
    ----------
    n : candidates, at least 1.
    score : of the mean of some of them, in the order given; higher is better, NaN is worst. Called 2 n - 1 times.
    margin : a candidate is kept if the soup with it scores higher, by more than this, than the best soup so far.

    Raises
    ------
    ValueError : without a candidate.
    """
    if n < 1:
        raise ValueError(f"a greedy soup needs at least one candidate, got {n}")
    alone = [_ordered(score((one,))) for one in range(n)]
    order = sorted(range(n), key=lambda one: (-alone[one], one))
    best, chosen = alone[order[0]], [order[0]]
    steps = [GreedyStep(candidate=order[0], alone=best, score=best, kept=True)]
    for candidate in order[1:]:
        found = _ordered(score((*chosen, candidate)))
        kept = found > best + margin
        steps.append(GreedyStep(candidate=candidate, alone=alone[candidate], score=found, kept=kept))
        if kept:
            best = found
            chosen.append(candidate)
    return steps


def _ordered(score: float) -> float:
    return -math.inf if math.isnan(score) else score
