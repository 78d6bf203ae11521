"""Group fairness of decisions for class 1 by attribute value: rates, their differences and ratios."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.metrics.scores import wilson_interval
from penult_kernels.panels.panel import ALL, Panel, PanelDefinition, PanelValue, PartKind, Scored, proportion

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
EMPTY = "no row that the rate is of"


def _defined(id: str, formula: str, direction: str) -> PanelDefinition:
    return PanelDefinition(id=id, panel="fairness", formula=formula, source=SOURCE, direction=direction)


DEFINITIONS = (
    *(_defined(id, formula, direction) for id, (formula, direction) in RATES.items()),
    *(_defined(f"{id}_difference", f"largest - least {id} over attribute values", "lower") for id in RATES),
    *(_defined(f"{id}_ratio", f"least / largest {id} over attribute values", "higher") for id in RATES),
    _defined("equalized_odds_difference", "larger of the differences of true and false positive rates", "lower"),
    _defined("equalized_odds_ratio", "smaller of the ratios of true and false positive rates", "higher"),
)


def compute(rows: Scored) -> Iterator[PanelValue]:
    """Over all rows, by attribute value, and between the values."""
    if rows.n_classes != 2 or rows.n_attributes < 2:
        why = "needs two classes" if rows.n_classes != 2 else "needs an attribute with two values"
        yield from (PanelValue(id=one.id, n=rows.y.size, note=why) for one in DEFINITIONS)
        return
    found: dict[str, list[tuple[int, int]]] = {id: [] for id in RATES}
    for part, inside in rows.parts(PartKind.ALL, PartKind.ATTRIBUTE):
        for id, (hits, count) in rates(rows.y[inside], rows.predicted[inside]).items():
            yield proportion(id, part, hits, count, EMPTY)
            if part != ALL:
                found[id].append((hits, count))
    gaps = {id: gap(counts) for id, counts in found.items()}
    for id, (difference, low, high, ratio, n) in gaps.items():
        note = "" if math.isfinite(difference) else "fewer than two attribute values have such rows"
        yield PanelValue(id=f"{id}_difference", value=difference, low=low, high=high, n=n, note=note)
        no_ratio = note or ("" if math.isfinite(ratio) else "the largest rate is 0")
        yield PanelValue(id=f"{id}_ratio", value=ratio, n=n, note=no_ratio)
    yield from _odds(gaps, rows)


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
