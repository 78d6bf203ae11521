"""Which system a rule picks and what that costs, how systems change with size, and what a step trades for what."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from penult.results.comparing.scored import Scored
from penult.results.comparing.values import ComparedValue, student_quantile, two_sided_t

Floats = NDArray[np.float64]
DRAWS = 1000
TOP = 1e-3
"""The fraction of rows whose losses change most, of `opposing_signals`."""
BINS = 15


def _class_accuracies(scored: Scored, place: int) -> Floats:
    y, right = scored.y, scored.correct[place]
    return np.array([right[y == c].mean() for c in np.unique(y)])


def _worst_group(scored: Scored, place: int) -> float:
    return float(np.nanmin(scored.group_accuracies(scored.correct[place])))


def _class_gap(scored: Scored, place: int) -> float:
    found = _class_accuracies(scored, place)
    return -float(found.max() - found.min())


def _area(scored: Scored, place: int) -> float:
    """Mean over classes of the area under the ROC curve of the class against the rest; NaN of one class."""
    p, found = scored.probabilities[place], list[float]()
    for c in np.unique(scored.y).tolist():
        above, below = p[scored.y == c, c], np.sort(p[scored.y != c, c])
        if below.size:
            wins = np.searchsorted(below, above, side="left") + np.searchsorted(below, above, side="right")
            found.append(float(wins.mean()) / (2 * below.size))
    return float(np.mean(found)) if found else math.nan


def _calibration(scored: Scored, place: int) -> float:
    confidence = scored.probabilities[place].max(axis=1)
    at = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(at, weights=scored.correct[place] - confidence, minlength=BINS)
    return -float(np.abs(gaps).sum()) / scored.y.size


RULES: Mapping[str, Callable[[Scored, int], float]] = {
    "worst_group": _worst_group,
    "worst_class": lambda scored, place: float(_class_accuracies(scored, place).min()),
    "balanced": lambda scored, place: float(_class_accuracies(scored, place).mean()),
    "average": lambda scored, place: float(scored.correct[place].mean()),
    "class_gap": _class_gap,
    "auroc": _area,
    "calibration_error": _calibration,
}
"""What each rule makes as large as it can, on the split that it looks at."""


def selection_rules(scored: Scored, seed: int = 0) -> Iterator[ComparedValue]:
    """What each rule's choice loses in the worst group's accuracy beside the best system of all on these rows.

    A rule looks at the split that is given for it (``select_split=``), else at the rows that are scored. The interval
    is of 1,000 draws of the scored rows within their groups, the choice as it is. Of equal systems the first is taken.
    """
    looked = scored.selection or scored
    n = scored.y.size
    worst = np.array([_worst_group(scored, place) for place in range(len(scored.names))])
    drawn = _drawn_worst(scored, seed)
    for rule, of in RULES.items():
        found = np.array([of(looked, place) for place in range(len(scored.names))])
        if np.isnan(found).all():
            yield ComparedValue(
                measure="selection_rules", name=rule, systems=(), value=math.nan, n=n, note="is of two classes or more"
            )
            continue
        chosen = int(np.nanargmax(found))
        regret = drawn.max(axis=0) - drawn[chosen]
        low, high = np.quantile(regret, [0.025, 0.975]).tolist()
        note = f"worst group {worst[chosen]:.3f}, the best {worst.max():.3f}"
        note += "" if scored.selection else "; chosen on the rows that are scored: give select_split="
        yield ComparedValue(
            measure="selection_rules",
            name=rule,
            systems=(scored.names[chosen],),
            value=float(worst.max() - worst[chosen]),
            low=low,
            high=high,
            n=n,
            note=note,
        )


def _drawn_worst(scored: Scored, seed: int) -> Floats:
    """(S, draws) accuracy of the worst group when the rows of every group are drawn again."""
    rng, correct = np.random.default_rng([seed, 32]), np.stack(scored.correct)
    drawn: list[Floats] = []
    for group in np.unique(scored.g).tolist():
        patterns, counts = np.unique(correct[:, scored.g == group], axis=1, return_counts=True)
        draws = rng.multinomial(counts.sum(), counts / counts.sum(), size=DRAWS)
        drawn.append(patterns.astype(np.float64) @ draws.T / counts.sum())
    return np.min(drawn, axis=0)


def model_size(scored: Scored) -> Iterator[ComparedValue]:
    """Coefficients of the worst group's accuracy, and of its distance to the mean, over log10 of the parameters.

    Least squares with Student's interval. Recipes that differ with the size are confounded with it.
    """
    n = len(scored.names)
    table = scored.accuracies()
    worst, mean = np.nanmin(table, axis=1), np.array([one.mean() for one in scored.correct])
    note = ""
    if scored.sizes is None:
        note = "needs sizes=: the number of parameters of each item"
    elif len(set(scored.sizes)) < 3:
        note = f"needs three sizes, got {len(set(scored.sizes))}"
    for name, y in (("worst_group_gain", worst), ("gap_gain", mean - worst)):
        value, low, high, p = (math.nan,) * 4
        if not note:
            assert scored.sizes is not None
            value, low, high, p = _fit(np.log10(np.asarray(scored.sizes, dtype=np.float64)), y)
        yield ComparedValue(
            measure="model_size", name=name, systems=scored.names, value=value, low=low, high=high, p=p, n=n, note=note
        )


def _fit(x: Floats, y: Floats) -> tuple[float, float, float, float]:
    """Coefficient of y over x, its 95 % interval, and the p-value of none."""
    away = x - x.mean()
    square = float(away @ away)
    value = float(away @ y) / square
    left = y - y.mean() - value * away
    error = math.sqrt(float(left @ left) / (x.size - 2) / square)
    half = student_quantile(x.size - 2) * error
    p = two_sided_t(abs(value) / error, x.size - 2) if error > 0 else float(value == 0)
    return value, value - half, value + half, p


def opposing_signals(scored: Scored) -> Iterator[ComparedValue]:
    """From each system to the next: the rows whose losses rise and fall most, .1 % of each, and whether they oppose.

    For consecutive checkpoints of one run (Rosenfeld & Risteski 2023). rise and fall: mean change of the loss of these
    rows, nats; by group the share of them that is in it; cosine: of the mean
    p - onehot(y) of both at the earlier one, below 0 where a step for the one is a step against the other.
    """
    n = scored.y.size
    top = max(1, round(TOP * n))
    eye = np.eye(scored.probabilities[0].shape[1])
    for first, second in pairwise(range(len(scored.names))):
        pair = (scored.names[first], scored.names[second])
        p = [np.maximum(scored.probabilities[one][np.arange(n), scored.y], 1e-300) for one in (first, second)]
        change = np.log(p[0]) - np.log(p[1])
        order = np.argsort(change, kind="stable")
        sides = {"fall": order[:top], "rise": order[-top:]}
        pulls = [(scored.probabilities[first][rows] - eye[scored.y[rows]]).mean(axis=0) for rows in sides.values()]
        for name, rows in sides.items():
            base = ComparedValue(
                measure="opposing_signals", name=name, systems=pair, value=float(change[rows].mean()), n=top
            )
            yield base
            for part, inside in scored.parts()[1:]:
                share = f"{100 * inside.mean():.2g} % of all rows"
                value = float(inside[rows].mean())
                yield replace(base, name=f"{name}_share", part=part, value=value, note=share)
        size = float(np.linalg.norm(pulls[0]) * np.linalg.norm(pulls[1]))
        yield ComparedValue(
            measure="opposing_signals",
            name="cosine",
            systems=pair,
            value=float(pulls[0] @ pulls[1]) / size if size > 0 else math.nan,
            n=2 * top,
            note="" if size > 0 else "a side has no gradient",
        )
