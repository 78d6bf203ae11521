"""What all figures have in common: sheets of panels, names, legends below the data, notes, logarithmic axes."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penult.display.names import one_line
from penult.results.frames import NEEDS_PLOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

    from penult.results.notes import Notes
    from penult.results.used_grouping import UsedGrouping

# Okabe and Ito's palette: told apart also by readers who do not see red and green.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000")
GREY = "#BBBBBB"
MOST_LINES = len(COLOURS)
"""Lines of a panel with a colour and a name of their own; more are grey and share an entry of the legend."""
MOST_COLUMNS = 4
BELOW_AXIS = 0.45
"""Inches that ticks and label of an axis take."""
MOST_PANELS = 24
RATIO_STEPS = ((10.0, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)), (50.0, (1.0, 2.0, 5.0)), (math.inf, (1.0,)))
"""Labelled values within a decade, by the largest over the smallest value of the axis."""


def sheet(width: float, height: float) -> Figure:
    """An empty figure of a size in inches. Raises ImportError, saying what to install."""
    try:
        import matplotlib.figure  # noqa: F401  # pyright: ignore[reportUnusedImport]  whether it is there
    except ImportError:
        raise ImportError(NEEDS_PLOT.format(what="a figure", package="matplotlib")) from None
    from penult.results.figures.shown_figure import ShownFigure

    return ShownFigure(figsize=(width, height), layout="constrained", dpi=150)


def row_of_panels(n_panels: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with panels, at most four in a row, which share their y axis."""
    n_columns = max(1, min(n_panels, MOST_COLUMNS))
    n_rows = max(1, math.ceil(n_panels / n_columns))
    figure = sheet(width * n_columns + 0.4, height * n_rows)
    grid = figure.add_gridspec(n_rows, n_columns)
    axes = [figure.add_subplot(grid[divmod(position, n_columns)]) for position in range(max(1, n_panels))]
    share_y(axes, n_columns)
    for axis in axes:
        plain(axis)
    return figure, axes


def share_y(axes: Sequence[Axes], n_columns: int) -> None:
    """One y axis for all panels, labelled at the left of each row."""
    for position, axis in enumerate(axes[1:], start=1):
        axis.sharey(axes[0])
        if position % n_columns:
            axis.tick_params(labelleft=False)


def plain(axis: Axes, grid: str = "y") -> None:
    """Two spines and a faint grid behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x" if grid == "x" else "y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize="small")


def tidy(name: str, longest: int = 60) -> str:
    """A name as matplotlib takes it for text: no formula between dollars, and never left out of a legend."""
    line = one_line(name, longest).replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line


def wrapped(name: str, width: int = 26, n_lines: int = 2) -> str:
    """A name on at most `n_lines` lines."""
    line = one_line(name, width * n_lines)
    parts = textwrap.wrap(line, width)
    if len(parts) > n_lines:
        # The ends of the lines stayed empty, so that it takes more of them: one line is enough.
        parts = [one_line(name, width)]
    return "\n".join(part.replace("$", r"\$") for part in parts)


def titled(grouping: UsedGrouping | None) -> str:
    """What a title adds where groups are those of a grouping."""
    return "" if grouping is None else f", by {tidy(grouping.attribute)}"


def title(axis: Axes, text: str) -> None:
    """Above a panel, at its left."""
    axis.set_title(wrapped(text, 32), loc="left", fontsize="medium")


def legend_below(axis: Axes, entries: Sequence[tuple[Any, str]], n_columns: int = 1) -> None:
    """A legend under a panel and its axis, where no data are."""
    axis.legend(
        [handle for handle, _ in entries],
        [label for _, label in entries],
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=_moved(axis, -BELOW_AXIS),
        ncols=n_columns,
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
    )


def write_at_right(axis: Axes, text: str, y: float | None = None, *, family: str | None = None) -> None:
    """Small text at the right of a panel: at a height of its data, or as a header above it."""
    header = y is None
    axis.text(
        1.03,
        1.0 if y is None else y,
        text,
        transform=_moved(axis, 0.08) if header else axis.get_yaxis_transform(),
        va="bottom" if header else "center",
        color="#555555",
        fontsize="x-small",
        family=family,
    )


def _moved(axis: Axes, inches: float) -> Transform:
    """Fractions of a panel, moved up."""
    from matplotlib.transforms import ScaledTranslation

    figure = axis.get_figure(root=True)
    assert figure is not None
    return axis.transAxes + ScaledTranslation(0, inches, figure.dpi_scale_trans)


def legend_of_all(figure: Figure, entries: Sequence[tuple[Any, str]]) -> None:
    """One legend under all panels, in as many columns as fit."""
    if not entries:
        return
    longest = max(len(label) for _, label in entries)
    fitting = int(figure.get_figwidth() / (0.072 * longest + 0.65))
    figure.legend(
        [handle for handle, _ in entries],
        [label for _, label in entries],
        loc="outside lower center",
        ncols=max(1, min(fitting, 6, len(entries))),
        frameon=False,
        fontsize="small",
    )


def write_notes(figure: Figure, notes: Notes) -> None:
    """Above the panels: a figure that is passed on alone must not mislead."""
    if notes:
        width = int(14 * figure.get_figwidth())
        text = "\n".join(textwrap.fill(f"Note: {note}".replace("$", r"\$"), width) for note in notes)
        figure.suptitle(text, x=0.02, ha="left", fontsize="x-small")


def label_with_plain_numbers(axis: Axis, steps: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """1, 2, 5, 10, ... instead of powers of ten, on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def ratio_steps(smallest: float, largest: float) -> tuple[float, ...]:
    """Which values to label, so that their labels do not touch."""
    return next(steps for most, steps in RATIO_STEPS if largest / smallest <= most)


def ticks_of(values: Sequence[float]) -> list[float]:
    """Whole numbers at most every seventh of the way, for epochs."""
    if not values:
        return []
    step = max(1, math.ceil((max(values) - min(values)) / 6))
    first = math.ceil(min(values))
    return [float(value) for value in range(first, math.floor(max(values)) + 1, step)]
