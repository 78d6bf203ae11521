"""Values of diagnostics as a figure: a panel for each, a line for each part."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from penult.results.figures.panels import COLOURS, GREY, MOST_PANELS, plain, sheet, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.diagnosis.diagnosis import Diagnosis, DiagnosticValue

MOST_PARTS = 16
"""Lines of a panel."""
FEWEST_PAIRS = 3
"""Pairs of parts whose values are a matrix, at least."""
MOST_NUMBERED = 8
"""Parts whose matrix shows its numbers, at most."""


def diagnosis_figure(found: Diagnosis) -> Figure:
    """A panel for each id that has a value: intervals at n, and at matched n below them; the null is a dashed line."""
    shown = {id: _defined(found, id) for id in found.definitions}
    shown = dict([one for one in shown.items() if one[1]][:MOST_PANELS])
    n_columns = max(1, min(3, len(shown)))
    n_rows = max(1, math.ceil(len(shown) / n_columns))
    longest = max((len(values) for values in shown.values()), default=1)
    if any(len(one.indices) == 2 for values in shown.values() for one in values):
        longest = max(longest, 8)
    figure = sheet(4.6 * n_columns, (1.1 + 0.3 * longest) * n_rows)
    grid = figure.add_gridspec(n_rows, n_columns)
    for place, (id, values) in enumerate(shown.items()):
        axis = figure.add_subplot(grid[divmod(place, n_columns)])
        title(axis, id)
        if sum(len(one.indices) == 2 for one in values) >= FEWEST_PAIRS:
            _matrix(axis, found, id)
            continue
        plain(axis, "x")
        _panel(axis, values)
    if shown:
        figure.suptitle(
            f"lines: 95 % interval; lower: at n = {found.matched_n}; dashed: null", fontsize="small", x=0.01, ha="left"
        )
    return figure


def _matrix(axis: Axes, found: Diagnosis, id: str) -> None:
    """Values of pairs of parts as a symmetric matrix with its numbers; red and blue where some are negative."""
    values = found.matrix(id)
    most = float(np.nanmax(np.abs(values)))
    has_signs = bool((values < 0).any())
    limits = (-most, most) if has_signs else (0.0, most)
    axis.imshow(values, cmap="RdBu_r" if has_signs else "Blues", vmin=limits[0], vmax=limits[1] or 1.0)
    names = [tidy(one.name, 18) for one in found.groups]
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize="small")
    axis.set_yticks(range(len(names)), names, fontsize="small")
    if len(names) > MOST_NUMBERED:
        return
    for (p, q), value in np.ndenumerate(values):
        if math.isfinite(value):
            is_dark = abs(value) > 0.6 * most
            axis.text(q, p, f"{value:.2g}", ha="center", va="center", fontsize="small", color="w" if is_dark else "k")


def _defined(found: Diagnosis, id: str) -> list[DiagnosticValue]:
    return [one for one in found.values if one.id == id and math.isfinite(one.value)][:MOST_PARTS]


def _panel(axis: Axes, values: list[DiagnosticValue]) -> None:
    for place, one in enumerate(values):
        _mark(axis, one.value, one.low, one.high, place - 0.12, COLOURS[0])
        if math.isfinite(one.matched_value):
            _mark(axis, one.matched_value, one.matched_low, one.matched_high, place + 0.18, COLOURS[1])
        if math.isfinite(one.null):
            axis.plot([one.null, one.null], [place - 0.3, place + 0.3], color=GREY, linestyle="--")
    axis.set_yticks(range(len(values)), [tidy(f"{one.part} ({one.n})", 34) for one in values])
    axis.set_ylim(len(values) - 0.5, -0.5)


def _mark(axis: Axes, value: float, low: float, high: float, at: float, colour: str) -> None:
    axis.plot([value], [at], "o", color=colour, markersize=4)
    if math.isfinite(low) and math.isfinite(high):
        axis.plot([low, high], [at, at], color=colour, linewidth=1.2)
