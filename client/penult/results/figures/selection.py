"""Scores of the candidates of a grid, and accuracies along the line between two heads, as figures."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from penult.results.figures.panels import (
    COLOURS,
    GREY,
    MOST_LINES,
    legend_below,
    legend_of_all,
    plain,
    row_of_panels,
    write_notes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.refits import Candidate, Interpolation, Selection


def selection_figure(selection: Selection) -> Figure:
    """The score of every candidate, over the number with the most values."""
    figure, (axis,) = row_of_panels(1, width=4.6, height=4.0)
    draw_selection(axis, selection)
    return figure


def draw_selection(axis: Axes, selection: Selection) -> None:
    """One line for each combination of the other numbers; the chosen candidate in a circle."""
    plain(axis)
    by = f"selection by {selection.metric.replace('_', ' ')}"
    axis.set_title(by, loc="left", fontsize="small")
    axis.set_ylabel("score", fontsize="small")
    chosen = selection.chosen
    if not chosen.values:
        axis.plot([0], [chosen.score], marker="o", color="black")
        axis.set_xticks([])
        return
    along = max(chosen.values, key=lambda name: len({one.values[name] for one in selection.candidates}))
    entries = _draw_lines(axis, selection, along)
    axis.plot([chosen.values[along]], [chosen.score], "o", color="black", markersize=9, fillstyle="none", zorder=6)
    said = ", ".join(f"{name} {value:.3g}" for name, value in chosen.values.items())
    axis.set_title(f"{by}\nchosen (circle): {said}; {chosen.score:.3f}", loc="left", fontsize="small")
    n_failed = sum(math.isnan(one.score) for one in selection.candidates)
    if n_failed:
        (nothing,) = axis.plot([], [], " ")
        entries.append((nothing, f"{n_failed} of {len(selection.candidates)} could not be fitted"))
    _scale(axis, sorted({one.values[along] for one in selection.candidates}))
    axis.set_xlabel(along, fontsize="small")
    if entries:
        longest = max(len(said) for _, said in entries)
        legend_below(axis, entries, max(1, min(4, 48 // (longest + 6))))


def _draw_lines(axis: Axes, selection: Selection, along: str) -> list[tuple[Any, str]]:
    """The lines, and what the legend says of them: of many, those that reach highest."""
    lines: dict[tuple[tuple[str, float], ...], list[Candidate]] = {}
    for one in selection.candidates:
        others = tuple((name, value) for name, value in one.values.items() if name != along)
        lines.setdefault(others, []).append(one)
    named = list(lines)
    if len(lines) > MOST_LINES:
        own = tuple((name, value) for name, value in selection.chosen.values.items() if name != along)
        best = {others: max(np.nan_to_num(one.score, nan=-1.0) for one in line) for others, line in lines.items()}
        named = [own, *(others for others in sorted(lines, key=lambda others: -best[others]) if others != own)]
        named = named[: MOST_LINES - 2]
    entries: list[tuple[Any, str]] = []
    grey: Any = None
    for others, line in lines.items():
        line.sort(key=lambda one: one.values[along])
        x, score = [one.values[along] for one in line], [one.score for one in line]
        if others not in named:
            (grey,) = axis.plot(x, score, color=GREY, linewidth=0.7, zorder=1)
            continue
        colour = COLOURS[len(entries) % len(COLOURS)]
        (drawn,) = axis.plot(x, score, color=colour, marker="o", markersize=3.5, linewidth=1.2, zorder=3)
        if others:
            entries.append((drawn, ", ".join(f"{name} {value:.3g}" for name, value in others)))
    if grey is not None:
        entries.append((grey, f"{len(lines) - len(named)} others"))
    return entries


def _scale(axis: Axes, values: list[float]) -> None:
    """A logarithmic axis where the values span much; with a linear part around 0 where that is one of them."""
    positive = [value for value in values if value > 0]
    if len(positive) < 2 or positive[-1] < 20 * positive[0] or values[0] < 0:
        return
    if values[0] > 0:
        axis.set_xscale("log")
    else:
        axis.set_xscale("symlog", linthresh=positive[0])


def interpolation_figure(curve: Interpolation) -> Figure:
    """Average and worst-group accuracy between two heads. Raises ImportError when matplotlib is missing."""
    figure, (axis,) = row_of_panels(1, width=4.6, height=3.6)
    worst = curve.worst_group_accuracy
    intervals = np.array([one.worst_group_interval for one in curve.metrics])
    axis.fill_between(curve.t, intervals[:, 0], intervals[:, 1], color=COLOURS[1], alpha=0.15, linewidth=0)
    (average,) = axis.plot(curve.t, curve.average_accuracy, color=COLOURS[0], linestyle="--", label="average")
    (lowest,) = axis.plot(curve.t, worst, color=COLOURS[1], label="worst group")
    entries: list[tuple[Any, str]] = [(average, "average"), (lowest, "worst group, 95 % interval")]
    if not np.isnan(worst).all():
        best = int(np.nanargmax(worst))
        (ring,) = axis.plot([curve.t[best]], [worst[best]], "o", color="black", markersize=8, fillstyle="none")
        entries.append((ring, f"best worst group: {worst[best]:.3f} at {curve.t[best]:.2g}"))
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("weight of the second head", fontsize="small")
    axis.set_ylabel("accuracy", fontsize="small")
    legend_of_all(figure, entries)
    write_notes(figure, curve.notes)
    return figure
