"""Compared networks as a figure: cosines and distances by block, gains and losses by group."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from penult.results.figures.panels import COLOURS, legend_below, plain, sheet, tidy, title, write_notes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.merging.report import MergeReport

ROW = 0.2
"""Inches of a block or a group."""
AROUND = 1.4
MOST_ROWS = 60
"""Blocks that are drawn; of more, those that went furthest."""


def merge_report_figure(report: MergeReport) -> Figure:
    """Two panels, or three with feature sets."""
    n_rows = min(len(report.blocks), MOST_ROWS)
    n_panels = 3 if report.gains else 2
    figure = sheet(3.4 * n_panels, max(n_rows * ROW, 1.6) + AROUND)
    first, second, *others = figure.subplots(1, n_panels)
    second.sharey(first)
    _draw_blocks(first, second, report)
    for axis in others:
        _draw_gains(axis, report)
    write_notes(figure, report.notes)
    return figure


def _draw_blocks(cosines: Axes, moved: Axes, report: MergeReport) -> None:
    blocks = list(report.blocks)
    if len(blocks) > MOST_ROWS:
        furthest = sorted(blocks, key=lambda one: -float(np.nan_to_num(one.moved).max()))[:MOST_ROWS]
        blocks = [one for one in blocks if one in furthest]
    pairs = np.triu_indices(len(report.networks.parents), 1)
    for place, one in enumerate(blocks):
        found = one.cosines[pairs]
        cosines.plot(found, np.full(len(found), place), "o", color=COLOURS[0], markersize=3, alpha=0.5)
        moved.plot(100 * one.moved, np.full(len(one.moved), place), "o", color=COLOURS[1], markersize=3, alpha=0.5)
    cosines.axvline(report.total.mean_cosine, color="black", linewidth=0.8, linestyle="--")
    cosines.set_yticks(range(len(blocks)), [tidy(one.block, 30) for one in blocks], fontsize="x-small")
    cosines.invert_yaxis()
    cosines.set_xlim(-1.02, 1.02)
    moved.tick_params(labelleft=False)
    moved.set_xlim(left=0)
    title(cosines, "pairs of task vectors")
    title(moved, "networks")
    cosines.set_xlabel("cosine; dashed: mean of all blocks", fontsize="small")
    moved.set_xlabel("moved, % of the start's norm", fontsize="small")
    for axis in (cosines, moved):
        plain(axis, "x")


def _draw_gains(axis: Axes, report: MergeReport) -> None:
    """The last that was made: the merged network, else the ensemble."""
    of = report.gains[-1].of
    shown = [one for one in report.gains if one.of == of][: MOST_ROWS + 1]
    handles: list[tuple[Any, str]] = []
    for sign, name, colour in ((1, "gained", COLOURS[2]), (-1, "lost", COLOURS[1])):
        values = [sign * 100 * (one.gained if sign > 0 else one.lost) / one.count for one in shown]
        handles.append((axis.barh(range(len(shown)), values, color=colour, height=0.7), name))
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(shown)), [tidy(one.name, 30) for one in shown], fontsize="x-small")
    axis.invert_yaxis()
    title(axis, f"{of}, beside all networks")
    axis.set_xlabel("rows, %", fontsize="small")
    plain(axis, "x")
    legend_below(axis, handles, n_columns=2)
