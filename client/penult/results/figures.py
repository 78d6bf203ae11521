"""Figures of results, by matplotlib's objects alone: no pyplot, no state left behind."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from penult.arguments.coerce import whole
from penult.results.frames import NEEDS_PLOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from penult.results.metrics import Metrics
    from penult.results.notes import Notes
    from penult.results.records import Group, Run
    from penult.results.refits import Interpolation, Refit, Selection
    from penult.results.run_spectra import RunSpectra
    from penult.results.spectra import Imbalance, Spectra

# Okabe and Ito's palette: told apart also by readers who do not see red and green.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
MOST_COLUMNS = 4
SMALLEST_DRAWN, LARGEST_DRAWN = 1e-6, 1e6
RATIO_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


def spectra_figure(spectra: Spectra, top_k: int) -> Figure:
    """The eigenvalues of each group, one panel per class, and the imbalance: `penult.plot_spectra` says how."""
    top_k = whole("top_k", top_k)
    panels: dict[str, list[int]] = {}
    for position, group in enumerate(spectra.groups):
        panels.setdefault(group.class_name if spectra.by == "group" else "classes", []).append(position)
    n_panels = len(panels) + bool(spectra.imbalance)
    figure, axes = _panels(n_panels, width=4.0, height=3.6, share=len(panels))
    minorities = {entry.minority_index for entry in spectra.imbalance} if spectra.by == "group" else set[int]()
    for axis, (name, positions) in zip(axes, panels.items(), strict=False):
        for line, position in enumerate(positions):
            _draw_spectrum(axis, spectra, position, line, top_k, minorities)
        axis.set_title(name, loc="left", fontsize="medium")
        axis.set_yscale("log")
        _label_with_plain_numbers(axis.yaxis)
        axis.set_xticks(_rank_ticks(min(top_k, spectra.eigenvalues.shape[1])))
        axis.set_xlabel("rank")
        axis.legend(frameon=False, fontsize="small")
    axes[0].set_ylabel("eigenvalue")
    if spectra.imbalance:
        _draw_imbalance(axes[-1], spectra)
    return figure


def run_spectra_figure(spectra: RunSpectra) -> Figure:
    """The matched ratio of every comparison over the epochs, with its interval."""
    figure, (axis,) = _panels(1, width=5.0, height=3.6)
    axis.axhline(1.0, color="#888888", linewidth=0.8)
    for line, first in enumerate(spectra.spectra[0].imbalance):
        entries = [one.imbalance[line] for one in spectra.spectra]
        colour = COLOURS[line % len(COLOURS)]
        low, high = [_drawable(e.low) for e in entries], [_drawable(e.high) for e in entries]
        axis.fill_between(spectra.epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.plot(
            spectra.epochs,
            [e.matched_ratio for e in entries],
            color=colour,
            marker="o",
            markersize=4.5,
            label=first.label,
        )
    axis.set_yscale("log")
    _label_with_plain_numbers(axis.yaxis, RATIO_STEPS)
    axis.locator_params(axis="x", integer=True)
    axis.set_xlabel("epoch")
    axis.set_ylabel("minority / majority at rank 1, equal n")
    axis.set_title(f"{spectra.split}, {spectra.spectra[0].confidence:.0%} intervals", loc="left", fontsize="medium")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def _draw_imbalance(axis: Axes, spectra: Spectra) -> None:
    """One line of the panel per comparison, the first on top."""
    axis.axvline(1.0, color="#888888", linewidth=0.8, zorder=1)
    has_intervals = spectra.replicates > 0
    for place, entry in enumerate(spectra.imbalance):
        y = -place
        axis.plot(
            [_drawable(entry.ratio)], [y + 0.16], "o", color="black", markerfacecolor="white", markersize=6, zorder=4
        )
        if has_intervals:
            ends = [_drawable(entry.low), _drawable(entry.high)]
            axis.plot(ends, [y - 0.08] * 2, color="black", linewidth=2, solid_capstyle="round", zorder=3)
            axis.plot([_drawable(entry.matched_ratio)], [y - 0.08], "o", color="black", markersize=7, zorder=5)
        axis.annotate(
            _imbalance_note(entry, spectra),
            (0.02, y - 0.3),
            xycoords=("axes fraction", "data"),
            fontsize="small",
            color="#444444",
            va="top",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            zorder=6,
        )
    axis.set_xscale("log")
    _widen(axis, spectra)
    axis.set_yticks([-place for place in range(len(spectra.imbalance))], [e.label for e in spectra.imbalance])
    axis.set_ylim(-len(spectra.imbalance) + 0.3, 0.6)
    axis.grid(axis="y", visible=False)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    filled = f"; filled: at equal n, {spectra.confidence:.0%} interval" if has_intervals else ""
    axis.set_xlabel(f"open: as measured{filled}", fontsize="small")
    axis.set_title("minority / majority at rank 1", loc="left", fontsize="medium")


def _imbalance_note(entry: Imbalance, spectra: Spectra) -> str:
    sizes = f"n={entry.n_minority} v {entry.n_majority}"
    if not spectra.replicates or math.isnan(entry.matched_ratio):
        return f"{entry.ratio:.2f}; {sizes}"
    return (
        f"{entry.ratio:.2f}; at equal n {entry.matched_ratio:.2f} [{entry.low:.2f}, {entry.high:.2f}], "
        f"p={entry.p_adjusted:.2g}; {sizes}"
    )


def _widen(axis: Axes, spectra: Spectra) -> None:
    """Widen the logarithmic axis of ratios around everything that is drawn on it, and around 1."""
    drawn = [value for e in spectra.imbalance for value in (e.ratio, e.matched_ratio, e.low, e.high)]
    shown = [1.0, *(value for value in drawn if 0 < value < math.inf)]
    axis.set_xlim(min(0.8 * min(shown), 0.5), max(1.25 * max(shown), 2.0))
    _label_with_plain_numbers(axis.xaxis, RATIO_STEPS)


def _rank_ticks(last: int) -> list[int]:
    """About five ranks from 1 to `last`, for an axis."""
    step = max(1, round((last - 1) / 5))
    return list(range(1, last + 1, step))


def _drawable(value: float) -> float:
    """The value on a logarithmic axis: a zero end or an infinite one lies beyond its edge."""
    return min(max(value, SMALLEST_DRAWN), LARGEST_DRAWN) if not math.isnan(value) else math.nan


def _label_with_plain_numbers(axis: Axis, steps: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """1, 2, 5, 10, ... instead of powers of ten, on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw_spectrum(axis: Axes, spectra: Spectra, position: int, line: int, top_k: int, minorities: set[int]) -> None:
    group: Group = spectra.groups[position]
    values = spectra.eigenvalues[position, :top_k]
    is_minority = group.index in minorities
    # A logarithmic axis has no place for zeros (fewer examples than features).
    shown = np.where(values > 0, values, np.nan)
    axis.plot(
        np.arange(1, len(values) + 1),
        shown,
        color=COLOURS[line % len(COLOURS)],
        linestyle="--" if is_minority else "-",
        marker="o",
        markersize=4.5,
        markerfacecolor="white" if is_minority else None,
        label=f"{group.attribute_value or group.name} (n={group.count}{', minority' if is_minority else ''})",
    )


def history_figure(run: Run) -> Figure:
    """Accuracies over epochs, one panel per split: every group, the average and the worst group."""
    splits = list(dict.fromkeys(entry.split for entry in run.history))
    figure, axes = _panels(max(1, len(splits)), width=3.8, height=3.6)
    for axis, split in zip(axes, splits, strict=False):
        entries = sorted((entry for entry in run.history if entry.split == split), key=lambda entry: entry.epoch)
        _draw_history(axis, [entry.epoch for entry in entries], [entry.metrics for entry in entries])
        axis.set_title(split, loc="left")
    axes[0].set_ylabel("accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def refit_figure(refit: Refit) -> Figure:
    """Group accuracies of each evaluated set with their 95 % intervals, and the scores of the candidates.

    Candidates are drawn over the number with the most values, one line for each combination of the others.
    Raises ImportError when matplotlib is missing.
    """
    n_panels = len(refit.metrics) + (refit.selection is not None)
    figure, axes = _panels(max(1, n_panels), width=3.8, height=3.6)
    for axis, (name, metrics) in zip(axes, refit.metrics.items(), strict=False):
        _draw_groups(axis, metrics)
        axis.set_title(name, loc="left", fontsize="medium")
    if refit.selection is not None:
        _draw_selection(axes[-1], refit.selection)
    axes[0].set_ylabel("accuracy")
    axes[0].set_ylim(0, 1.02)
    _write_notes(figure, refit.notes)
    return figure


def _write_notes(figure: Figure, notes: Notes) -> None:
    """Below the panels: a figure that is passed on alone must not mislead."""
    if notes:
        width = int(13 * figure.get_figwidth())
        text = "\n".join(textwrap.fill(f"Note: {note}", width) for note in notes)
        figure.supxlabel(text, x=0.02, ha="left", fontsize="x-small")


def _draw_groups(axis: Axes, metrics: Metrics) -> None:
    places = np.arange(len(metrics.groups))
    reach = np.abs(np.stack([metrics.group_low, metrics.group_high]) - metrics.group_accuracy)
    colours = [COLOURS[1] if group is metrics.worst_group else COLOURS[0] for group in metrics.groups]
    axis.bar(places, metrics.group_accuracy, yerr=reach, color=colours, width=0.6, error_kw={"linewidth": 1})
    axis.axhline(metrics.average_accuracy, color="black", linestyle="--", linewidth=1)
    names = [f"{group.name}\nn={group.count}" for group in metrics.groups]
    axis.set_xticks(places, names, fontsize="small", rotation=90 if len(names) > 4 else 0)


def _draw_selection(axis: Axes, selection: Selection) -> None:
    names = list(selection.chosen.values)
    if not names:
        axis.plot([0], [selection.chosen.score], marker="o", color="black")
        return
    along = max(names, key=lambda name: len({one.values[name] for one in selection.candidates}))
    lines: dict[tuple[float, ...], list[tuple[float, float]]] = {}
    for one in selection.candidates:
        others = tuple(value for name, value in one.values.items() if name != along)
        lines.setdefault(others, []).append((one.values[along], one.score))
    for line, points in enumerate(lines.values()):
        x, score = zip(*sorted(points), strict=True)
        axis.plot(x, score, color=COLOURS[line % len(COLOURS)], marker="o", markersize=3, linewidth=1)
    chosen = selection.chosen
    axis.plot(
        [chosen.values[along]], [chosen.score], "o", color="black", markersize=8, fillstyle="none", label="chosen"
    )
    values = [one.values[along] for one in selection.candidates]
    if min(values) > 0 and max(values) > 20 * min(values):
        axis.set_xscale("log")
    axis.set_xlabel(along)
    axis.set_title(f"selection by {selection.metric}", loc="left", fontsize="medium")
    axis.legend(frameon=False, fontsize="small")


def interpolation_figure(curve: Interpolation) -> Figure:
    """Average and worst-group accuracy between two heads. Raises ImportError when matplotlib is missing."""
    figure, (axis,) = _panels(1, width=4.2, height=3.6)
    axis.plot(curve.t, curve.average_accuracy, color=COLOURS[0], label="average")
    axis.plot(curve.t, curve.worst_group_accuracy, color=COLOURS[1], label="worst group")
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("weight of the second head")
    axis.set_ylabel("accuracy")
    axis.legend(frameon=False, fontsize="small")
    _write_notes(figure, curve.notes)
    return figure


def _draw_history(axis: Axes, epochs: list[float], metrics: list[Metrics]) -> None:
    for position, group in enumerate(metrics[0].groups):
        axis.plot(
            epochs,
            [float(entry.group_accuracy[position]) for entry in metrics],
            color=COLOURS[position % len(COLOURS)],
            linewidth=1.2,
            zorder=3,
            label=group.name,
        )
    average = [entry.average_accuracy for entry in metrics]
    worst = [entry.worst_group_accuracy for entry in metrics]
    axis.plot(epochs, average, color="black", linestyle="--", marker="s", markersize=4, label="average")
    axis.plot(epochs, worst, color="black", linewidth=4, alpha=0.35, marker="o", label="worst group")
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("epoch")
    axis.locator_params(axis="x", integer=True)


def _panels(n_panels: int, *, width: float, height: float, share: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with panels, at most four in a row; the first `share` of them (all by default) share their y axis."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(NEEDS_PLOT.format(what="a figure", package="matplotlib")) from None
    n_columns = min(n_panels, MOST_COLUMNS)
    n_rows = math.ceil(n_panels / n_columns)
    figure = Figure(figsize=(width * n_columns + 0.4, height * n_rows), layout="constrained", dpi=150)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    axes = [axis for row in grid for axis in row]
    for position, axis in enumerate(axes[1 : n_panels if share is None else share], start=1):
        axis.sharey(axes[0])
        if position % n_columns:
            axis.tick_params(labelleft=False)
    for spare in axes[n_panels:]:
        spare.remove()
    for axis in axes[:n_panels]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes[:n_panels]
