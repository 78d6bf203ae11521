"""Split conformal sets at 90 %: coverage and size by group, with one threshold and with one for each group."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.panels.panel import Booleans, Panel, PanelDefinition, PanelValue, Part, PartKind, Scored, proportion

ALPHA = 0.1
SOURCE = "Sadinle et al. 2019 (LAC); Vovk 2012 (Mondrian); thresholds from the calibration rows, alpha = 0.1"
EMPTY = "the part is empty"


def _defined(id: str, formula: str) -> PanelDefinition:
    return PanelDefinition(id=id, panel="conformal", formula=formula, source=SOURCE, direction="neither")


DEFINITIONS = (
    _defined(
        "coverage", "share of rows with 1 - p_y <= q, q the ceil((n+1)(1-alpha))-th smallest 1 - p_y; null 1 - alpha"
    ),
    _defined("set_size", "mean number of classes with 1 - p_c <= q"),
    _defined("mondrian_coverage", "the same with q from calibration rows of the same attribute value"),
    _defined("mondrian_set_size", "mean number of classes with 1 - p_c <= q of the attribute value"),
)


def compute(rows: Scored) -> Iterator[PanelValue]:
    """Over all rows, by class, attribute value and group."""
    assert rows.calibration is not None
    held = rows.calibration
    one = np.full(rows.y.size, threshold(_scores(held)))
    own = np.array([threshold(_scores(held)[held.a == value]) for value in range(rows.n_attributes)])[rows.a]
    for part, inside in rows.parts(PartKind.ALL, PartKind.CLASS, PartKind.ATTRIBUTE, PartKind.GROUP):
        yield from _values(rows, part, inside, one, "")
        yield from _values(rows, part, inside, own, "mondrian_")


def _values(rows: Scored, part: Part, inside: Booleans, q: NDArray[np.float64], name: str) -> Iterator[PanelValue]:
    n = int(inside.sum())
    covered = int(np.sum(_scores(rows)[inside] <= q[inside]))
    found = proportion(f"{name}coverage", part, covered, n, EMPTY)
    yield PanelValue(
        id=found.id,
        part=found.part,
        value=found.value,
        low=found.low,
        high=found.high,
        n=n,
        null=1 - ALPHA if n else math.nan,
        note=found.note,
    )
    sizes: NDArray[np.int64] = np.sum(1 - rows.p[inside] <= q[inside][:, None], axis=1)
    size = float(sizes.mean()) if n else math.nan
    yield PanelValue(id=f"{name}set_size", part=found.part, value=size, n=n, note="" if n else EMPTY)


def _scores(rows: Scored) -> NDArray[np.float64]:
    return 1 - rows.p[np.arange(rows.y.size), rows.y]


def threshold(scores: NDArray[np.float64]) -> float:
    """q; infinite where there are too few rows, so that sets hold every class.

    >>> import numpy as np
    >>> threshold(np.arange(1, 20) / 20)  # the 18th of 19: (19 + 1) 0.9
    0.9
    >>> threshold(np.array([0.5]))
    inf
    """
    rank = math.ceil((scores.size + 1) * (1 - ALPHA) - 1e-12)
    return float(np.sort(scores)[rank - 1]) if rank <= scores.size else math.inf


PANEL = Panel(name="conformal", definitions=DEFINITIONS, compute=compute, needs_calibration=True)
