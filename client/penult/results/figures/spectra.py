"""Spectra as a figure: eigenvalues of every group, one panel per class, and the imbalance beside or below them."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

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
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase
    from matplotlib.legend import Legend

    from penult.results.spectra import Spectra

WIDTH, HEIGHT = 3.6, 3.4
"""Inches of a panel of eigenvalues."""
BESIDE, NARROWEST = 6.4, 7.5
"""Inches that the imbalance takes beside them, and below them."""
PER_LINE = 0.17
"""Inches of a line of a legend."""
MOST_BESIDE = 4
"""Comparisons that fit beside panels of eigenvalues; more have a row of their own."""


def spectra_figure(spectra: Spectra, top_k: int) -> Figure:
    """The eigenvalues of each group, one panel per class, and the imbalance: `penult.plot_spectra` says how."""
    top_k = whole("top_k", top_k)
    panels = _panels_of(spectra)
    shown = dict(list(panels.items())[:MOST_PANELS])
    figure, upper, axes, last, beside = _sheet(spectra, shown)
    minorities = {entry.minority_index for entry in spectra.imbalance} if spectra.by == "group" else set[int]()
    for axis, (name, positions) in zip(axes, shown.items(), strict=False):
        entries = _draw_panel(axis, spectra, positions, top_k, minorities)
        legend_below(axis, entries, 1 if len(shown) > 1 or beside else 2)
        title(axis, name)
        axis.set_yscale("log")
        label_with_plain_numbers(axis.yaxis)
        axis.set_xticks(_rank_ticks(min(top_k, spectra.eigenvalues.shape[1])))
        axis.set_xlabel("rank", fontsize="small")
    for axis in axes[::MOST_COLUMNS]:
        axis.set_ylabel("eigenvalue", fontsize="small")
    if last is not None:
        draw_imbalance(last, spectra)
        if beside:
            # As tall a legend as the other panels have, so that all end at one height.
            nothing = last.plot([], [], " ")
            legend_below(last, [(nothing[0], " ")] * max(len(legend.get_texts()) for legend in _legends(axes)))
    if len(panels) > len(shown):
        left = f"{len(shown)} of {len(panels)} classes; .to_frame() has all"
        upper.suptitle(left, x=0.02, ha="left", fontsize="small")
    return figure


def _legends(axes: list[Axes]) -> list[Legend]:
    return [legend for axis in axes if (legend := axis.get_legend()) is not None]


def _panels_of(spectra: Spectra) -> dict[str, list[int]]:
    """Positions of the groups of every panel."""
    panels: dict[str, list[int]] = {}
    for position, group in enumerate(spectra.groups):
        panels.setdefault(group.class_name if spectra.by == "group" else "classes", []).append(position)
    return panels


class _Sheet(NamedTuple):
    """An empty figure with its panels."""

    figure: Figure
    upper: FigureBase
    """The part with the eigenvalues."""
    axes: list[Axes]
    """Panels of eigenvalues."""
    last: Axes | None
    """The panel of the imbalance, where there is any."""
    beside: bool
    """Whether `last` is beside the others: it is where both are few."""


def _sheet(spectra: Spectra, panels: dict[str, list[int]]) -> _Sheet:
    lines = max(min(len(positions), MOST_LINES + 1) for positions in panels.values())
    n_columns = min(len(panels), MOST_COLUMNS)
    n_rows = math.ceil(len(panels) / n_columns)
    width, height = WIDTH * n_columns, (HEIGHT + PER_LINE * lines) * n_rows
    beside = 0 < len(spectra.imbalance) <= MOST_BESIDE and len(panels) < MOST_COLUMNS
    right_or_below: FigureBase | None = None
    # Names of comparisons are long: in a part of their own they do not push the panels aside.
    if beside:
        figure = sheet(width + BESIDE, height)
        parts = figure.add_gridspec(1, 2, width_ratios=[width, BESIDE])
        upper, right_or_below = figure.add_subfigure(parts[0]), figure.add_subfigure(parts[1])
    elif spectra.imbalance:
        below = height_of_imbalance(spectra)
        figure = sheet(max(width + 0.6, NARROWEST), height + below)
        parts = figure.add_gridspec(2, 1, height_ratios=[height, below])
        upper, right_or_below = figure.add_subfigure(parts[0]), figure.add_subfigure(parts[1])
    else:
        upper = figure = sheet(width + 0.6, height)
    grid = upper.add_gridspec(n_rows, n_columns)
    axes = [upper.add_subplot(grid[divmod(position, n_columns)]) for position in range(len(panels))]
    share_y(axes, n_columns)
    for axis in axes:
        plain(axis)
    last = None if right_or_below is None else right_or_below.add_subplot()
    return _Sheet(figure, upper, axes, last, beside)


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
