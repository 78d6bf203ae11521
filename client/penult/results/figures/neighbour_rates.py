"""What a feature space is organised by over the epochs of a run, as a figure."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penult.results.figures.panels import (
    COLOURS,
    GREY,
    MOST_LINES,
    legend_below,
    row_of_panels,
    ticks_of,
    tidy,
    title,
)
from penult.results.neighbourhood.rates import shares_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.neighbourhood.rates import RunNeighbours


def run_neighbours_figure(found: RunNeighbours) -> Figure:
    """Shares over the epochs: of all rows by what is shared, and of the class by group."""
    n_lines = max(len(found.rates[0].attributes) + 2, len(found.rates[0].groups))
    figure, (left, right) = row_of_panels(2, width=4.2, height=3.4 + 0.2 * min(n_lines, MOST_LINES + 1))
    _by_what(left, found)
    _by_group(right, found)
    left.set_ylabel("share of neighbours", fontsize="small")
    left.set_ylim(0, 1.02)
    for axis in (left, right):
        axis.set_xlabel("epoch", fontsize="small")
        axis.set_xticks(ticks_of(found.epochs.tolist()))
    return figure


def _by_what(axis: Axes, found: RunNeighbours) -> None:
    """A line for each of what is shared, and a dashed one of its colour for what chance would give."""
    title(axis, f"{tidy(found.split)}, k = {found.rates[0].k}: all rows")
    legend: list[tuple[Any, str]] = []
    for line, (what, _, chance) in enumerate(shares_of(found.rates[0].overall)[:MOST_LINES]):
        drawn = [shares_of(one.overall)[line][1] for one in found.rates]
        (handle,) = axis.plot(found.epochs, drawn, color=COLOURS[line], marker="o", markersize=4.5)
        axis.axhline(chance, color=COLOURS[line], linewidth=0.9, linestyle="--")
        legend.append((handle, f"same {tidy(what, 36)}"))
    (chance_line,) = axis.plot([], [], color="black", linewidth=0.9, linestyle="--")
    legend_below(axis, [*legend, (chance_line, "by chance")])


def _by_group(axis: Axes, found: RunNeighbours) -> None:
    """The share of a row's class, by group; of many groups the lowest at the end have a colour."""
    title(axis, "same class, by group")
    last = found.rates[-1].groups
    filled = [place for place, one in enumerate(last) if one.group.count]
    named = sorted(sorted(filled, key=lambda place: last[place].same_class)[:MOST_LINES])
    legend: list[tuple[Any, str]] = []
    grey: Any = None
    for place in filled:
        drawn = [one.groups[place].same_class for one in found.rates]
        if place not in named:
            (grey,) = axis.plot(found.epochs, drawn, color=GREY, linewidth=0.8, zorder=1)
            continue
        colour = COLOURS[len(legend)]
        (handle,) = axis.plot(found.epochs, drawn, color=colour, marker="o", markersize=4.5)
        legend.append((handle, tidy(last[place].group.name, 40)))
    if grey is not None:
        legend.append((grey, f"{len(filled) - len(named)} others"))
    legend_below(axis, legend)
