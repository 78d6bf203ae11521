"""Ratios of largest eigenvalues with their intervals, one line for each comparison; and over the epochs of a run."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from penult.results.figures.panels import (
    COLOURS,
    GREY,
    MOST_LINES,
    label_with_plain_numbers,
    legend_of_all,
    plain,
    ratio_steps,
    row_of_panels,
    ticks_of,
    tidy,
    titled,
    wrapped,
    write_at_right,
)
from penult.results.spectra import compared, p_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from penult.results.run_spectra import RunSpectra
    from penult.results.spectra import Imbalance, Spectra

MOST_COMPARISONS = 30
PER_COMPARISON = 0.36
"""Inches."""
FARTHEST = 8.0
"""An end of an interval farther from all points than this factor is drawn as an arrow."""


def height_of_imbalance(spectra: Spectra) -> float:
    """Inches that the panel needs in a row of its own."""
    return PER_COMPARISON * min(len(spectra.imbalance), MOST_COMPARISONS) + 1.3 if spectra.imbalance else 0.0


def draw_imbalance(axis: Axes, spectra: Spectra) -> None:
    """One line of the panel per comparison, the first on top, with its numbers at the right."""
    plain(axis, grid="x")
    entries = _shown(spectra)
    axis.axvline(1.0, color="#888888", linewidth=0.8, zorder=1)
    limits = _limits(entries)
    for place, entry in enumerate(entries):
        _draw_comparison(axis, entry, -place, limits)
    axis.set_xscale("log")
    axis.set_xlim(*limits)
    label_with_plain_numbers(axis.xaxis, ratio_steps(*limits))
    axis.set_yticks([-place for place in range(len(entries))], [_name(entry, spectra) for entry in entries])
    axis.set_ylim(-len(entries) + 0.4, 0.6)
    axis.tick_params(axis="y", length=0)
    _write_numbers(axis, entries, spectra)
    left = len(spectra.imbalance) - len(entries)
    rest = f"\nand {left} more comparisons: .imbalance_to_frame() has all" if left else ""
    filled = f"; filled: at equal n, {spectra.confidence:.0%} interval" if spectra.inference != "none" else ""
    axis.set_xlabel(f"minority / majority at rank 1; open: as measured{filled}{rest}", fontsize="small")
    axis.set_title(f"imbalance{titled(spectra.grouping)}", loc="left", fontsize="medium")


def _shown(spectra: Spectra) -> list[Imbalance]:
    """All comparisons, or those with the smallest p and the farthest from 1, in their order."""
    if len(spectra.imbalance) <= MOST_COMPARISONS:
        return list(spectra.imbalance)
    ranked = sorted(spectra.imbalance, key=lambda entry: (_or_one(entry.p_value), -_distance(entry)))
    kept = {id(entry) for entry in ranked[:MOST_COMPARISONS]}
    return [entry for entry in spectra.imbalance if id(entry) in kept]


def _or_one(value: float) -> float:
    return 1.0 if math.isnan(value) else value


def _distance(entry: Imbalance) -> float:
    """How far a comparison is from 1, on a logarithmic scale."""
    ratio = entry.ratio if math.isnan(entry.matched_ratio) else entry.matched_ratio
    return abs(math.log(ratio)) if 0 < ratio < math.inf else 0.0


def _draw_comparison(axis: Axes, entry: Imbalance, y: float, limits: tuple[float, float]) -> None:
    if not math.isnan(entry.low):
        low, high = max(entry.low, limits[0]), min(entry.high, limits[1])
        axis.plot([low, high], [y] * 2, color="black", linewidth=2, solid_capstyle="butt", zorder=3)
        if entry.low < limits[0]:
            axis.plot([low], [y], "<", color="black", markersize=7, zorder=4, clip_on=False)
        if entry.high > limits[1]:
            axis.plot([high], [y], ">", color="black", markersize=7, zorder=4, clip_on=False)
    if not math.isnan(entry.matched_ratio):
        axis.plot([entry.matched_ratio], [y], "o", color="black", markersize=6.5, zorder=5)
    axis.plot([entry.ratio], [y], "o", color="black", markerfacecolor="white", markersize=6, zorder=6)


def _write_numbers(axis: Axes, entries: list[Imbalance], spectra: Spectra) -> None:
    """Columns of numbers at the right of the panel."""
    columns: list[tuple[str, list[str]]] = [("measured", [f"{entry.ratio:.2f}" for entry in entries])]
    if spectra.inference != "none":
        columns.append((f"at equal n [{spectra.confidence:.0%}]", [_matched(entry) for entry in entries]))
        columns.append(("p", [_p(entry.p_adjusted) for entry in entries]))
    columns.append(("n", [f"{entry.n_minority} / {entry.n_majority}" for entry in entries]))
    lines = [
        "   ".join(cell.rjust(_width(column)) for cell, column in zip(row, columns, strict=True))
        for row in zip(*(cells for _, cells in columns), strict=True)
    ]
    header = "   ".join(name.rjust(_width((name, cells))) for name, cells in columns)
    write_at_right(axis, header, family="monospace")
    for place, line in enumerate(lines):
        write_at_right(axis, line, -place, family="monospace")


def _width(column: tuple[str, list[str]]) -> int:
    return max(len(column[0]), *(len(cell) for cell in column[1]))


def _matched(entry: Imbalance) -> str:
    if math.isnan(entry.matched_ratio):
        return "-"
    return f"{entry.matched_ratio:.2f} [{entry.low:.2f}, {entry.high:.2f}]"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else p_text(value)


def _name(entry: Imbalance, spectra: Spectra) -> str:
    """The class above the two values, or the two classes."""
    if not entry.class_name:
        return wrapped(compared(entry, spectra.groups), 24, 2)
    return f"{tidy(entry.class_name, 28)}\n{tidy(compared(entry, spectra.groups), 34)}"


def _limits(entries: list[Imbalance]) -> tuple[float, float]:
    """Around every point, around 1, and around the ends of intervals that are not too far away."""
    points = [value for e in entries for value in (e.ratio, e.matched_ratio) if 0 < value < math.inf]
    smallest, largest = min([1.0, *points]), max([1.0, *points])
    low = [max(e.low, smallest / FARTHEST) for e in entries if not math.isnan(e.low)]
    high = [min(e.high, largest * FARTHEST) for e in entries if not math.isnan(e.high)]
    return min(0.85 * min([smallest, *low]), 0.5), max(1.2 * max([largest, *high]), 2.0)


def run_spectra_figure(spectra: RunSpectra) -> Figure:
    """The matched ratio of every comparison over the epochs, with its interval."""
    first = spectra.spectra[0]
    n_lines = min(len(first.imbalance), MOST_LINES + 1)
    figure, (axis,) = row_of_panels(1, width=5.6, height=3.5 + 0.18 * n_lines)
    axis.axhline(1.0, color="#888888", linewidth=0.8)
    of_line = [[one.imbalance[line] for one in spectra.spectra] for line in range(len(first.imbalance))]
    named = set(range(len(of_line)))
    if len(of_line) > MOST_LINES:
        named = set(sorted(named, key=lambda line: -_distance(of_line[line][-1]))[:MOST_LINES])
    legend: list[tuple[Any, str]] = []
    grey: Any = None
    points = [value for line in of_line for e in line for value in (e.matched_ratio,) if 0 < value < math.inf]
    lowest, highest = min([1.0, *points]) / FARTHEST, max([1.0, *points]) * FARTHEST
    for line, entries in enumerate(of_line):
        drawn = [entry.matched_ratio for entry in entries]
        if line not in named:
            (grey,) = axis.plot(spectra.epochs, drawn, color=GREY, linewidth=0.8, zorder=1)
            continue
        colour = COLOURS[len(legend) % len(COLOURS)]
        low, high = [max(e.low, lowest) for e in entries], [min(e.high, highest) for e in entries]
        axis.fill_between(spectra.epochs, low, high, color=colour, alpha=0.15 if len(named) < 4 else 0.07, linewidth=0)
        said = _line_name(entries[0], first)
        (drawn_line,) = axis.plot(spectra.epochs, drawn, color=colour, marker="o", markersize=4.5, label=said)
        legend.append((drawn_line, said))
    if grey is not None:
        legend.append((grey, f"{len(of_line) - len(named)} others"))
    axis.set_yscale("log")
    bottom, top = axis.get_ylim()
    label_with_plain_numbers(axis.yaxis, ratio_steps(bottom, top))
    axis.set_xticks(ticks_of(spectra.epochs.tolist()))
    axis.set_xlabel("epoch", fontsize="small")
    axis.set_ylabel("minority / majority, equal n", fontsize="small")
    what = f"{tidy(spectra.split)}{titled(spectra.grouping)}, {first.confidence:.0%} intervals"
    axis.set_title(what, loc="left", fontsize="medium")
    legend_of_all(figure, legend)
    return figure


def _line_name(entry: Imbalance, spectra: Spectra) -> str:
    """What a line compares, in one line."""
    pair = tidy(compared(entry, spectra.groups), 40)
    return f"{tidy(entry.class_name, 24)}: {pair}" if entry.class_name else pair
