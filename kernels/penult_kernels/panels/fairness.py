"""Group fairness of decisions for class 1 by attribute value: rates, their differences and ratios."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.metrics.scores import wilson_interval
from penult_kernels.panels.exact import against_the_rest
from penult_kernels.panels.panel import (
    ALL,
    Panel,
    PanelDefinition,
    PanelValue,
    PartKind,
    Scored,
    number,
    proportion,
)

Floats = NDArray[np.float64]
SOURCE = "Hardt et al. 2016; Agarwal et al. 2018 (fairlearn's MetricFrame); intervals: Wilson, and Newcombe 1998"
RATES = {
    "selection_rate": ("share of rows predicted as class 1", "neither"),
    "true_positive_rate": ("of rows of class 1, the share predicted so", "higher"),
    "false_positive_rate": ("of rows of class 0, the share predicted as class 1", "lower"),
    "false_negative_rate": ("of rows of class 1, the share predicted as class 0", "lower"),
    "positive_predictive_value": ("of rows predicted as class 1, the share of class 1", "higher"),
    "false_omission_rate": ("of rows predicted as class 0, the share of class 1", "lower"),
}
FEWEST = 10
"""Rows of a combination of attribute value and masks at least: of fewer, rates are mostly 0 or 1."""
EMPTY = "no row that the rate is of"


def _defined(id: str, formula: str, direction: str) -> PanelDefinition:
    return PanelDefinition(id=id, panel="fairness", formula=formula, source=SOURCE, direction=direction)


DEFINITIONS = (
    *(_defined(id, formula, direction) for id, (formula, direction) in RATES.items()),
    *(_defined(f"{id}_difference", f"largest - least {id} over attribute values", "lower") for id in RATES),
    *(_defined(f"{id}_ratio", f"least / largest {id} over attribute values", "higher") for id in RATES),
    *(
        _defined(f"{id}_difference_to_overall", f"largest |{id} of an attribute value - of all rows|", "lower")
        for id in RATES
    ),
    *(
        _defined(
            f"{id}_ratio_to_overall",
            f"least over attribute values of the smaller of {id} / that of all rows and its inverse",
            "higher",
        )
        for id in RATES
    ),
    *(
        _defined(
            f"{id}_intersection_difference",
            f"largest - least {id} over combinations of an attribute value with "
            f"being in each mask or not, of those with {FEWEST} rows that it is of",
            "lower",
        )
        for id in RATES
    ),
    _defined("equalized_odds_difference", "larger of the differences of true and false positive rates", "lower"),
    _defined("equalized_odds_ratio", "smaller of the ratios of true and false positive rates", "higher"),
)


def compute(rows: Scored) -> Iterator[PanelValue]:
    """Over all rows, by attribute value, and between the values."""
    if rows.n_classes != 2 or rows.n_attributes < 2:
        why = "needs two classes" if rows.n_classes != 2 else "needs an attribute with two values"
        yield from (PanelValue(id=one.id, n=rows.y.size, note=why) for one in DEFINITIONS)
        return
    parts = list(rows.parts(PartKind.ALL, PartKind.ATTRIBUTE))
    every = [rates(rows.y[inside], rows.predicted[inside]) for _, inside in parts]
    found = {id: [one[id] for one in every[1:]] for id in RATES}
    overall = every[0]
    for id, counts in found.items():
        p_values = [math.nan, *against_the_rest(counts).tolist()]
        for (part, _), (hits, count), p in zip(parts, [overall[id], *counts], p_values, strict=True):
            yield proportion(id, part, hits, count, EMPTY, p)
    gaps = {id: gap(counts) for id, counts in found.items()}
    for id, (difference, low, high, ratio, n) in gaps.items():
        note = "" if math.isfinite(difference) else "fewer than two attribute values have such rows"
        yield PanelValue(id=f"{id}_difference", value=difference, low=low, high=high, n=n, note=note)
        no_ratio = note or ("" if math.isfinite(ratio) else "the largest rate is 0")
        yield PanelValue(id=f"{id}_ratio", value=ratio, n=n, note=no_ratio)
    yield from _odds(gaps, rows)
    for id, counts in found.items():
        yield from _to_overall(id, counts, overall[id])
    yield from _of_intersections(rows)


def _to_overall(id: str, counts: list[tuple[int, int]], overall: tuple[int, int]) -> Iterator[PanelValue]:
    """How far attribute values are from all rows together."""
    known = [hits / count for hits, count in counts if count]
    n, why = overall[1], "no row that the rate is of"
    whole = overall[0] / n if n else math.nan
    difference = max((abs(one - whole) for one in known), default=math.nan)
    yield number(f"{id}_difference_to_overall", ALL, difference, n, why)
    has_ratio = n > 0 and whole > 0
    ratio = (
        min((min(one / whole, whole / one if one else 0.0) for one in known), default=math.nan)
        if has_ratio
        else math.nan
    )
    yield number(f"{id}_ratio_to_overall", ALL, ratio, n, "the rate of all rows is 0" if n else why)


def _of_intersections(rows: Scored) -> Iterator[PanelValue]:
    """Gaps over combinations of the attribute value and the masks."""
    if rows.masks is None:
        why = "the set has no masks: its only combinations are the attribute values"
        yield from (PanelValue(id=f"{id}_intersection_difference", n=rows.y.size, note=why) for id in RATES)
        return
    _, cell = np.unique(np.column_stack([rows.a, rows.masks.T]), axis=0, return_inverse=True)
    cells = [np.flatnonzero(cell.ravel() == one) for one in range(int(cell.max(initial=-1)) + 1)]
    every = [rates(rows.y[inside], rows.predicted[inside]) for inside in cells]
    for id in RATES:
        known = [one[id] for one in every if one[id][1] >= FEWEST]
        difference, low, high, _, n = gap(known)
        note = f"of {len(known)} combinations; {len(every) - len(known)} have fewer than {FEWEST} such rows"
        yield PanelValue(id=f"{id}_intersection_difference", value=difference, low=low, high=high, n=n, note=note)


def rates(y: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, tuple[int, int]]:
    """Hits and rows of each rate.

    >>> import numpy as np
    >>> found = rates(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]))
    >>> found["true_positive_rate"], found["false_positive_rate"], found["selection_rate"]
    ((2, 3), (1, 2), (3, 5))
    """
    chosen, positive = predicted == 1, y == 1
    counts = {
        "selection_rate": (chosen, np.ones_like(chosen)),
        "true_positive_rate": (chosen, positive),
        "false_positive_rate": (chosen, ~positive),
        "false_negative_rate": (~chosen, positive),
        "positive_predictive_value": (positive, chosen),
        "false_omission_rate": (positive, ~chosen),
    }
    return {id: (int(np.sum(hit & among)), int(among.sum())) for id, (hit, among) in counts.items()}


def gap(counts: list[tuple[int, int]]) -> tuple[float, float, float, float, int]:
    """Largest - least rate with Newcombe's interval of these two, least / largest, and the rows of both."""
    known = [(hits / count, hits, count) for hits, count in counts if count]
    if len(known) < 2:
        return math.nan, math.nan, math.nan, math.nan, sum(count for _, count in counts)
    (p, hits_p, n_p), (q, hits_q, n_q) = max(known), min(known)
    (low_p, high_p), (low_q, high_q) = (
        wilson_interval(np.asarray(hits), np.asarray(n)).tolist() for hits, n in ((hits_p, n_p), (hits_q, n_q))
    )
    low = p - q - math.hypot(p - low_p, high_q - q)
    high = p - q + math.hypot(high_p - p, q - low_q)
    return p - q, low, high, q / p if p else math.nan, n_p + n_q


def _odds(gaps: dict[str, tuple[float, float, float, float, int]], rows: Scored) -> Iterator[PanelValue]:
    both = [gaps["true_positive_rate"], gaps["false_positive_rate"]]
    n = rows.y.size
    differences, ratios = [one[0] for one in both], [one[3] for one in both]
    known = all(map(math.isfinite, differences))
    note = "" if known else "a rate is not known of two attribute values"
    yield PanelValue(id="equalized_odds_difference", value=max(differences) if known else math.nan, n=n, note=note)
    has_ratio = all(map(math.isfinite, ratios))
    why = "" if has_ratio else note or "the largest rate is 0"
    yield PanelValue(id="equalized_odds_ratio", value=min(ratios) if has_ratio else math.nan, n=n, note=why)


PANEL = Panel(name="fairness", definitions=DEFINITIONS, compute=compute)
