"""Diagnostics over the epochs of a run: a panel for each id."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from penult.results.figures.panels import (
    COLOURS,
    MOST_LINES,
    MOST_PANELS,
    legend_below,
    plain,
    sheet,
    ticks_of,
    tidy,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.diagnosis.epochs import RunDiagnosis


def run_diagnosis_figure(found: RunDiagnosis) -> Figure:
    """A line for each part that has a value at some epoch, the first of them where there are many."""
    panels = {id: _parts(found, id) for id in found.diagnoses[0].definitions}
    shown = dict([one for one in panels.items() if one[1]][:MOST_PANELS])
    n_columns = max(1, min(3, len(shown)))
    n_rows = max(1, math.ceil(len(shown) / n_columns))
    longest = max((len(parts) for parts in shown.values()), default=1)
    figure = sheet(4.2 * n_columns, (2.8 + 0.22 * longest) * n_rows)
    grid = figure.add_gridspec(n_rows, n_columns)
    for place, (id, parts) in enumerate(shown.items()):
        axis = figure.add_subplot(grid[divmod(place, n_columns)])
        plain(axis)
        _panel(axis, found, id, parts)
        title(axis, id)
    return figure


def _parts(found: RunDiagnosis, id: str) -> list[str]:
    """Names of parts with a value at some epoch."""
    named = [one.part for each in found.diagnoses for one in each.values if one.id == id and math.isfinite(one.value)]
    return list(dict.fromkeys(named))[:MOST_LINES]


def _panel(axis: Axes, found: RunDiagnosis, id: str, parts: list[str]) -> None:
    legend: list[tuple[Any, str]] = []
    for line, part in enumerate(parts):
        values = np.full((found.epochs.size, 3), np.nan)
        for place, each in enumerate(found.diagnoses):
            for one in each.values:
                if (one.id, one.part) == (id, part):
                    values[place] = one.value, one.low, one.high
        (handle,) = axis.plot(found.epochs, values[:, 0], color=COLOURS[line], marker="o", markersize=4)
        axis.fill_between(found.epochs, values[:, 1], values[:, 2], color=COLOURS[line], alpha=0.15, linewidth=0)
        legend.append((handle, tidy(part, 36)))
    axis.set_xlabel("epoch", fontsize="small")
    axis.set_xticks(ticks_of(found.epochs.tolist()))
    legend_below(axis, legend)
