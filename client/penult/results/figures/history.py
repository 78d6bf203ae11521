"""Accuracies of a run over its epochs as a figure, one panel per split."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from penult.display.names import in_usual_order
from penult.results.figures.panels import (
    COLOURS,
    GREY,
    MOST_LINES,
    legend_of_all,
    row_of_panels,
    ticks_of,
    tidy,
    title,
    write_notes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.metrics import EpochMetrics
    from penult.results.records import Run

COLOURED = MOST_LINES - 1
"""Groups with a colour; black is the average's and the worst group's."""


def history_figure(run: Run) -> Figure:
    """Accuracies over epochs, one panel per split: every group, the average and the worst group."""
    splits = in_usual_order({entry.split for entry in run.history})
    figure, axes = row_of_panels(len(splits), width=3.3, height=3.6)
    named = _named(run)
    legend: dict[str, Any] = {}
    for axis, split in zip(axes, splits, strict=False):
        entries = sorted((entry for entry in run.history if entry.split == split), key=lambda entry: entry.epoch)
        legend |= {label: handle for label, handle in _draw(axis, entries, named).items() if label not in legend}
        title(axis, split)
        axis.set_xlabel("epoch", fontsize="small")
        axis.set_xticks(ticks_of([entry.epoch for entry in entries]))
    axes[0].set_ylim(0, 1.02)
    axes[0].set_ylabel("accuracy", fontsize="small")
    legend_of_all(figure, [(handle, label) for label, handle in legend.items()])
    write_notes(figure, run.notes)
    return figure


def _named(run: Run) -> dict[int, str]:
    """The colour of each group, by its index, for all panels: of many, of those that are lowest at the end."""
    lowest: dict[int, float] = {}
    for entry in sorted(run.history, key=lambda entry: entry.epoch):
        # The lowest over the splits, each as it was last.
        for group, accuracy in zip(entry.metrics.groups, entry.metrics.group_accuracy, strict=True):
            lowest[group.index] = min(float(np.nan_to_num(accuracy, nan=2.0)), lowest.get(group.index, 2.0))
    indices = list(lowest)
    if len(indices) > COLOURED:
        kept = sorted(indices, key=lambda index: lowest[index])[:COLOURED]
        indices = [index for index in indices if index in kept]
    return dict(zip(indices, COLOURS, strict=False))


def _draw(axis: Axes, entries: list[EpochMetrics], named: dict[int, str]) -> dict[str, Any]:
    """The lines of a split, and what the legend says of them."""
    epochs, metrics = [entry.epoch for entry in entries], [entry.metrics for entry in entries]
    legend: dict[str, Any] = {}
    grey: Any = None
    marker = "o" if len(entries) == 1 else None
    for position, group in enumerate(metrics[0].groups):
        accuracy = [float(one.group_accuracy[position]) for one in metrics]
        if group.index not in named:
            (grey,) = axis.plot(epochs, accuracy, color=GREY, linewidth=0.7, zorder=1, marker=marker)
            continue
        said = tidy(group.name, 44)
        said = said if said not in legend else f"{said} ({group.index})"
        (legend[said],) = axis.plot(
            epochs, accuracy, color=named[group.index], linewidth=1.4, zorder=3, marker=marker, label=said
        )
    if grey is not None:
        legend[f"{len(metrics[0].groups) - len(named)} other groups"] = grey
    average, worst = [one.average_accuracy for one in metrics], [one.worst_group_accuracy for one in metrics]
    (legend["average"],) = axis.plot(
        epochs,
        average,
        color="black",
        linestyle="--",
        marker="s",
        markersize=4,
        linewidth=1.2,
        zorder=4,
        label="average",
    )
    (legend["worst group"],) = axis.plot(
        epochs, worst, color="black", linewidth=4, alpha=0.35, marker="o", zorder=2, label="worst group"
    )
    return legend
