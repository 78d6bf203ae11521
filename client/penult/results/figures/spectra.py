"""Spectra as a figure: eigenvalues of every group, one panel per class, and the imbalance below them."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from penult.arguments.coerce import whole
from penult.results.figures.imbalance import draw_imbalance, height_of_imbalance
from penult.results.figures.panels import (
    COLOURS,
    GREY,
    MOST_COLUMNS,
    MOST_LINES,
    MOST_PANELS,
    label_with_plain_numbers,
    legend_below,
    plain,
    share_y,
    sheet,
    tidy,
    title,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.spectra import Spectra

WIDTH, HEIGHT = 3.4, 3.2
"""Inches of a panel of eigenvalues."""
NARROWEST = 7.2
"""Inches that the numbers of the imbalance need."""
PER_LINE = 0.17
"""Inches of a line of a legend."""


def spectra_figure(spectra: Spectra, top_k: int) -> Figure:
    """The eigenvalues of each group, one panel per class, and the imbalance: `penult.plot_spectra` says how."""
    top_k = whole("top_k", top_k)
    panels = _panels_of(spectra)
    shown = dict(list(panels.items())[:MOST_PANELS])
    figure, axes, last = _sheet(spectra, shown)
    minorities = {entry.minority_index for entry in spectra.imbalance} if not spectra.is_by_class else set[int]()
    for axis, (name, positions) in zip(axes, shown.items(), strict=False):
        entries = _draw_panel(axis, spectra, positions, top_k, minorities)
        legend_below(axis, entries, 2 if len(shown) == 1 and last is not None else 1)
        title(axis, name + titled(spectra.grouping))
        axis.set_yscale("log")
        label_with_plain_numbers(axis.yaxis)
        axis.set_xticks(_rank_ticks(min(top_k, spectra.eigenvalues.shape[1])))
        axis.set_xlabel("rank", fontsize="small")
    for axis in axes[::MOST_COLUMNS]:
        axis.set_ylabel("eigenvalue", fontsize="small")
    if last is not None:
        draw_imbalance(last, spectra)
    if len(panels) > len(shown):
        axes[-1].annotate(
            f"{len(shown)} of {len(panels)} classes; .to_frame() has all",
            (1.0, 1.0),
            xycoords="axes fraction",
            ha="right",
            va="bottom",
            fontsize="x-small",
        )
    return figure


def _panels_of(spectra: Spectra) -> dict[str, list[int]]:
    """Positions of the groups of every panel."""
    panels: dict[str, list[int]] = {}
    for position, group in enumerate(spectra.groups):
        panels.setdefault("classes" if spectra.is_by_class else group.class_name, []).append(position)
    return panels


def _sheet(spectra: Spectra, panels: dict[str, list[int]]) -> tuple[Figure, list[Axes], Axes | None]:
    """Panels of eigenvalues, and below them one of the imbalance where there is any."""
    lines = max(min(len(positions), MOST_LINES + 1) for positions in panels.values())
    n_columns = min(len(panels), MOST_COLUMNS)
    n_rows = math.ceil(len(panels) / n_columns)
    above, below = (HEIGHT + PER_LINE * lines) * n_rows, height_of_imbalance(spectra)
    figure = sheet(max(WIDTH * n_columns + 0.6, NARROWEST if below else 0.0), above + below)
    # Names of comparisons are long: in a part of their own they do not push the panels aside.
    parts = figure.add_gridspec(2, 1, height_ratios=[above, below or 1e-3])
    upper = figure.add_subfigure(parts[0]) if below else figure
    grid = upper.add_gridspec(n_rows, n_columns)
    axes = [upper.add_subplot(grid[divmod(position, n_columns)]) for position in range(len(panels))]
    share_y(axes, n_columns)
    for axis in axes:
        plain(axis)
    return figure, axes, figure.add_subfigure(parts[1]).add_subplot() if below else None


def _draw_panel(
    axis: Axes, spectra: Spectra, positions: list[int], top_k: int, minorities: set[int]
) -> list[tuple[Any, str]]:
    """The lines of a class, and what the legend says of them: of many groups, the extreme ones."""
    named = _named(spectra, positions, minorities)
    entries: list[tuple[Any, str]] = []
    grey: Any = None
    for position in positions:
        group = spectra.groups[position]
        values = spectra.eigenvalues[position, :top_k]
        # A logarithmic axis has no place for zeros (fewer examples than features).
        shown = np.where(values > 0, values, np.nan)
        ranks = np.arange(1, len(values) + 1)
        if position not in named:
            (grey,) = axis.plot(ranks, shown, color=GREY, linewidth=0.8, zorder=1)
            continue
        is_minority = group.index in minorities
        said = f"{tidy(group.attribute_value or group.name, 28)} (n={group.count}{', minority' if is_minority else ''})"
        (line,) = axis.plot(
            ranks,
            shown,
            color=COLOURS[len(entries) % len(COLOURS)],
            linestyle="--" if is_minority else "-",
            linewidth=1.4,
            marker="o",
            markersize=4.5,
            markerfacecolor="white" if is_minority else None,
            label=said,
        )
        entries.append((line, said))
    if grey is not None:
        entries.append((grey, f"{len(positions) - len(named)} others"))
    return entries


def _named(spectra: Spectra, positions: list[int], minorities: set[int]) -> set[int]:
    """Which groups have a colour: all, or the minority, the largest group, and the largest eigenvalues."""
    if len(positions) <= MOST_LINES:
        return set(positions)
    first = [position for position in positions if spectra.groups[position].index in minorities]
    first.append(max(positions, key=lambda position: spectra.groups[position].count))
    by_value = sorted(positions, key=lambda position: -np.nan_to_num(spectra.eigenvalues[position, 0], nan=-1.0))
    return set(list(dict.fromkeys([*first, *by_value]))[:MOST_LINES])


def _rank_ticks(last: int) -> list[int]:
    """About five ranks from 1 to `last`, for an axis."""
    step = max(1, round((last - 1) / 5))
    return list(range(1, last + 1, step))
