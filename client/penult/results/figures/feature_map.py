"""A map of rows as a figure: points coloured by what is known of them, the rare ones on top."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penult.arguments.coerce import whole
from penult.results.figures.panels import COLOURS, GREY, MOST_LINES, legend_of_all, plain, sheet, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from penult.results.pictures.feature_map import FeatureMap

SIDE = 5.4
"""Inches of the panel."""


def map_figure(found: FeatureMap, colour: str | Sequence[object], most: int) -> Figure:
    """The points of a map: `FeatureMap.plot` says how."""
    label, names = found.labels(colour)
    most = whole("most", most)
    figure = sheet(SIDE, SIDE + 0.8)
    axis = figure.add_subplot()
    plain(axis)
    chosen = np.arange(len(label))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(0).choice(len(chosen), most, replace=False))
    counts = np.bincount(label[label >= 0], minlength=len(names))
    # The eight most frequent values have a colour; the rarest of them is drawn last.
    order = [int(value) for value in np.argsort(-counts, kind="stable") if counts[value]]
    entries: list[tuple[Any, str]] = []
    others = chosen[~np.isin(label[chosen], order[:MOST_LINES])]
    if others.size:
        grey = _points(axis, found, others, GREY)
        unassigned = int((label < 0).sum())
        said = f"{len(order) - MOST_LINES} others" if len(order) > MOST_LINES else f"in no group (n={unassigned})"
        entries.append((grey, said))
    for place, value in enumerate(order[:MOST_LINES]):
        points = _points(axis, found, chosen[label[chosen] == value], COLOURS[place % len(COLOURS)])
        entries.append((points, f"{tidy(names[value], 36)} (n={counts[value]})"))
    _describe(axis, found)
    if len(chosen) < len(label):
        axis.set_title(f"{len(chosen):,} of {len(label):,} rows", loc="right", fontsize="x-small")
    legend_of_all(figure, entries)
    return figure


def _points(axis: Any, found: FeatureMap, rows: Any, colour: str) -> Any:
    x, y = found.coordinates[rows].T
    return axis.scatter(x, y, s=9, color=colour, alpha=0.65, linewidths=0, rasterized=len(rows) > 500)


def _describe(axis: Any, found: FeatureMap) -> None:
    names = [f"component {place} ({share:.1%} of the variance)" for place, share in enumerate(found.shares[:2], 1)]
    if found.method == "umap":
        names = ["UMAP 1", "UMAP 2"]
        axis.set_xticks([])
        axis.set_yticks([])
    axis.set_xlabel(names[0], fontsize="small")
    axis.set_ylabel(names[1], fontsize="small")
    axis.set_title(f"features {found.feature_set[:8]}", loc="left", fontsize="medium")
