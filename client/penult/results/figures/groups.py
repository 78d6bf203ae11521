"""Accuracies of groups as a figure: a line for each group, a panel for each evaluated set."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from penult.display.names import in_usual_order
from penult.results.figures.panels import (
    COLOURS,
    MOST_COLUMNS,
    legend_of_all,
    plain,
    sheet,
    title,
    titled,
    wrapped,
    write_at_right,
    write_notes,
)
from penult.results.figures.selection import draw_selection
from penult.results.metrics import MaskMetrics
from penult.results.records import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.metrics import Metrics
    from penult.results.refits import Refit, Selection

AROUND = 1.35
"""Inches of title, axis and legend."""
SELECTION_HEIGHT = 3.9
NAME_WIDTH = 34
"""Characters of a line of a group's name."""
MOST_BESIDE = 12
"""Groups up to which the candidates stand beside the accuracies."""
MOST_ROWS = 60
"""Groups that are drawn; of more, the worst ones."""


def metrics_figure(metrics: Metrics) -> Figure:
    """The accuracy of every group, and of every mask, with its interval."""
    return _figure({"": metrics}, None, metrics)


def refit_figure(refit: Refit) -> Figure:
    """Group accuracies of each evaluated set with their intervals, and the scores of the candidates.

    Raises ImportError when matplotlib is missing.
    """
    return _figure({name: refit.metrics[name] for name in in_usual_order(refit.metrics)}, refit.selection, refit)


def _figure(of: Mapping[str, Metrics], selection: Selection | None, noted: Refit | Metrics) -> Figure:
    rows = max((len(_rows_of(one)) for one in of.values()), default=0)
    names = {row.name for one in of.values() for row in _rows_of(one)}
    wraps = any("\n" in wrapped(name, NAME_WIDTH) for name in names)
    height = max((0.36 if wraps else 0.29) * rows + AROUND, 2.4) if of else 0.0
    beside = selection is not None and (not of or (rows <= MOST_BESIDE and len(of) < MOST_COLUMNS))
    n_columns = max(1, min(len(of), MOST_COLUMNS)) if of else 0
    n_rows = math.ceil(len(of) / n_columns) if of else 0
    same = len({tuple(_name(row) for row in _rows_of(one)) for one in of.values()}) == 1
    beside_axis = 0.075 * min(max(map(len, names), default=0), NAME_WIDTH) + 0.2
    width = 3.0 * n_columns + beside_axis * (1 if same else n_columns)
    ratios = [height] * n_rows
    if selection is not None and not beside:
        ratios.append(SELECTION_HEIGHT)
    tall = max(sum(ratios), SELECTION_HEIGHT if beside else 0.0)
    figure = sheet(max(width + (4.2 if beside else 0.0), 5.0), max(tall, 2.4))
    grid = figure.add_gridspec(max(1, len(ratios)), n_columns + beside or 1, height_ratios=ratios or [1.0])
    x_low = _lowest(list(of.values()))
    legend: dict[str, Any] = {}
    for position, (name, metrics) in enumerate(of.items()):
        axis = figure.add_subplot(grid[divmod(position, n_columns)])
        legend |= _draw_groups(axis, metrics, labelled=not same or position % n_columns == 0)
        axis.set_xlim(x_low, 1.02)
        title(axis, (name + titled(metrics.grouping)).removeprefix(", "))
    if selection is not None:
        draw_selection(figure.add_subplot(grid[: n_rows or 1, n_columns] if beside else grid[n_rows, :2]), selection)
    legend_of_all(figure, [(handle, label) for label, handle in legend.items()])
    write_notes(figure, noted.notes)
    return figure


def _rows_of(metrics: Metrics) -> list[Group | MaskMetrics]:
    """Groups, then masks, from top to bottom; of very many, those with the lowest accuracies."""
    rows: list[Group | MaskMetrics] = [*metrics.groups, *metrics.masks]
    if len(rows) <= MOST_ROWS:
        return rows
    score = dict(
        zip((id(row) for row in rows), [*metrics.group_accuracy, *(m.accuracy for m in metrics.masks)], strict=True)
    )
    kept = {id(row) for row in sorted(rows, key=lambda row: np.nan_to_num(score[id(row)], nan=2.0))[:MOST_ROWS]}
    return [row for row in rows if id(row) in kept]


def _name(row: Group | MaskMetrics) -> str:
    return row.name


def _lowest(of: list[Metrics]) -> float:
    """The left end of the axis: a tenth below every interval."""
    ends = [*(float(low) for one in of for low in one.group_low), *(m.interval[0] for one in of for m in one.masks)]
    lowest = min((end for end in ends if not math.isnan(end)), default=0.0)
    return max(0.0, math.floor(10 * lowest - 0.5) / 10) if lowest > 0.05 else -0.02


def _draw_groups(axis: Axes, metrics: Metrics, *, labelled: bool) -> dict[str, Any]:
    """The rows of a panel, and what the legend says of them."""
    plain(axis, grid="x")
    rows = _rows_of(metrics)
    legend: dict[str, Any] = {}
    average = axis.axvline(metrics.average_accuracy, color="black", linestyle="--", linewidth=1, zorder=2)
    intervals = dict(
        zip(
            (group.index for group in metrics.groups),
            zip(metrics.group_accuracy, metrics.group_low, metrics.group_high, strict=True),
            strict=True,
        )
    )
    for place, row in enumerate(rows):
        if isinstance(row, MaskMetrics):
            accuracy, (low, high), is_worst = row.accuracy, row.interval, row is metrics.worst_mask
            said, marker = ("worst mask", "v") if is_worst else ("mask (sets that may overlap)", "s")
            colour = COLOURS[1] if is_worst else COLOURS[2]
        else:
            accuracy, low, high = (float(value) for value in intervals[row.index])
            is_worst = row.index == metrics.worst_group.index
            said, marker = ("worst group", "v") if is_worst else ("group, 95 % interval", "o")
            colour = COLOURS[1] if is_worst else COLOURS[0]
        if math.isnan(accuracy):
            axis.annotate(
                "empty",
                (0.03, -place),
                xycoords=("axes fraction", "data"),
                fontsize="x-small",
                color="#777777",
                va="center",
            )
        else:
            axis.plot([low, high], [-place] * 2, color=colour, linewidth=1.6, zorder=3)
            (legend[said],) = axis.plot(
                [accuracy], [-place], marker, color=colour, markersize=8 if is_worst else 6, zorder=4
            )
        write_at_right(axis, str(row.count), -place)
    write_at_right(axis, "n")
    names = [wrapped(row.name, NAME_WIDTH) for row in rows] if labelled else [""] * len(rows)
    axis.set_yticks([-place for place in range(len(rows))], names, fontsize="small")
    axis.tick_params(axis="y", length=0, labelsize="x-small" if len(rows) > 20 else "small")
    axis.set_ylim(-len(rows) + 0.4, 0.6)
    _separate(axis, metrics, rows)
    left = len(metrics.groups) + len(metrics.masks) - len(rows)
    axis.set_xlabel(f"accuracy{f' (the {len(rows)} lowest; {left} more not drawn)' if left else ''}", fontsize="small")
    return legend | {"average": average}


def _separate(axis: Axes, metrics: Metrics, rows: list[Group | MaskMetrics]) -> None:
    """A thin line between classes, and before the masks."""
    kinds = [row.y if isinstance(row, Group) else None for row in rows]
    if len(metrics.groups) == len(set(kinds) - {None}):
        kinds = [None if kind is None else 0 for kind in kinds]
    for place, (one, other) in enumerate(pairwise(kinds)):
        if one != other:
            axis.axhline(-place - 0.5, color="#cccccc", linewidth=0.6, zorder=0)
