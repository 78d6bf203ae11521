"""Figures of results, by matplotlib's objects alone: no pyplot, no state left behind."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from penult.frames import NEEDS_PLOT
from penult.records import Group, Run
from penult.results import Metrics
from penult.spectra import Spectra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart also by readers who do not see red and green.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
MOST_COLUMNS = 4


def plot_spectra(spectra: Spectra, *, top_k: int = 10) -> Figure:
    """The `top_k` largest eigenvalues of each group on a logarithmic axis, one panel per class.

    The smallest non-empty group of a class is drawn dashed with open markers and named minority; the title
    of its panel holds the spectral imbalance. By class, all lines share one panel.

    Raises ImportError when matplotlib is missing.
    """
    panels: dict[str, list[int]] = {}
    for position, group in enumerate(spectra.groups):
        panels.setdefault(group.class_name if spectra.by == "group" else "classes", []).append(position)
    figure, axes = _panels(len(panels), width=4.2, height=3.6)
    minorities = {entry.minority_index for entry in spectra.imbalance}
    ratios = {entry.class_name: entry.ratio for entry in spectra.imbalance}
    for axis, (name, positions) in zip(axes, panels.items(), strict=True):
        for line, position in enumerate(positions):
            _draw_spectrum(axis, spectra, position, line, top_k, minorities)
        title = f"{name}: minority / majority at rank 1 = {ratios[name]:.2f}" if name in ratios else name
        axis.set_title(title, loc="left", fontsize="medium")
        axis.set_yscale("log")
        _label_with_plain_numbers(axis)
        axis.set_xlabel("rank")
        axis.legend(frameon=False, fontsize="small")
    axes[0].set_ylabel("eigenvalue")
    return figure


def _label_with_plain_numbers(axis: Axes) -> None:
    """1, 2, 5, 10, ... instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


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


def plot_history(run: Run) -> Figure:
    """Accuracies over epochs, one panel per split: every group, the average and the worst group.

    Raises ImportError when matplotlib is missing.
    """
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


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the ending of `path` says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


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


def _panels(n_panels: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with panels that share their y axis, at most four in a row."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(NEEDS_PLOT.format(what="a figure", package="matplotlib")) from None
    n_columns = min(n_panels, MOST_COLUMNS)
    n_rows = math.ceil(n_panels / n_columns)
    figure = Figure(figsize=(width * n_columns + 0.4, height * n_rows), layout="constrained", dpi=150)
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    axes = [axis for row in grid for axis in row]
    for spare in axes[n_panels:]:
        spare.remove()
    for axis in axes[:n_panels]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes[:n_panels]
