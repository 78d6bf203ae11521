"""Whether scores of class 1 separate classes within identities as they do across them (Borkan et al. 2019)."""

import math
from collections.abc import Iterator

import numpy as np

from penult_kernels.panels.areas import area
from penult_kernels.panels.panel import Panel, PanelDefinition, PanelValue, PartKind, Scored

SOURCE = "Borkan et al. 2019; the score of Kaggle's Jigsaw challenge of unintended bias; intervals: DeLong et al. 1988"
POWER = -5.0
FEWEST = 2
"""Rows of each of the two sorts, below which an area is not defined."""


def _defined(id: str, formula: str) -> PanelDefinition:
    return PanelDefinition(id=id, panel="unintended_bias", formula=formula, source=SOURCE, direction="higher")


AREAS = {
    "subgroup_auc": "area under the ROC curve among rows of the identity",
    "bpsn_auc": "area of class 1 outside of the identity against class 0 in it",
    "bnsp_auc": "area of class 1 in the identity against class 0 outside of it",
}
DEFINITIONS = (
    *(_defined(id, formula) for id, formula in AREAS.items()),
    *(
        _defined(f"{id}_mean", f"(mean of {id}^-5 over identities)^(-1/5), of those where it is defined")
        for id in AREAS
    ),
    _defined("overall_auc", "area under the ROC curve over all rows"),
    _defined("unintended_bias_score", "(overall_auc + the three means) / 4"),
)
FEW = "fewer than two rows of a class that it compares"


def compute(rows: Scored) -> Iterator[PanelValue]:
    """Identities are the masks; without masks the attribute values."""
    kind = PartKind.ATTRIBUTE if rows.masks is None else PartKind.MASK
    if rows.n_classes != 2:
        yield from (PanelValue(id=one.id, n=rows.y.size, note="needs two classes") for one in DEFINITIONS)
        return
    score, positive = rows.logits[:, 1] - rows.logits[:, 0], rows.y == 1
    each: dict[str, list[float]] = {id: [] for id in AREAS}
    n_identities = 0
    for part, inside in rows.parts(kind):
        n_identities += 1
        sides = {
            "subgroup_auc": (positive & inside, ~positive & inside),
            "bpsn_auc": (positive & ~inside, ~positive & inside),
            "bnsp_auc": (positive & inside, ~positive & ~inside),
        }
        for id, (above, below) in sides.items():
            n = int(above.sum() + below.sum())
            if min(above.sum(), below.sum()) < FEWEST:
                yield PanelValue(id=id, part=part, n=n, note=FEW)
                continue
            value, low, high = area(score[above], score[below])
            each[id].append(value)
            yield PanelValue(id=id, part=part, value=value, low=low, high=high, n=n)
    yield from _over_identities(rows, each, n_identities, area(score[positive], score[~positive]))


def _over_identities(
    rows: Scored, each: dict[str, list[float]], n_identities: int, overall: tuple[float, float, float]
) -> Iterator[PanelValue]:
    n, means = rows.y.size, {id: power_mean(values) for id, values in each.items()}
    for id, value in means.items():
        left_out = n_identities - len(each[id])
        note = f"{left_out} of {n_identities} identities are left out, where it is not defined" if left_out else ""
        if not n_identities:
            note = "there is no identity: the set has neither masks nor an attribute"
        yield PanelValue(id=f"{id}_mean", value=value, n=n, note=note)
    value, low, high = overall
    note = "" if math.isfinite(value) else "rows are of one class only"
    yield PanelValue(id="overall_auc", value=value, low=low, high=high, n=n, note=note)
    total = (value + sum(means.values())) / 4
    note = "" if math.isfinite(total) else "one of its four terms is not defined"
    yield PanelValue(id="unintended_bias_score", value=total, n=n, note=note)


def power_mean(values: list[float]) -> float:
    """(mean of v^-5)^(-1/5): near the smallest. NaN of none, 0 where one is 0.

    >>> round(power_mean([0.9, 0.6]), 6) == round(((0.9**-5 + 0.6**-5) / 2) ** -0.2, 6)
    True
    """
    if not values:
        return math.nan
    if min(values) <= 0:
        return 0.0
    return float(np.mean(np.asarray(values) ** POWER) ** (1 / POWER))


PANEL = Panel(name="unintended_bias", definitions=DEFINITIONS, compute=compute)
