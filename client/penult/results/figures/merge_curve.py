"""Accuracies along the line between two networks as a figure."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from penult.results.figures.panels import COLOURS, GREY, legend_of_all, plain, row_of_panels, tidy, title, write_notes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.merging.curve import MergeCurve


def merge_curve_figure(curve: MergeCurve, split: str) -> Figure:
    """One panel: groups with their intervals over t, or the worst group of every block."""
    figure, axes = row_of_panels(1, width=4.2, height=3.4)
    axis = axes[0]
    is_line = curve.blocks == ("",)
    legend = _groups(axis, curve, split) if is_line else _blocks(axis, curve, split)
    title(axis, split)
    axis.set_xlabel("t" if is_line else "t of the block", fontsize="small")
    axis.set_ylabel("accuracy" if is_line else "worst group", fontsize="small")
    axis.set_xlim(float(curve.t[0]), float(curve.t[-1]))
    axis.set_ylim(0, 1.02)
    plain(axis)
    legend_of_all(figure, [(handle, label) for label, handle in legend.items()])
    write_notes(figure, curve.notes)
    return figure


def _groups(axis: Axes, curve: MergeCurve, split: str) -> dict[str, Any]:
    points = curve.metrics(split)
    legend: dict[str, Any] = {}
    shown = [index for index, group in enumerate(points[0].groups) if group.count][: len(COLOURS)]
    for colour, index in zip(COLOURS, shown, strict=False):
        accuracy = np.array([one.group_accuracy[index] for one in points])
        low, high = (np.array([getattr(one, name)[index] for one in points]) for name in ("group_low", "group_high"))
        (legend[tidy(points[0].groups[index].name)],) = axis.plot(curve.t, accuracy, color=colour, linewidth=1.5)
        axis.fill_between(curve.t, low, high, color=colour, alpha=0.12, linewidth=0)
    (legend["average"],) = axis.plot(curve.t, curve.average_accuracy(split), color="black", linestyle="--", linewidth=1)
    return legend


def _blocks(axis: Axes, curve: MergeCurve, split: str) -> dict[str, Any]:
    late = curve.stragglers(split)[: len(COLOURS)]
    legend: dict[str, Any] = {}
    for block in curve.blocks:
        colour = COLOURS[late.index(block)] if block in late else GREY
        (line,) = axis.plot(curve.t, curve.worst_group_accuracy(split, block), color=colour, linewidth=1.2)
        legend[tidy(block) if block in late else "other blocks"] = line
    return legend
