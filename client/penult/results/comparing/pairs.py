"""Two systems on the same rows: errors that they do not share, what each does better, and the two together."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from penult.results.comparing.scored import Scored
from penult.results.comparing.values import ComparedValue, holm, mcnemar, paired_difference

Flags = NDArray[np.bool_]


def error_inconsistency(scored: Scored) -> Iterator[ComparedValue]:
    """The share of rows that one alone of a pair gets right, and kappa; over all rows and by group.

    kappa = (c - e) / (1 - e), c the share of rows that both get right or both wrong, e what two independent systems of
    their accuracies would have (Geirhos et al. 2020, eq. 1 to 3); p is McNemar's, exact, after Holm over the groups.
    """
    for first, second in combinations(range(len(scored.names)), 2):
        a, b = scored.correct[first], scored.correct[second]
        pair = (scored.names[first], scored.names[second])
        parts = [(name, rows, _counts(a, b, rows)) for name, rows in scored.parts()]
        ps = [mcnemar(*only[:2]) if rows.any() else math.nan for _, rows, only in parts]
        adjusted = [ps[0], *holm(ps[1:])]
        for (name, rows, (one, two, both)), p in zip(parts, adjusted, strict=True):
            n = int(rows.sum())
            base = ComparedValue(measure="error_inconsistency", name="", systems=pair, part=name, value=math.nan, n=n)
            if n == 0:
                yield replace(base, name="inconsistency", note="the group is empty")
                continue
            yield replace(base, name="inconsistency", value=(one + two) / n, p=float(p))
            p_a, p_b = (both + one) / n, (both + two) / n
            expected = p_a * p_b + (1 - p_a) * (1 - p_b)
            kappa = (1 - (one + two) / n - expected) / (1 - expected) if expected < 1 else math.nan
            note = "" if expected < 1 else "both are always right, or always wrong"
            yield replace(base, name="kappa", value=kappa, note=note)


def specialisation(scored: Scored) -> Iterator[ComparedValue]:
    """The difference of two accuracies on each group with its paired interval; p after Holm over groups."""
    for first, second in combinations(range(len(scored.names)), 2):
        a, b = scored.correct[first], scored.correct[second]
        parts = [(name, rows, _counts(a, b, rows)) for name, rows in scored.parts()][1:]
        ps = holm([mcnemar(*only[:2]) if rows.any() else math.nan for _, rows, only in parts])
        for (name, rows, only), p in zip(parts, ps.tolist(), strict=True):
            n = int(rows.sum())
            value, low, high = paired_difference(*only, n)
            yield ComparedValue(
                measure="specialisation",
                name="difference",
                systems=(scored.names[first], scored.names[second]),
                part=name,
                value=value,
                low=low,
                high=high,
                p=p,
                n=n,
                note="" if n else "the group is empty",
            )


def ensemble_gain(scored: Scored) -> Iterator[ComparedValue]:
    """Accuracy of the mean of all probabilities less the best single one's: over all rows, and of the worst group."""
    together = scored.mean_probabilities().argmax(axis=1) == scored.y
    singles = [scored.group_accuracies(one) for one in scored.correct]
    both = scored.group_accuracies(together)
    n = scored.y.size
    yield ComparedValue(
        measure="ensemble_gain",
        name="average_accuracy",
        systems=scored.names,
        value=float(together.mean()) - max(float(one.mean()) for one in scored.correct),
        n=n,
    )
    worst = float(np.nanmin(both)) - max(float(np.nanmin(one)) for one in singles)
    yield ComparedValue(measure="ensemble_gain", name="worst_group_accuracy", systems=scored.names, value=worst, n=n)


def _counts(a: Flags, b: Flags, rows: Flags) -> tuple[int, int, int]:
    """Rows that the first alone, the second alone, and both get right."""
    return int((a & ~b & rows).sum()), int((b & ~a & rows).sum()), int((a & b & rows).sum())
